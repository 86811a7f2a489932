"""How the program ends: by a signal, at any moment, or when its work is done. Set up by `realtime.cli.program`, never at import.

Python calls a signal handler between two instructions of the main thread, and one that raises there, as Python's own does, throws
into whatever is half done: an extension module that is initialising, a thread that is starting, a file that is being renamed. So
the handlers do nothing. The signal's number reaches a thread of its own, which ends the process:

    nothing has been asked for     at once, with code 128 + number, after undoing what is unfinished (`engines.files`)
    within `orderly`               the command is told, and ends by itself; a second signal makes it hurry, a third does not wait

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
from typing import NoReturn

from engines import files

log = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

LIMIT_S = 12.0
"""Time for an orderly end: what hangs for longer is left behind."""

PATIENT_SIGNALS = 2
"""So many signals leave a command the time for an orderly end."""


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
    def hurried(self) -> bool:
        """Whether a second signal came."""
        return len(self.numbers) > 1

    @property
    def code(self) -> int:
        """The exit code that tells by what the program was ended."""
        return 128 + self.numbers[0] if self.numbers else 0


class _Listener:
    """Gets the signals. tell: what to call when the command that ends by itself is asked to; None where there is none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ending: Ending | None = None
        self.tell: Callable[[], None] | None = None
        self.limit_s: float | None = None
        self.patient_signals = PATIENT_SIGNALS

    def take(self, number: int) -> None:
        """A signal came. On the listening thread."""
        with self.lock:
            ending, tell = self.ending, self.tell
            if ending is None:
                _end(128 + number)
            ending.since_s = ending.since_s or time.monotonic()
            ending.numbers.append(number)
        if len(ending.numbers) > self.patient_signals:
            _end(ending.code)
        if len(ending.numbers) == 1:
            if self.limit_s is not None:
                _end_after(self.limit_s, ending)
            try:
                if tell is not None:
                    tell()
            except Exception:  # the limit holds all the same
                log.exception("the request to end was not taken")


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
    tell: Callable[[], None] | None = None, *, limit_s: float | None = LIMIT_S, patient_signals: int = PATIENT_SIGNALS
) -> Iterator[Ending]:
    """While entered, a signal does not end the process: the block is to see to that, after a look at what this yields.

    tell: called at the first signal, on another thread; it must not block. limit_s: from the first signal to the end of the
    process, whatever the block does. patient_signals: one more ends it at once. Without `listen` there are no signals to take.
    """
    ending = Ending()
    with _listener.lock:
        before = _listener.ending, _listener.tell, _listener.limit_s, _listener.patient_signals
        _listener.ending, _listener.tell = ending, tell
        _listener.limit_s, _listener.patient_signals = limit_s, patient_signals
    try:
        yield ending
    finally:
        with _listener.lock:
            _listener.ending, _listener.tell, _listener.limit_s, _listener.patient_signals = before


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


def _end_after(seconds: float, ending: Ending) -> None:
    timer = threading.Timer(seconds, _end, (ending.code,))
    timer.daemon = True
    timer.start()


def _end(code: int) -> NoReturn:
    files.undo_unfinished()
    with suppress(OSError, ValueError, AttributeError):
        if code > 128 and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\n")  # the prompt comes below a progress bar and "^C"
    os._exit(code)
