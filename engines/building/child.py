"""The child's side of a build: calls `module:function` and exchanges JSON lines with the parent (`engines.building.job`).

Input, on stdin: one line of options, then possibly "cancel"; its end means that the parent is gone. Output, on stdout: lines
{"phase", "fraction"} and finally {"result"} or {"what", "cure", "cancelled"}. Output of libraries, also native ones, goes to
stderr.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from engines.errors import BuildCancelledError, EngineError
from engines.system.memory import is_lack_of_memory

NICENESS = 10
"""The live view has priority over a build."""

ORPHAN_GRACE_S = 2.0
"""Time to stop by itself once the parent is gone."""

SMALLER = "Close other programs, or build a smaller engine with --size HxW"
"""The cure for a lack of memory."""

BuildFunction = Callable[[dict[str, Any], Callable[[str, "float | None"], None], Callable[[], bool]], dict[str, Any]]


def main(target: str) -> None:
    """Run `target` with the options on stdin. Ends the process at once: native libraries may crash while they unload."""
    commands, answers = _take_streams()
    os.nice(NICENESS)
    options = json.loads(commands.readline())
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(commands, cancelled), daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone: _listen ends this process
            answers.write(json.dumps(message).encode() + b"\n")

    def report(phase: str, fraction: float | None) -> None:
        send({"phase": phase, "fraction": fraction})

    try:
        last: dict[str, Any] = {"result": _function(target)(options, report, cancelled.is_set)}
        json.dumps(last)
    except BaseException as error:  # the parent reports every failure
        traceback.print_exc()
        what, cure = (" ".join(text.split()) for text in _explained(error))
        last = {"what": what, "cure": cure, "cancelled": isinstance(error, BuildCancelledError)}
    send(last)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _take_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The real stdin and stdout. All other code reads nothing there, and its output goes to stderr."""
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, answers


def _listen(commands: IO[bytes], cancelled: threading.Event) -> None:
    for _ in commands:
        cancelled.set()
    cancelled.set()
    time.sleep(ORPHAN_GRACE_S)
    os._exit(1)


def _function(target: str) -> BuildFunction:
    module, _, name = target.partition(":")
    function: BuildFunction = getattr(importlib.import_module(module), name)
    return function


def _explained(error: BaseException) -> tuple[str, str]:
    """What happened, and the cure."""
    if isinstance(error, EngineError):
        return error.what, error.cure
    if is_lack_of_memory(error):
        return "the build ran out of memory", SMALLER
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"the build failed with {type(error).__name__}: {error}{where}", ""
