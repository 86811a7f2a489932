"""Runs the steps of an exporter in its folder. When the program that wanted them is gone, ends them and removes the folder.

Started with Python alone: python -I supervisor.py FOLDER. Each line of its stdin is a step, as JSON: command, log, variables.
Its answer is a line with the exit code, or 128 + the number of the signal that ended the step. When stdin ends, which it does
with the program, whatever ended that, the step is ended and the folder is removed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

REMOVING_S = 10.0
"""The longest time for removing the folder: what was killed may write for a moment yet."""


def main(folder: str) -> None:
    child: subprocess.Popen[bytes] | None = None
    for line in sys.stdin.buffer:
        step = json.loads(line)
        with open(step["log"], "ab") as log:  # noqa: PTH123
            child = _started(step, folder, log.fileno())
        threading.Thread(target=_report, args=(child,), daemon=True).start()
    if child is not None and child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what it started as well
    until_s = time.monotonic() + REMOVING_S
    while os.path.exists(folder) and time.monotonic() < until_s:  # noqa: PTH110
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def _started(step: "dict[str, Any]", folder: str, log: int) -> "subprocess.Popen[bytes]":
    command: list[str] = step["command"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=step["variables"], start_new_session=True
    )


def _report(child: "subprocess.Popen[bytes]") -> None:
    code = child.wait()
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), b"%d\n" % (128 - code if code < 0 else code))


if __name__ == "__main__":
    main(sys.argv[1])
