"""Who may import whom, and what a bare machine must be able to import."""

from __future__ import annotations

import graphlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]

HEAVY = (
    "onnxruntime", "openvino", "onnx", "av", "PyQt6", "torch", "tensorrt", "pycuda", "PIL", "tqdm", "skvideo", "matplotlib",
    "pycocotools",
)  # fmt: skip

BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
"""

OWNERS = {
    "onnx": (
        "engines.building.batches engines.building.network engines.building.work engines.training.export engines.training.mobile"
    ),
    "torch": (
        "engines.training.checkpoint engines.training.deployed engines.training.devices engines.training.export "
        "engines.training.losses engines.training.mobile engines.training.model engines.training.parity engines.training.train"
    ),
    "tqdm": "engines.training.teach",
    "av": (
        "realtime.sinks.video realtime.sinks.common.encoders "
        "realtime.sources.common.container realtime.sources.common.container_feed "
        "realtime.sources.common.ffmpeg_errors realtime.sources.common.glimpses realtime.sources.common.nvdec "
        "realtime.sources.common.nvv4l2 realtime.sources.common.decoders"
    ),
    "PyQt6": "realtime.viewer.",
}
"""Modules that import a heavy package at their top; a name that ends with a dot stands for all modules of that package.
All others must import on a machine with NumPy, OpenCV, SciPy and msgspec alone."""

LIGHT_IN_VIEWER = ("realtime.viewer", "realtime.viewer.run")
"""Asked before it is known whether a window can be opened."""


def _modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of both packages below `root`, by name."""
    files = [path for package in ("engines", "realtime") for path in sorted((root / package).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def _not_importable(root: Path = ROOT) -> list[str]:
    """Modules whose name cannot be imported, or whose text is not Python."""
    found = []
    for name, path in _modules(root).items():
        try:
            compile(path.read_text(encoding="utf-8"), str(path), "exec")
        except (SyntaxError, ValueError) as error:
            found.append(f"{name}: {error}")
        if not all(part.isidentifier() for part in name.split(".")):
            found.append(f"{name}: not a name that can be imported")
    return found


def _is_heavy(name: str) -> bool:
    owners = " ".join(OWNERS.values()).split()
    return any(name == owner or (owner.endswith(".") and name.startswith(owner)) for owner in owners)


LIGHT = tuple(name for name in _modules() if name in LIGHT_IN_VIEWER or not _is_heavy(name))


def child(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)


def test_light_modules_need_none_of_the_heavy_packages(repo_root: Path) -> None:
    """F34. One child for all: each import stands alone in what it may not find."""
    lines = "\n".join(f"try:\n    import {name}\nexcept ImportError as error:\n    print('{name}:', error)" for name in LIGHT)
    done = child(f"{BLOCKER}\nsys.path.insert(0, {str(repo_root)!r})\n{lines}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_blocker_blocks(repo_root: Path) -> None:
    done = child(f"{BLOCKER}\nimport onnxruntime")
    assert "blocked: onnxruntime" in done.stderr


def test_every_backend_says_that_its_runtime_is_missing(repo_root: Path, tiny_model: Path) -> None:
    program = f"""{BLOCKER.replace('"onnx", ', "").replace("'onnx', ", "")}
sys.path.insert(0, {str(repo_root)!r})
from engines.models import zoo
from engines.backends import names, open_engine
from engines.errors import BackendUnavailableError
model = zoo.find({str(tiny_model)!r})
for name in (*names(), "auto"):
    try:
        print(name, "| opened by", open_engine(model, name).backend)
    except BackendUnavailableError as error:
        print(name, "|", error)
"""
    done = child(program)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert {"ort", "openvino", "auto"} <= set(told)
    assert "pip install onnxruntime" in told["ort"]
    assert "pip install openvino" in told["openvino"]
    others = {reason for name, reason in told.items() if name not in ("auto", "ort", "openvino")}
    assert told["ort"] in told["auto"] or any(reason.startswith("opened by") for reason in others), "of a backend of one's own"


def test_nothing_is_made_at_import(repo_root: Path) -> None:
    """No thread, no file, no changed environment, no changed logging: importing is not doing."""
    program = f"""
import logging, os, sys, threading
import cv2, numpy  # what these change is theirs
sys.path.insert(0, {str(repo_root)!r})
before = dict(os.environ), logging.root.level, list(logging.root.handlers), threading.active_count()
import {", ".join(LIGHT)}
after = dict(os.environ), logging.root.level, list(logging.root.handlers), threading.active_count()
changed = {{key for key in before[0] | after[0] if before[0].get(key) != after[0].get(key)}}
print(sorted(changed), before[1:] == after[1:])
"""
    done = child(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] True"


def test_the_import_contracts_are_kept(repo_root: Path) -> None:
    program = "import sys; from importlinter.cli import lint_imports_command as main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=repo_root, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    "package", ["engines.backends", "engines.families", "realtime.sources", "realtime.sinks", "realtime.tracking"]
)
def test_asking_a_registry_for_its_names_imports_none_of_them(repo_root: Path, package: str) -> None:
    call = "schemes" if package.endswith("sources") else "names"
    program = f"""
import sys
sys.path.insert(0, {str(repo_root)!r})
import {package} as registry
loaded = set(sys.modules)
print(" ".join(registry.{call}()))
print(sorted(name for name in set(sys.modules) - loaded if name.startswith("{package}.")))
"""
    done = child(program)
    assert done.returncode == 0, done.stderr
    names, newly = done.stdout.splitlines()
    assert names.split()
    assert newly == "[]"


def test_every_module_is_importable_by_name_and_compiles() -> None:
    """A syntax error, or a file name that cannot be imported, shows here and not at a user's; heavy modules included."""
    assert not _not_importable()


def test_a_module_with_a_syntax_error_or_a_bad_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "engines" / "rooms").mkdir(parents=True)
    (tmp_path / "engines" / "fine.py").write_text("x = 1\n")
    (tmp_path / "engines" / "rooms" / "broken.py").write_text("def f(:\n")
    (tmp_path / "engines" / "rooms" / "two-words.py").write_text("x = 1\n")
    assert [fault.partition(":")[0] for fault in _not_importable(tmp_path)] == ["engines.rooms.broken", "engines.rooms.two-words"]


def test_owners_of_heavy_packages_exist() -> None:
    owners = " ".join(OWNERS.values()).split()
    assert not [name for name in owners if name.removesuffix(".") not in _modules()]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count; those for types alone do not."""
    graph = grimp.build_graph("engines", "realtime", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
