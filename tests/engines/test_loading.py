"""No runtime reports to its maker from this program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def child(program: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`program` in a process of its own that has never loaded anything, with a home of its own."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    folders = {
        name: str(home / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    environment = {**kept, **folders, **variables}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False, env=environment
    )


RUN = """
import sys, threading
import numpy as np
from engines.models import zoo
from engines.backends import open_engine
engine = open_engine(zoo.find({model!r}), {backend!r}).engine
engine.infer(np.zeros((48, 64, 3), np.uint8))
engine.close()
print(sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name] is not None and "stub" not in name))
print(sorted(thread.name for thread in threading.enumerate()))
"""


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_a_run_leaves_no_identifier_and_no_sender(
    tmp_path: Path, tiny_model: Path, backend: str, cpu_backends: tuple[str, ...]
) -> None:
    if backend not in cpu_backends:
        pytest.skip(f"{backend} is not for this kind of machine")
    done = child(RUN.format(model=str(tiny_model), backend=backend), tmp_path)
    assert done.returncode == 0, done.stderr
    modules, threads = done.stdout.splitlines()
    assert modules in ("[]", "['openvino.tools.ovc.telemetry_params', 'openvino.tools.ovc.telemetry_utils']")
    assert threads == "['MainThread']"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_users_own_word_counts(tmp_path: Path) -> None:
    program = (
        "import os; from engines.loading import import_onnxruntime as load; load(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert child(program, tmp_path).stdout == "1\n"
    assert child(program, tmp_path, ORT_DISABLE_TELEMETRY="0", CI="1").stdout == "0\n"
