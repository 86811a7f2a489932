"""The compose stage's work: segmentations become pictures. Follows objects over time, and draws. Used on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from engines.types import Segmentation
from realtime.knobs import Knobs
from realtime.meter import Meter, ObjectCounter
from realtime.overlay import Anchor, carried
from realtime.render import Look, compose
from realtime.settings import Settings
from realtime.smoothing import AlphaSmoother
from realtime.tracking import open_tracker
from realtime.types import Canvas, Frame, Result


class Composer:
    """One stream's objects over time, and its pictures."""

    def __init__(self, settings: Settings, meter: Meter, objects: ObjectCounter, time_s: Callable[[Frame], float]) -> None:
        """time_s: when a frame was, for what follows things over time."""
        self._tracker = None if settings.tracker == "none" else open_tracker(settings.tracker, **settings.tracking)
        self._follows_camera = settings.tracking.get("camera_motion") != "off"
        self._smoother = AlphaSmoother() if settings.smooth else None
        self._meter, self._objects, self._time_s = meter, objects, time_s
        self._result: Result | None = None
        self._anchor: Anchor | None = None

    def take(self, frame: Frame, segmentation: Segmentation) -> None:
        """A frame out of the model; they come in order."""
        segmentation = self._smoothed(frame, segmentation)
        tracks = None
        if self._tracker is not None:
            start = time.perf_counter()
            tracks = self._tracker.update(segmentation, self._time_s(frame), frame.image)
            self._objects.add(tracks)
            self._meter.add({"track": (time.perf_counter() - start) * 1e3})
        self._result, self._anchor = Result(frame, segmentation, tracks), None

    def result_for(self, newest: Frame | None) -> Result | None:
        """What is to be drawn: the latest result or, where there is a newer frame, that with what is expected in it.

        None before the first result.
        """
        if self._result is None or newest is None or newest.index <= self._result.frame.index:
            return self._result
        start = time.perf_counter()
        if self._anchor is None:  # once a result, and only where it is asked for
            self._anchor = Anchor.of(self._result, self._time_s(self._result.frame), self._follows_camera)
        result = carried(self._anchor, newest, self._time_s(newest))
        self._meter.add({"carry": (time.perf_counter() - start) * 1e3})
        return result

    def draw(self, result: Result, knobs: Knobs, look: Look) -> Canvas:
        """Its picture."""
        start = time.perf_counter()
        canvas = compose(result, knobs, look)
        self._meter.add({"draw": (time.perf_counter() - start) * 1e3})
        return canvas

    def _smoothed(self, frame: Frame, segmentation: Segmentation) -> Segmentation:
        """The same with the matte averaged over time, if there is one."""
        if segmentation.alpha is None or self._smoother is None:
            return segmentation
        start = time.perf_counter()
        alpha = self._smoother(segmentation.alpha, frame.image, self._time_s(frame))
        self._meter.add({"smooth": (time.perf_counter() - start) * 1e3})
        return replace(segmentation, alpha=alpha)
