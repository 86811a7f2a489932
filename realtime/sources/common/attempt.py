"""Connecting: pauses between attempts, and an attempt that can be abandoned."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import ClassVar

from realtime.errors import SourceError, SourceOpenError
from realtime.sources.common.base import unexpected
from realtime.sources.common.feed import Feed


class Backoff:
    """Pauses between attempts: the next of `PAUSES_S`, then the last again and again, each within `SPREAD` of it.

    At most 0.84 s at first: who is back after some seconds is seen within one. Then about 5 s: at most 130 attempts in ten
    minutes (of 5,000 runs). Spread, so that many viewers do not come back at once.
    """

    PAUSES_S: ClassVar[tuple[float, ...]] = (0.25, 0.4, 0.6, 0.7, 0.7, 0.7, 0.7, 2.0, 5.0)
    SPREAD: ClassVar[tuple[float, float]] = (0.85, 1.2)

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._count = 0

    def pause_s(self) -> float:
        """The next pause in seconds."""
        pause_s = self.PAUSES_S[min(self._count, len(self.PAUSES_S) - 1)]
        self._count += 1
        return pause_s * self._rng.uniform(*self.SPREAD)

    def reset(self) -> None:
        """The connection was good: start again with short pauses."""
        self._count = 0


class CarefulBackoff(Backoff):
    """After a refused password: a camera that starts may refuse for a while; one that is asked often locks the account."""

    PAUSES_S = (5.0, 15.0, 60.0, 300.0)
    SPREAD = (1.0, 1.2)


class Attempt:
    """One call of `connect` that can be abandoned.

    A library's connect blocks until its own time-out and cannot be cancelled. It runs on a thread of its own, so that the caller
    need not wait for it. A feed that nobody takes is closed: by that thread where it arrives after `abandon`, else by `result`.
    An error that is not ours is made one.
    """

    def __init__(self, connect: Callable[[], Feed], name: str = "") -> None:
        self._connect, self._name = connect, name
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._abandoned = False
        self._feed: Feed | None = None
        self._error: SourceError | None = None
        # Daemon: Ctrl-C must not wait for a camera that does not answer.
        self.thread = threading.Thread(target=self._run, name="connect", daemon=True)
        self.thread.start()

    def wait(self, timeout_s: float | None) -> bool:
        """Whether `result` would return at once, after at most `timeout_s`."""
        return self._ready.wait(timeout_s)

    def result(self, timeout_s: float | None = None) -> Feed | None:
        """The open feed; None when abandoned or late. Raises the error of `connect`."""
        if not self._ready.wait(timeout_s):
            self.abandon()
        with self._lock:
            if not self._abandoned:
                if self._error is not None:
                    raise self._error
                return self._feed
            late, self._feed = self._feed, None
        if late is not None:  # it had arrived before it was abandoned
            late.close()
        return None

    def abandon(self) -> None:
        """Let `result` return at once. Any thread; harmless after `result` has returned."""
        with self._lock:
            self._abandoned = True
        self._ready.set()

    def _run(self) -> None:
        feed: Feed | None = None
        try:
            feed = self._connect()
        except SourceError as error:
            self._error = error
        except Exception as error:
            self._error = SourceOpenError(*unexpected(self._name, error))
        with self._lock:
            is_late = self._abandoned
            self._feed = None if is_late else feed
        self._ready.set()
        if is_late and feed is not None:
            feed.close()
