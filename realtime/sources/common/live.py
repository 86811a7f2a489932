"""Live streams: connect, read, detect silence, reconnect. The state machine is here; a feed is one connection."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from realtime.errors import SourceError, SourceLostError, SourceOpenError
from realtime.sources.common.base import FrameSource, Picture, counted, now_ns
from realtime.sources.common.uri import Options
from realtime.types import SourceStatus

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 1.8  # a read that cannot be interrupted ends at this time-out, and closing may take 2 s
_STALLED_AFTER_S = 1.0
_STALLED_AFTER_INTERVALS = 3
_STEADY_FRAMES = 5  # after this many frames a connection counts as good, and the next pause is short again


class Timeouts(NamedTuple):
    """Seconds to wait for an answer, and for each whole picture or packet."""

    open_s: float
    read_s: float

    @classmethod
    def given(cls, options: Options) -> Timeouts:
        """From the options of a network source."""
        read_s = options.number("timeout_s", READ_TIMEOUT_S, 0.2, 60)
        return cls(options.number("open_timeout_s", OPEN_TIMEOUT_S, 0.2, 60), read_s)


class HopelessError(SourceOpenError):
    """Waiting does not help: the address, the password or the pipeline is wrong."""


class RefusedError(HopelessError):
    """The server rejects the user name or password; trying again soon could lock the account."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: the user name or password was refused{detail}", "Check both in the URL")


class Feed(Protocol):
    """One connection. Read and closed on one thread; it may have been opened on another, see `Attempt`."""

    description: str
    """The negotiated format: "1280x720 h264 30 fps"."""

    fps: float | None

    def pictures(self) -> Iterator[Picture]:
        """Pictures until the stream declares its end. Raises SourceLostError when it breaks or falls silent."""
        ...

    def interrupt(self) -> None:
        """End a blocked `pictures` soon, where that is possible. Any thread."""
        ...

    def close(self) -> None: ...


class Backoff:
    """Pauses between attempts: 0.25 s growing by half to 5 s, each +-20 % so that many viewers do not reconnect at once."""

    FIRST_S, LAST_S, GROWTH, JITTER = 0.25, 5.0, 1.5, 0.2

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._next_s = self.FIRST_S

    def pause_s(self) -> float:
        """The next pause in seconds."""
        pause_s = self._next_s * self._rng.uniform(1 - self.JITTER, 1 + self.JITTER)
        self._next_s = min(self._next_s * self.GROWTH, self.LAST_S)
        return pause_s

    def reset(self) -> None:
        """The connection was good: start again with short pauses."""
        self._next_s = self.FIRST_S


class Attempt:
    """One call of `connect` that can be abandoned.

    A library's connect blocks until its own time-out and cannot be cancelled. It runs on a thread of its own, so that the caller
    need not wait for it. A feed that arrives after `abandon` is closed at once.
    """

    def __init__(self, connect: Callable[[], Feed]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._abandoned = False
        self._feed: Feed | None = None
        self._error: Exception | None = None
        # Daemon: Ctrl-C must not wait for a camera that does not answer.
        threading.Thread(target=self._run, name="connect", daemon=True).start()

    def result(self, timeout_s: float | None = None) -> Feed | None:
        """The open feed; None when abandoned or late. Raises the error of `connect`."""
        if not self._ready.wait(timeout_s):
            self.abandon()
        with self._lock:
            if self._abandoned:
                return None
            if self._error is not None:
                raise self._error
            return self._feed

    def abandon(self) -> None:
        """Let `result` return at once. Any thread; harmless after `result` has returned."""
        with self._lock:
            self._abandoned = True
        self._ready.set()

    def _run(self) -> None:
        feed: Feed | None = None
        try:
            feed = self._connect()
        except Exception as error:
            self._error = error
        with self._lock:
            self._feed = feed
            is_late = self._abandoned
        self._ready.set()
        if is_late and feed is not None:
            feed.close()


class LiveSource(FrameSource):
    """A stream that does not wait for its reader. It connects when iterated, and reconnects after a loss.

    The first connection must succeed: otherwise iterating raises SourceOpenError at once. Later ones are tried until
    `close`, unless the server refuses the password. `status` is the state at any time, from any thread. A loss and a return are
    logged, the attempts between them are not.
    """

    is_live = True

    def __init__(self, name: str, connect: Callable[[], Feed], *, backoff: Backoff | None = None) -> None:
        """connect: opens a connection, or raises SourceError within its time-out. It may run on another thread."""
        super().__init__(name)
        self._connect = connect
        self._feed: Feed | None = None
        self._attempt: Attempt | None = None
        self._backoff = backoff or Backoff()
        self._last_frame_ns: int | None = None
        self._lost_ns: int | None = None  # the last frame's time while the stream is lost
        self.reconnects = 0

    @property
    def status(self) -> SourceStatus:
        state, last_ns = self._state, self._last_frame_ns
        if state == "live" and last_ns is not None:
            silent_s = (now_ns() - last_ns) / 1e9
            if silent_s > max(_STALLED_AFTER_S, _STALLED_AFTER_INTERVALS / self.fps if self.fps else 0.0):
                return SourceStatus("stalled", f"no frame for {silent_s:.1f} s")
        return SourceStatus(state, self._detail)

    def adopt(self, feed: Feed) -> LiveSource:
        """Start with an open connection. Called before iterating; returns the source itself."""
        self._feed = feed
        self._show_live(feed)
        return self

    def _pictures(self) -> Iterator[Picture]:
        while not self._closed.is_set():
            try:
                self._feed = feed = self._feed or self._connected()
                if feed is not None:
                    self._show_live(feed)
                    yield from self._watched(feed)
                return
            except SourceError as error:
                if self._closed.is_set():  # `close` cut the connection: not a loss
                    return
                if self._last_frame_ns is None:
                    raise error if isinstance(error, SourceOpenError) else SourceOpenError(error.what, error.cure) from None
                if isinstance(error, RefusedError):
                    raise SourceLostError(error.what, error.cure) from None
                self._release()
                self._pause(error)

    def _connected(self) -> Feed | None:
        self._state, self._detail = "connecting", self.name
        attempt = Attempt(self._connect)
        with self._owner_lock:
            self._attempt = attempt
            if self._closed.is_set():
                attempt.abandon()
        return attempt.result()

    def _watched(self, feed: Feed) -> Iterator[Picture]:
        self._clock.restart()
        for number, picture in enumerate(feed.pictures(), start=1):
            self._last_frame_ns = now_ns()
            if number == 1:
                self._show_live(feed)  # some feeds know their size only now
                self._log_return()
            if number == _STEADY_FRAMES:
                self._backoff.reset()
            yield picture

    def _show_live(self, feed: Feed) -> None:
        again = f", {counted(self.reconnects, 'reconnect')}" if self.reconnects else ""
        self._last_frame_ns = now_ns() if self._last_frame_ns is not None else None
        self.fps = feed.fps or self.fps
        self._state, self._detail = "live", feed.description + again

    def _pause(self, error: SourceError) -> None:
        pause_s = self._backoff.pause_s()
        self.reconnects += 1
        reason, cure = error.what.removeprefix(f"{self.name}: "), f". {error.cure}" if error.cure else ""
        if self._lost_ns is None:
            self._lost_ns = self._last_frame_ns
            log.warning("%s: lost (%s), reconnecting%s", self.name, reason, cure)
        self._state, self._detail = "retrying", f"{reason}, trying again in {pause_s:.1f} s{cure}"
        self._closed.wait(pause_s)

    def _log_return(self) -> None:
        if self._lost_ns is not None:
            log.warning("%s: back after %.1f s without a frame", self.name, (now_ns() - self._lost_ns) / 1e9)
            self._lost_ns = None

    def _interrupt(self) -> None:
        if self._attempt is not None:
            self._attempt.abandon()
        if (feed := self._feed) is not None:
            feed.interrupt()

    def _release(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
