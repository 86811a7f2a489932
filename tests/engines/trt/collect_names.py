"""For developers: collects the names of TensorRT's Python bindings as JSON for test_names.py. Needs no GPU and no TensorRT.

The bindings are a small package. Their libraries come only from NVIDIA and are replaced here by empty ones, made with g++ and
binutils, which is enough for an import. With any Python that the wheel supports:

    pip install --no-deps --target bindings tensorrt-cu13-bindings==11.4.0.106
    PYTHONPATH=bindings python tests/engines/trt/collect_names.py tensorrt_bindings tests/engines/trt/names/tensorrt-11.4.json

The others: tensorrt-cu13-bindings==10.16.1.11 and ==10.13.3.9, tensorrt-cu12-bindings==10.3.0. TensorRT-RTX is complete on PyPI:
`pip install tensorrt-rtx`, and give the module tensorrt_rtx.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any


def names_of(module: ModuleType) -> dict[str, Any]:
    """The version, the public names of the module, and those of each of its classes and enums; all sorted."""
    members = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    classes = {name: value for name, value in members.items() if isinstance(value, type)}
    return {
        "version": str(module.__version__),
        "module": sorted(name for name, value in members.items() if not isinstance(value, ModuleType)),
        "classes": {name: _public(classes[name]) for name in sorted(classes)},
    }


def _public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


def load_stubs(package: str) -> None:
    """Load an empty library for each TensorRT library that the package's extension module needs."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"no package {package} on PYTHONPATH")
    extension = next(Path(spec.origin).parent.glob("tensorrt*.so"))
    needed = re.findall(r"NEEDED.*\[(libnv(?:infer|onnx)\S*)\]", _output("readelf", "-d", str(extension)))
    symbols = [
        line.split()[-1].partition("@")[0] for line in _output("nm", "-D", "--undefined-only", str(extension)).splitlines()
    ]
    wanted = [
        name for name in symbols if re.search("nvinfer|nvonnx|createInfer|getBuilder|plugin|getLogger|createNv", name, re.I)
    ]
    lines = []
    for number, name in enumerate(wanted):
        if re.match("_ZT[IVS]", name):  # types and tables of virtual functions are data
            lines.append(f'extern "C" {{ void* d{number}[64] __asm__("{name}") = {{0}}; }}')
        else:
            lines.append(f'extern "C" void* f{number}() __asm__("{name}"); extern "C" void* f{number}() {{ return nullptr; }}')
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "stubs.cpp"
        for index, library in enumerate(needed):
            source.write_text("\n".join(lines if index == 0 else []))
            path = Path(folder) / library
            _output("g++", "-w", "-shared", "-fPIC", f"-Wl,-soname,{library}", str(source), "-o", str(path))
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    package, target = sys.argv[1], Path(sys.argv[2])
    if package == "tensorrt_bindings":
        load_stubs(package)
    names = names_of(importlib.import_module(package))
    classes = ",\n".join(f"{json.dumps(name)}: {json.dumps(found)}" for name, found in names["classes"].items())
    version, module = json.dumps(names["version"]), json.dumps(names["module"])
    target.write_text(f'{{"version": {version},\n"module": {module},\n"classes": {{\n{classes}\n}}}}\n', encoding="ascii")


if __name__ == "__main__":
    main()
