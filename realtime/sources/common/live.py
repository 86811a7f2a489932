"""Live streams: connect, read, detect silence, reconnect. The state machine is here; a feed is one connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

from engines.pictures.raw import PictureLike
from realtime.errors import SourceError, SourceLostError, SourceOpenError
from realtime.sources.common.attempt import Attempt, Backoff, CarefulBackoff
from realtime.sources.common.base import FrameSource, Picture, as_picture, counted, now_ns, unexpected
from realtime.sources.common.feed import EndedError, Feed, HopelessError, RefusedError
from realtime.sources.common.watching import PictureWatch
from realtime.types import SourceStatus

log = logging.getLogger(__name__)

_STALLED_AFTER_S = 1.0
_STALLED_AFTER_INTERVALS = 3
_STEADY_FRAMES = 5  # after this many frames a connection counts as good, and the next pause is short again
_UNDECODABLE_S = 10.0  # a stream of nothing that decodes is connected again: it may have begun without its parameters
_MOST_HANGING = 3  # calls that never return, each on a thread that cannot be ended


class LiveSource(FrameSource):
    """A stream that does not wait for its reader. It connects when iterated, and reconnects after a loss.

    The first connection must succeed, unless the source `waits` and waiting may help: otherwise iterating raises SourceOpenError
    at once. Later ones are tried until `close`, seldom while the server refuses the password. `status` is the state at any time,
    from any thread. Logged are a loss and a return, and the begin and end of frozen, black and undecodable pictures.
    """

    is_live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Feed],
        *,
        waits: bool = False,
        backoff: Backoff | None = None,
        open_limit_s: float | None = None,
    ) -> None:
        """connect: opens a connection, or raises SourceError. It may run on another thread.

        open_limit_s: after so long, `connect` counts as hanging; None where it has a time-out of its own that always works.
        """
        super().__init__(name)
        self._connect, self._waits, self._open_limit_s = connect, waits, open_limit_s
        self._feed: Feed | None = None
        self._attempt: Attempt | None = None
        self._backoff, self._careful = backoff or Backoff(), CarefulBackoff()
        self._watch = PictureWatch(name)
        self._hanging: list[threading.Thread] = []
        self._arrived_ns: int | None = None  # the last picture's time, whether it decodes or not
        self._last_frame_ns: int | None = None
        self._lost_ns: int | None = None  # since when there has been no frame, while the stream is lost or not there yet
        self.reconnects = 0

    @property
    def status(self) -> SourceStatus:
        state, detail, arrived_ns = self._state, self._detail, self._arrived_ns
        if state == "live" and arrived_ns is not None:
            silent_s = (now_ns() - arrived_ns) / 1e9
            trouble = self._watch.trouble(now_ns() / 1e9)
            if silent_s > max(_STALLED_AFTER_S, _STALLED_AFTER_INTERVALS / self.fps if self.fps else 0.0):
                state, detail = "stalled", f"no frame for {silent_s:.1f} s"
            elif trouble is not None:
                state, detail = trouble.state, trouble.what
        return SourceStatus(state, self._sized(detail), dict(self.rejected), self._sound, self.decoder)

    @property
    def decoder(self) -> str:
        feed = self._feed
        return feed.decoder if feed is not None else ""

    def adopt(self, feed: Feed) -> LiveSource:
        """Start with an open connection. Called before iterating; returns the source itself."""
        self._feed = feed
        self._show_live(feed)
        return self

    def _pictures(self) -> Iterator[Picture]:
        while not self._closed.is_set():
            try:
                self._feed = feed = self._feed or self._connected()
                if feed is not None and not self._closed.is_set():  # or `close` came too early to interrupt it
                    self._show_live(feed)
                    yield from self._watched(feed)
                return
            except EndedError:
                return
            except SourceError as error:
                if self._closed.is_set():  # `close` cut the connection: not a loss
                    return
                if self._last_frame_ns is None and (not self._waits or isinstance(error, HopelessError)):
                    raise error if isinstance(error, SourceOpenError) else SourceOpenError(error.what, error.cure) from None
                self._release()
                self._pause(error)

    def _connected(self) -> Feed | None:
        """A new connection; None when closed meanwhile. Raises SourceError."""
        self._state, self._detail = "connecting", self.name
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= _MOST_HANGING:
            cure = "Unplug the camera and plug it in again"
            raise SourceOpenError(f"{self.name}: {counted(len(self._hanging), 'call')} into its driver never returned", cure)
        attempt = Attempt(self._connect, self.name)
        with self._owner_lock:
            self._attempt = attempt
            if self._closed.is_set():
                attempt.abandon()
        feed = attempt.result(self._open_limit_s)
        if feed is None and not self._closed.is_set():
            self._hanging.append(attempt.thread)
            raise SourceOpenError(f"{self.name}: no answer within {self._open_limit_s:g} s", "Check that nothing else uses it")
        return feed

    def _watched(self, feed: Feed) -> Iterator[Picture]:
        self._clock.restart()
        self._watch.restart()
        self._arrived_ns = self._arrived_ns or now_ns()  # a stream that brings no first picture is stalled, too
        good = 0
        for picture in self._guarded(feed):
            self._arrived_ns = arrived_ns = now_ns()
            try:
                image: PictureLike | None = as_picture(picture.image)
            except ValueError:
                image = None
            self._watch.see(image, arrived_ns / 1e9)
            trouble = self._watch.report(arrived_ns / 1e9)
            if image is None:
                yield picture  # to be counted
                if trouble is not None and arrived_ns / 1e9 - trouble.since_s >= _UNDECODABLE_S:
                    raise SourceLostError(f"{self.name}: {trouble.what}", "Check the camera's codec and resolution")
                continue
            self._last_frame_ns = arrived_ns
            good += 1
            if good == 1:
                self._show_live(feed)  # some feeds know their format only now
                self._log_return()
            if good == _STEADY_FRAMES:
                self._backoff.reset()
                self._careful.reset()
            yield picture._replace(image=image, content=self._watch.content)

    def _guarded(self, feed: Feed) -> Iterator[Picture]:
        """Its pictures; whatever a library raises becomes the loss of this connection."""
        try:
            yield from feed.pictures()
        except SourceError:
            raise
        except Exception as error:
            raise SourceLostError(*unexpected(self.name, error)) from None

    def _show_live(self, feed: Feed) -> None:
        again = f", {counted(self.reconnects, 'reconnect')}" if self.reconnects else ""
        self._arrived_ns = now_ns() if self._arrived_ns is not None else None
        self.fps = feed.fps or self.fps
        self._state, self._detail = "live", feed.description + again
        self._sound = feed.sound

    def _pause(self, error: SourceError) -> None:
        pause_s = (self._careful if isinstance(error, RefusedError) else self._backoff).pause_s()
        reason, cure = error.what.removeprefix(f"{self.name}: "), f". {error.cure}" if error.cure else ""
        if self._lost_ns is None:
            self._lost_ns = self._last_frame_ns or now_ns()
            begun = "lost (%s), reconnecting%s" if self._last_frame_ns else "not there (%s), waiting for it%s"
            log.warning("%s: " + begun, self.name, reason, cure)
        self.reconnects += self._last_frame_ns is not None
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
        if feed is not None and (left := feed.close()) is not None:
            self._hanging.append(left)
