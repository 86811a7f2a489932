"""Signals in a process of its own: at any moment, in order, more than one, ignored ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

BEGIN = """
import signal, sys, time
from pathlib import Path
from engines.system.unfinished import unfinished
from realtime.process import ending
ending.listen()
"""

WHOLE_FILE = """
from engines.files import whole_file
with whole_file(Path("whole.txt")) as part:
    part.write_text("half")
    print("ready", flush=True)
    time.sleep(30)
"""

ORDERLY = """
told = []
with ending.orderly(lambda: told.append(True)) as asked:
    print("ready", flush=True)
    while not told:
        time.sleep(0.01)
    print("in order")
ending.leave(asked.code)
"""

SLOW = """
writing = [True]
with ending.orderly(is_writing=lambda: bool(writing)) as asked:
    print("ready", flush=True)
    while len(asked.numbers) < {signals}:
        time.sleep(0.01)
    time.sleep(0.3)
    print("written", flush=True)
    writing.clear()
    time.sleep(30)
"""

HANGS = """
with ending.orderly(limit_s=0.3) as asked:
    print("ready", flush=True)
    time.sleep(30)
"""

FAILING = """
with ending.orderly(lambda: 1 / 0, limit_s=0.3) as asked:
    print("ready", flush=True)
    time.sleep(30)
"""


class Child:
    """A program of these lines, in `folder`, that has said it is ready."""

    def __init__(self, lines: str, folder: Path, **ignored: signal.Signals) -> None:
        def ignore() -> None:
            for number in NUMBERS:  # the tests may run where some are ignored
                signal.signal(number, signal.SIG_IGN if number in ignored.values() else signal.SIG_DFL)

        # Unbuffered, a line after "ready" could arrive with it, and `communicate` would not see it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + lines], cwd=folder, text=True,
            env={**environment, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def send(self, *numbers: signal.Signals, apart_s: float = 0.1) -> tuple[int, str, str, float]:
        """Exit code, output, errors, and the seconds from the last signal to the end."""
        for position, number in enumerate(numbers):
            time.sleep(apart_s if position else 0)
            self.process.send_signal(number)
        sent_s = time.monotonic()
        try:
            output, errors = self.process.communicate(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
        return self.process.returncode, output, errors, time.monotonic() - sent_s


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_the_process_at_once_and_leaves_no_part(tmp_path: Path, number: signal.Signals) -> None:
    code, _, errors, took_s = Child(WHOLE_FILE, tmp_path).send(number)
    assert (code, errors) == (128 + number, "")
    assert took_s < 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_a_command_that_asks_for_it_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    code, output, errors, _ = Child(ORDERLY, tmp_path).send(number)
    assert (code, errors) == (128 + number, "")
    assert output.strip() == "in order"


def test_a_second_signal_waits_for_files_only(tmp_path: Path) -> None:
    code, output, errors, took_s = Child(SLOW.format(signals=2), tmp_path).send(signal.SIGTERM, signal.SIGINT)
    assert (code, output, errors) == (143, "written\n", "")
    assert took_s < 5


def test_a_third_signal_does_not_wait(tmp_path: Path) -> None:
    code, output, errors, took_s = Child(SLOW.format(signals=9), tmp_path).send(signal.SIGINT, signal.SIGINT, signal.SIGHUP)
    assert (code, output, errors) == (130, "", "")
    assert took_s < 2


def test_what_hangs_is_left_behind_after_a_time(tmp_path: Path) -> None:
    assert Child(HANGS, tmp_path).send(signal.SIGTERM)[0] == 143


def test_a_request_that_fails_does_not_keep_the_process(tmp_path: Path) -> None:
    code, _, errors, _ = Child(FAILING, tmp_path).send(signal.SIGTERM)
    assert code == 143
    assert "ZeroDivisionError" in errors


def test_nohup_is_respected(tmp_path: Path) -> None:
    child = Child(WHOLE_FILE, tmp_path, ignored=signal.SIGHUP)
    child.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0.3)
    assert child.send(signal.SIGTERM)[0] == 143


def test_a_job_in_the_background_hears_ctrl_c(tmp_path: Path) -> None:
    """A shell script starts it with SIGINT ignored; `kill -INT` is meant for it all the same."""
    assert Child(WHOLE_FILE, tmp_path, ignored=signal.SIGINT).send(signal.SIGINT)[0] == 130


def test_children_are_ended_with_the_process(tmp_path: Path) -> None:
    lines = """
import subprocess
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
with unfinished(child.kill):
    print("ready", flush=True)
    print(child.pid, flush=True)
    time.sleep(30)
"""
    code, output, _, _ = Child(lines, tmp_path).send(signal.SIGTERM)
    assert code == 143
    deadline_s = time.monotonic() + 5
    while Path(f"/proc/{output.strip()}/status").exists() and "zombie" not in Path(f"/proc/{output.strip()}/status").read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_model_that_is_being_added_leaves_no_part(tmp_path: Path) -> None:
    lines = """
from engines.models.collection.folders import new_model
with new_model("mine") as folder:
    (folder / "model.onnx").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(30)
"""
    code, _, errors, took_s = Child(lines, tmp_path).send(signal.SIGTERM)
    assert (code, errors) == (143, "")
    assert took_s < 2
    assert [path for path in tmp_path.rglob("*") if path.is_file() or "mine" in path.name] == []


def test_the_first_instruction_takes_signals() -> None:
    """Before any heavy import: they are what takes long."""
    program = "import sys, realtime.cli; print(*sorted(name for name in sys.modules if name.partition('.')[0] in sys.argv[1:]))"
    heavy = ("numpy", "argparse", "typing", "logging", "msgspec", "cv2", "threading", "pathlib", "engines")
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *heavy], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == []


def test_undoing_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    """A disk that does not answer."""
    lines = (
        'with unfinished(lambda: time.sleep(60)):\n    print("ready", flush=True)\n    print("a result")\n    time.sleep(30)\n'
    )
    code, _, errors, took_s = Child(lines, tmp_path).send(signal.SIGTERM)
    assert (code, errors) == (143, "")
    assert took_s < 5


def test_what_was_printed_is_not_lost(tmp_path: Path) -> None:
    child = Child('print("ready", flush=True)\nprint("a result")\nPath("printed").touch()\ntime.sleep(30)\n', tmp_path)
    deadline_s = time.monotonic() + 20
    while not (tmp_path / "printed").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert child.send(signal.SIGTERM)[1] == "a result\n"
