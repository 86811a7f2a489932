"""Who may import whom, and what a bare machine must be able to import."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

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

LIGHT = (
    "engines", "realtime",
    "engines.types", "engines.errors", "engines.card", "engines.fit", "engines.postprocess", "engines.backends",
    "engines.families", "engines.families.panoptic", "engines.families.rfdetr_seg", "engines.families.semantic",
    "engines.families.yolo_seg", "engines.segmenter", "engines.model",
    "engines.zoo", "engines.collection.add", "engines.collection.download",
    "engines.datasets.checking", "engines.datasets.truth", "engines.datasets.writing", "engines.evaluation.scoring",
    "realtime.charts", "realtime.commands._checking", "realtime.sheets",
    "realtime.types", "realtime.errors", "realtime.links", "realtime.pipeline", "realtime.meter", "realtime.knobs",
    "realtime.settings", "realtime.palette", "realtime.text", "realtime.render", "realtime.recorder", "realtime.redact",
    "realtime.backdrop", "realtime.smoothing", "realtime.bench.benching", "realtime.bench.chart", "realtime.commands._benching",
    "realtime.app", "realtime.live", "realtime.headless", "realtime.cli",
    "realtime.commands", "realtime.commands._running", "realtime.commands._listing", "realtime.commands._demo",
    "realtime.commands._owning",
    "realtime.sources", "realtime.sinks", "realtime.tracking", "realtime.tracking.bytetrack", "realtime.viewer",
    "realtime.viewer.session", "realtime.viewer.platform",
)  # fmt: skip
"""Modules that a machine with NumPy, OpenCV, SciPy and msgspec alone must be able to import."""


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
from engines import zoo
from engines.backends import names, open_engine
from engines.errors import BackendUnavailableError
model = zoo.find({str(tiny_model)!r})
for name in (*names(), "auto"):
    try:
        open_engine(model, name)
    except BackendUnavailableError as error:
        print(name, "|", error)
"""
    done = child(program)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert {"ort", "openvino", "auto"} <= set(told)
    assert "pip install onnxruntime" in told["ort"]
    assert "pip install openvino" in told["openvino"]
    assert told["ort"] in told["auto"]


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


def test_every_module_of_both_packages_is_importable_by_name(repo_root: Path) -> None:
    """A file with a typing mistake in its name, or a syntax error, shows here and not at a user's."""
    for package in ("engines", "realtime"):
        for module in pkgutil.walk_packages([str(repo_root / package)], f"{package}."):
            assert all(part.isidentifier() for part in module.name.split("."))
