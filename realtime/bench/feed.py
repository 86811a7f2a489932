"""Feed: a recording in an endless loop, played at a fixed rate like a camera, or as fast as possible."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from realtime.errors import SourceOpenError
from realtime.types import Frame, Source, SourceStatus

NOMINAL_FPS = 30.0
"""Of a recording with an unknown rate."""


class Feed:
    """Implements `realtime.types.Source`.

    rate_hz: frames per second by the clock, like a camera's (`is_live`); None: as fast as frames are processed.
    missed:  frames that a camera would have captured while the feed was still decoding or drawing an earlier one.

    A frame's capture time is when it is handed on, as with a camera: decoding is over by then.
    """

    def __init__(self, source: Source, open_again: Callable[[], Source], rate_hz: float | None) -> None:
        """source: the open recording, which the feed closes. open_again: opens it again each time that it has ended."""
        self._source, self._open_again, self._rate_hz = source, open_again, rate_hz
        self._closed = threading.Event()
        self.missed = 0
        self.name = self._source.name
        self.is_live = rate_hz is not None
        self.frame_count: int | None = None
        self.fps: float | None = rate_hz or self._source.fps

    @property
    def status(self) -> SourceStatus:
        return self._source.status

    def __iter__(self) -> Iterator[Frame]:
        return self._endless() if self._rate_hz is None else self._paced(self._rate_hz)

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def _paced(self, rate_hz: float) -> Iterator[Frame]:
        start_s, slot = time.monotonic(), 0
        for frame in self._endless():
            late_s = time.monotonic() - (start_s + slot / rate_hz)
            if late_s < 0:
                if self._closed.wait(-late_s):
                    return
            else:
                late_slots = int(late_s * rate_hz)
                self.missed += late_slots
                slot += late_slots
            yield replace(frame, index=slot, pts_s=slot / rate_hz, captured_ns=time.monotonic_ns())
            slot += 1

    def _endless(self) -> Iterator[Frame]:
        """The recording in a loop, with continuing indices and times."""
        interval_s = 1 / (self._source.fps or NOMINAL_FPS)
        index, start_s = 0, 0.0
        while not self._closed.is_set():
            end_s = None
            for frame in self._source:
                end_s = start_s + frame.pts_s
                yield replace(frame, index=index, pts_s=end_s)
                index += 1
            if self._closed.is_set():
                return
            if end_s is None:
                raise SourceOpenError(f"{self.name}: has no frames, so there is nothing to measure")
            start_s = end_s + interval_s
            self._source.close()
            self._source = self._open_again()
            if self._closed.is_set():  # closed meanwhile, from another thread
                self._source.close()
