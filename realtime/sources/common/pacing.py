"""Playing a recording at its own speed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

from realtime.types import Frame, Source, SourceStatus


class Paced:
    """Plays a recording in real time: each frame waits for its own time, which becomes its capture time.

    It never runs faster than real time: after a late frame (a pause, a slow reader) the schedule shifts instead of catching
    up. A live source passes through unchanged. `close` ends a wait at once.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._closed = threading.Event()
        self._frames = self._make_frames()
        self.name, self.is_live = source.name, source.is_live
        self.frame_count, self.fps = source.frame_count, source.fps

    @property
    def status(self) -> SourceStatus:
        return self._source.status

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._source) if self.is_live else self._frames

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def _make_frames(self) -> Generator[Frame, None, None]:
        start_s = -math.inf
        try:
            for frame in self._source:
                now_s = time.monotonic()
                start_s = max(start_s, now_s - frame.pts_s)  # later after a late frame
                if self._closed.wait(start_s + frame.pts_s - now_s):
                    return
                yield replace(frame, captured_ns=time.monotonic_ns())
        finally:
            self._source.close()
