"""How the program ends: by a signal, at any moment, or when its work is done. Set up by `realtime.cli.program`, never at import.

Python calls a signal handler between two instructions of the main thread, and one that raises there, as Python's own does, throws
into whatever is half done: an extension module that is initialising, a thread that is starting, a file that is being renamed. So
the handlers do nothing. The signal's number reaches a thread of its own, which ends the process:

    nothing has been asked for     at once, with code 128 + number, after undoing what is unfinished (`engines.system`)
    within `orderly`               the command is told, and ends by itself; a second signal waits for nothing but files, a third
                                   not even for these

The process ends without Python's own shutdown, during which a signal would kill it, or print a traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from engines.system.unfinished import undo_unfinished

log = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

LIMIT_S = 12.0
"""Time for an orderly end: what hangs for longer is left behind."""

HURRY_S = 0.02
"""Between two looks whether files are complete, after a second signal."""


UNDO_S = 1.5
"""Time for undoing what is unfinished."""


class Ending:
    """What has been asked of a command that ends by itself. Read on any thread; filled by the thread that gets the signals."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.since_s = 0.0
        """When the first signal came, on the monotonic clock."""

    @property
    def requested(self) -> bool:
        return bool(self.numbers)

    @property
    def code(self) -> int:
        """The exit code that tells by what the program was ended."""
        return 128 + self.numbers[0] if self.numbers else 0


class _Listener:
    """Gets the signals. ending, tell, is_writing, limit_s: see `orderly`; without an `ending` a signal ends the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ending: Ending | None = None
        self.tell: Callable[[], None] | None = None
        self.is_writing: Callable[[], bool] | None = None
        self.limit_s: float | None = None

    def take(self, number: int) -> None:
        """A signal came. On the listening thread."""
        with self.lock:
            ending, tell = self.ending, self.tell
            if ending is None:
                _end(128 + number)
            ending.since_s = ending.since_s or time.monotonic()
            ending.numbers.append(number)
        if len(ending.numbers) > 2 or (len(ending.numbers) == 2 and self.is_writing is None):
            _end(ending.code)
        if len(ending.numbers) == 2:
            _start(self._end_when_written, ending)
            return
        if self.limit_s is not None:
            _start(_end_after, self.limit_s, ending)
        try:
            if tell is not None:
                tell()
        except Exception:  # the limit holds all the same
            log.exception("the request to end was not taken")

    def _end_when_written(self, ending: Ending) -> None:
        while self.is_writing is not None and self.is_writing():
            time.sleep(HURRY_S)
        _end(ending.code)


_listener = _Listener()


def listen() -> None:
    """Take SIGINT, SIGTERM and SIGHUP from now on. Once, on the main thread. SIGHUP stays ignored where it is (nohup)."""
    received, noted = os.pipe()
    os.set_blocking(noted, False)
    signal.set_wakeup_fd(noted, warn_on_full_buffer=False)
    threading.Thread(target=_forward, args=(received,), name="signals", daemon=True).start()
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@contextmanager
def orderly(
    tell: Callable[[], None] | None = None, *, is_writing: Callable[[], bool] | None = None, limit_s: float | None = LIMIT_S
) -> Iterator[Ending]:
    """While entered, a signal does not end the process: the block is to see to that, after a look at what this yields.

    tell: called at the first signal, on another thread; it must not block. is_writing: whether files are still to be completed;
    a second signal ends the process as soon as none are, and at once without `is_writing`. limit_s: from the first signal to the
    end of the process, whatever the block does. Without `listen` there are no signals to take.
    """
    ending = Ending()
    with _listener.lock:
        before = _listener.ending, _listener.tell, _listener.is_writing, _listener.limit_s
        _listener.ending, _listener.tell, _listener.is_writing, _listener.limit_s = ending, tell, is_writing, limit_s
    try:
        yield ending
    finally:
        with _listener.lock:
            _listener.ending, _listener.tell, _listener.is_writing, _listener.limit_s = before


def leave(code: int) -> NoReturn:
    """End the process with `code` when its work is done and its files are complete. Threads that hang are left behind."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    _end(code)


def _forward(received: int) -> None:
    """Hand on the numbers that the system's own handler wrote into the pipe, whatever the main thread does."""
    while numbers := os.read(received, 64):
        for number in numbers:
            if number in SIGNALS:
                _listener.take(number)


def _start(work: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _undo() -> None:
    undo_unfinished()
    with suppress(OSError, ValueError):
        sys.stdout.flush()  # what a command has reported so far


def _end_after(seconds: float, ending: Ending) -> None:
    time.sleep(seconds)
    _end(ending.code)


def _end(code: int) -> NoReturn:
    undoing = threading.Thread(target=_undo, daemon=True)  # a disk may hang, and a process that ends by a signal may not
    undoing.start()
    undoing.join(UNDO_S)
    with suppress(OSError, ValueError, AttributeError):
        if code > 128 and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\n")  # the prompt comes below a progress bar and "^C"
    os._exit(code)
