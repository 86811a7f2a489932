"""F34: an installation that lacks a package. Every command says which in one line, with the command that installs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNNER = Path(__file__).with_name("blocked_imports.py")
ROOT = Path(__file__).parents[2]

INSTALLED_AS = {"PIL": "pillow", "cv2": "opencv-python"}
SOURCE = "synthetic://street?width=96&height=72&seconds=0.1"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


def outcomes(cases: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"}
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "timeout": 110}
    done = subprocess.run([sys.executable, str(RUNNER)], cwd=folder, env=environment, input=lines, **options)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(120)
def test_a_missing_package_is_named_with_the_cure(tmp_path: Path, tiny_model: Path, rounds: Callable[[int, int], int]) -> None:
    import cv2

    for part in ("images", "labels"):
        (tmp_path / "set" / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / part / "a.png"), np.zeros((8, 8), np.uint8))
    model = ("--model", str(tiny_model), "--backend", "ort")
    video = ["process", SOURCE, "--jsonl", "o.jsonl", "--out", "o.mp4", "--force", *model]
    commands = {
        "process": (video, ["numpy", "scipy", "onnxruntime", "av"]),
        "view": (["view", SOURCE, *model], ["PyQt6", "cv2"]),
        "models": (["models"], ["msgspec"]),
        "data": (["data", "check", "set", "--classes", "a"], ["PIL"]),
    }
    everything = sorted({package for _, packages in commands.values() for package in packages} | {"onnx", "platformdirs"})
    everything.remove("PyQt6")  # or the window opens, and stays
    cases = [
        {"missing": [package], "words": words}
        for words, packages in commands.values()
        for package in (everything if rounds(0, 1) else packages)
    ]
    for case, outcome in zip(cases, outcomes(cases, tmp_path), strict=True):
        (package,) = case["missing"]
        where = f"{case['words'][0]} without {package}: {outcome}"
        assert "Traceback" not in outcome["stderr"], where
        assert outcome["code"] in (0, 2), where
        errors = [line for line in outcome["stderr"].splitlines() if line.startswith("error: ")]
        assert len(errors) == (outcome["code"] == 2), where
        if errors:
            assert INSTALLED_AS.get(package, package) in errors[0], where
            assert "pip install" in errors[0], where
