"""The tests for a real GPU run on the stand-in of a Jetson: one engine for all, and no bounds for memory that is shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import host_kernels
from tests.fakes.gpu.child_build import VARIABLE

ORIN = {"tensorrt_version": "10.3.0", "gpu_name": "Orin", "compute_capability": [8, 7], "is_integrated": True}


@pytest.mark.slow
@pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")
def test_the_tests_for_a_gpu_pass_on_the_stand_in_of_a_jetson(repo_root: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.fakes.gpu.on_fakes",
        "-p",
        "no:cacheprovider",
        "-rs",
        "tests/gpu/test_gpu.py",
    ]
    command += ["-m", "gpu", "-k", "leak or graph or current or inspector", "--basetemp", str(tmp_path / "base")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # -n 2 is not for these
    environment[VARIABLE] = json.dumps(ORIN)
    done = subprocess.run(command, cwd=repo_root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "builds: 1, violations: []" in done.stdout
    assert done.stdout.count("the GPU shares its memory with the CPU: what is free depends on other programs too") == 2
    assert "5 passed, 2 skipped" in done.stdout
