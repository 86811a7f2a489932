"""Standard streams that are closed, cut off, full, or in an encoding without the letters: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file descriptors, /dev/full")

BEGIN = "import os, sys\nfrom realtime.process import ending, standard_streams\nstandard_streams.prepare()\n"
END = "\nending.leave(standard_streams.checked(0))"


def run(
    lines: str, folder: Path, before: Callable[[], None] | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{key: value for key, value in options.items() if key.isupper()}}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {k: v for k, v in options.items() if k.islower()}
    command = [sys.executable, "-c", BEGIN + lines + END]
    return subprocess.run(command, cwd=folder, env=environment, timeout=30, check=False, preexec_fn=before, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_do_not_become_the_next_file(tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    lines = """
with open("output", "w") as output:
    assert output.fileno() > 2
    print("said"), print("complained", file=sys.stderr), os.write(2, b"by a library")
    sys.stdin.read(), sys.stderr.isatty(), sys.stdout.isatty()
    output.write("written")
"""
    assert run(lines, tmp_path, close, stdin=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "output").read_text() == "written"


def test_the_work_goes_on_when_nobody_reads_the_output(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    lines = "for _ in range(9999): print('a line')\nsys.stdout.flush()\nopen('result', 'w').write('complete')"
    done = run(lines, tmp_path, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "result").read_text() == "complete"


def test_output_on_a_full_disk_is_not_lost_in_silence(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = run("print('a figure')", tmp_path, stdout=full)
    assert done.returncode == 2
    assert (
        done.stderr == b"error: the output cannot be written (No space left on device). Free some space, or send it elsewhere\n"
    )


def test_help_on_a_full_disk_is_not_lost_in_silence() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, ROOT / "run.py", "--help"], stdout=full, stderr=subprocess.PIPE, timeout=50, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: the output cannot be written")


def test_unbuffered_output_arrives_at_once(tmp_path: Path) -> None:
    done = run("print('a line'); os._exit(0)", tmp_path, PYTHONUNBUFFERED="1")
    assert done.stdout == b"a line\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-8"])
def test_letters_that_the_encoding_lacks_are_replaced(tmp_path: Path, encoding: str) -> None:
    lines = r"text = 'caf\udce9 \u2588'; print(text); print(text, file=sys.stderr)"
    done = run(lines, tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert done.stdout == done.stderr == "caf? {}\n".format("█" if encoding == "utf-8" else "?").encode()
