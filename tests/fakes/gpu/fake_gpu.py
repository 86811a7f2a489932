"""A fake GPU for machines without one.

    from tests.fakes.gpu.fake_gpu import World, install

    world = World(tensorrt_version="10.3.0", compute_capability=(8, 7))  # 1.x is TensorRT-RTX
    with install(world):                # pycuda, tensorrt and libcuda are fakes in here
        ...                             # the code under test
    assert world.live() == []           # everything was freed ...
    assert world.leaks == []            # ... before its context
    assert world.violations == []       # races, stale memory, frees of memory in use ...

`world.fail("cuGraphLaunch", 1, 700)` makes calls fail; `world.calls["Stream.synchronize"]` counts them; World lists all settings.
Memory and results are real: kernels run through g++, engines through ONNX Runtime, both only during a wait for their stream. A
child process (a build) inherits nothing: call `install(world).__enter__()` in it first, like `child_build.py`. `install_ort` adds
ONNX Runtime's CUDA provider. After a crash (700, 719) only a new World works again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FAKES = ("pycuda", "tensorrt")


def _provide_package() -> None:
    """`fakegpu`: this folder under one name, however this file is loaded, so that there is one current World."""
    if "fakegpu" not in sys.modules:
        spec = importlib.machinery.ModuleSpec("fakegpu", None, is_package=True)
        package = importlib.util.module_from_spec(spec)
        package.__path__ = [str(HERE), str(HERE.parent)]
        sys.modules["fakegpu"] = package


_provide_package()

from fakegpu.fake_libcuda import FakeLibcuda  # noqa: E402
from fakegpu.fake_ort_cuda import install_ort  # noqa: E402
from fakegpu.world import World, current, set_current  # noqa: E402

__all__ = ["FakeLibcuda", "World", "current", "install", "install_ort", "uninstall"]

_saved: list[dict[str, Any]] = []


@contextlib.contextmanager
def install(world: World | None = None) -> Iterator[World]:
    """Replace pycuda, tensorrt and libcuda by the fakes inside the block."""
    world = world if world is not None else World()
    _install(world)
    try:
        yield world
    finally:
        uninstall()


def _install(world: World) -> None:
    driver = importlib.import_module("engines.gpu.driver")
    rtx = sys.modules.get("tensorrt_rtx")
    _saved.append({"modules": _take_modules(), "library": driver.load_library, "driver": driver, "rtx": rtx})
    set_current(world)
    driver.load_library = lambda: _load_library(world)
    for name, is_there in (("pycuda", world.has_pycuda), ("tensorrt", world.has_tensorrt)):
        if is_there:
            _load(name)
        else:
            sys.modules[name] = None  # type: ignore[assignment]
    if world.is_rtx:  # its parts import each other as `tensorrt`, so that name is there too
        sys.modules["tensorrt_rtx"] = sys.modules["tensorrt"]


def uninstall() -> None:
    """Undo the last install."""
    before = _saved.pop()
    _take_modules()
    sys.modules.update(before["modules"])
    if before["rtx"] is None:
        sys.modules.pop("tensorrt_rtx", None)
    else:
        sys.modules["tensorrt_rtx"] = before["rtx"]
    before["driver"].load_library = before["library"]
    set_current(None)


def _load_library(world: World) -> FakeLibcuda:
    if not world.has_driver:
        raise OSError("libcuda.so.1: cannot open shared object file: No such file or directory")
    return FakeLibcuda(world)


def _load(name: str) -> None:
    folder = HERE / name
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _take_modules() -> dict[str, Any]:
    """Remove the real (or fake) modules from sys.modules."""
    names = [name for name in sys.modules if name.split(".")[0] in FAKES]
    return {name: sys.modules.pop(name) for name in names}
