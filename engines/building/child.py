"""The child's side of a build: calls `module:function`, and speaks JSON lines with the parent (`engines.building.job`).

In, on stdin: one line of options, then perhaps "cancel"; its end means that the parent is gone. Out, on stdout: lines
{"phase", "fraction"} and at last {"result"} or {"error", "cancelled"}. What libraries print goes to stderr, native code included.
"""

from __future__ import annotations

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

NICENESS = 10
"""The live view goes first: a build may take longer, the picture must not stutter."""

ORPHAN_GRACE_S = 2.0
"""Time to stop in good order once the parent is gone."""

BuildFunction = Callable[[dict[str, Any], Callable[[str, "float | None"], None], Callable[[], bool]], dict[str, Any]]


def main(target: str) -> None:
    """Run `target` with the options on stdin. Ends the process: native libraries that crash while unloading come to no word."""
    commands, answers = _take_streams()
    os.nice(NICENESS)
    options = json.loads(commands.readline())
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(commands, cancelled), daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone: _listen ends this process
            answers.write(json.dumps(message).encode() + b"\n")

    def report(phase: str, fraction: float | None) -> None:
        tell({"phase": phase, "fraction": fraction})

    try:
        last: dict[str, Any] = {"result": _function(target)(options, report, cancelled.is_set)}
        json.dumps(last)
    except BaseException as error:  # whatever it is, the parent gets it in words
        traceback.print_exc()
        last = {"error": _in_words(error), "cancelled": isinstance(error, BuildCancelledError)}
    tell(last)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _take_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The real stdin and stdout, kept from everybody else: others read nothing, and what they print goes to stderr."""
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


def _in_words(error: BaseException) -> str:
    if isinstance(error, EngineError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "the memory ran out while building: close other programs, or export the model with a smaller --size"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        text = f"the build failed with {type(error).__name__}: {error}{where}"
    return " ".join(text.split())
