"""A live stream that arrives in pieces of seconds, as HLS and DASH do, at the pace of its own time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator

from realtime.errors import SourceLostError
from realtime.sources.common.base import Picture, now_ns
from realtime.sources.common.feed import Feed

_LONGEST_STEP_S = 2.0  # a longer one, or one back, is a cut: no time that passed


class PacedFeed:
    """Passes each picture on when it is due: a second of the stream takes a second, after a late picture as well.

    Unpaced, a piece's pictures would come at once, nearly all of them be dropped, and the rest of its time be a stall.
    """

    def __init__(self, feed: Feed, has_ended: Callable[[], bool]) -> None:
        """has_ended: whether the server has declared the stream's end; asked when no more comes."""
        self._feed, self._has_ended = feed, has_ended
        self._ending = threading.Event()
        self.description, self.fps, self.sound = feed.description, feed.fps, feed.sound

    @property
    def decoder(self) -> str:
        return self._feed.decoder

    def pictures(self) -> Iterator[Picture]:
        try:
            yield from self._paced()
        except SourceLostError:
            if not self._has_ended():
                raise

    def _paced(self) -> Iterator[Picture]:
        start_s, last_s = -math.inf, -math.inf
        for picture in self._feed.pictures():
            if picture.image is not None and picture.pts_s is not None:
                now_s, pts_s = now_ns() / 1e9, picture.pts_s
                if not 0 <= pts_s - last_s <= _LONGEST_STEP_S:
                    start_s = now_s - pts_s
                start_s, last_s = max(start_s, now_s - pts_s), pts_s
                if self._ending.wait(start_s + pts_s - now_s):
                    return
            yield picture._replace(received_ns=now_ns())

    def interrupt(self) -> None:
        self._ending.set()
        self._feed.interrupt()

    def close(self) -> threading.Thread | None:
        return self._feed.close()
