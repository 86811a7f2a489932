"""Composer: segmentations become results and pictures. Follows objects over time, asks observers, draws. Used on one thread."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from engines.models.card import ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.errors import SettingsError
from realtime.flow.meter import Meter
from realtime.knobs import Knobs
from realtime.observers import ALWAYS, observed, open_observers
from realtime.render import Look, Painter
from realtime.settings import Settings
from realtime.streams.overlay import Anchor, carried
from realtime.streams.smoothing import AlphaSmoother, ClassSmoother
from realtime.tracking import open_tracker
from realtime.types import Canvas, Event, Frame, Observer, Result

log = logging.getLogger(__name__)


class Composer:
    """One stream's objects over time, and its pictures."""

    def __init__(
        self,
        settings: Settings,
        meter: Meter,
        time_s: Callable[[Frame], float],
        observers: Sequence[Observer] = (),
        *,
        on_screen: bool,
    ) -> None:
        """time_s: a frame's time. observers: beside those of the settings. on_screen: not for files alone."""
        self._tracker = None if settings.tracker == "none" else open_tracker(settings.tracker, **settings.tracking)
        self._follows_camera = settings.tracking.get("camera_motion") != "off"
        self._alpha_smoother = None if settings.smooth is False else AlphaSmoother()
        smooths_classes = on_screen if settings.smooth is None else settings.smooth  # files hold what the network saw
        self._class_smoother = ClassSmoother() if smooths_classes else None
        self._paint = Painter()
        self._settings, self._meter, self._time_s = settings, meter, time_s
        self._given = tuple(observers)
        self._observers: tuple[Observer, ...] | None = None
        self._events: list[Event] = []
        self._result: Result | None = None
        self._anchor: Anchor | None = None

    def take(self, frame: Frame, segmentation: Segmentation, card: ModelCard) -> None:
        """A frame out of the model that `card` describes; they come in order.

        The very same picture again, of a frozen camera, is no evidence of anything: its result is the one before.
        """
        if self._tracker is not None and self._is_known(frame):
            assert self._result is not None, "what is known has a result"
            self._result, self._anchor = replace(self._result, frame=frame), None
            return
        segmentation = self._smoothed(frame, segmentation)
        tracks = None
        if self._tracker is not None:
            start = time.perf_counter()
            tracks = self._tracker.update(segmentation, self._time_s(frame), frame.picture)
            self._meter.add({"track": (time.perf_counter() - start) * 1e3})
        if (cut_off := segmentation.instances.cut_off) and self._meter.cut_off(cut_off):
            most = len(segmentation.instances)
            log.warning("frame %d has %d objects, more than the %d that are kept", frame.index, most + cut_off, most)
        result = Result(frame, segmentation, tracks)
        if self._observers is None:
            self._observers = (*open_observers(self._settings.observers, card), *self._given)
            names = [observer.name for observer in self._observers]
            if len(set(names)) < len(names):
                raise SettingsError(f"two observers have the same name: {', '.join(names)}", "Rename one")
        start = time.perf_counter()
        events, numbers = observed(self._observers, result, self._time_s(frame))
        if len(self._observers) > len(ALWAYS):
            self._meter.add({"observe": (time.perf_counter() - start) * 1e3})
        self._events += events
        self._result, self._anchor = replace(result, numbers=numbers), None

    def missed(self, frame: Frame, error: str, *, carries: bool) -> Result:
        """A result for a frame that the model gave none for; trackers and observers do not see it.

        error: why. carries: with what the last result leads to expect in it, as on a screen; otherwise nothing is seen in it.
        """
        last = self.result_for(frame) if carries else None
        if last is not None:
            return replace(last, frame=frame, error=error)
        known = self._result
        map_size = Size.of(known.segmentation.instances.label_map) if known is not None else frame.size
        tracks = None if self._tracker is None else ()
        numbers = known.numbers if known is not None else {}
        return Result(frame, Segmentation(Instances.none(map_size)), tracks, numbers=numbers, error=error)

    def result_for(self, newest: Frame | None) -> Result | None:
        """What is to be drawn: the latest result or, where there is a newer frame, that with what is expected in it.

        None before the first result.
        """
        if self._result is None or newest is None or newest.index <= self._result.frame.index:
            return self._result
        if self._is_known(newest):
            return replace(self._result, frame=newest)  # nothing has moved in it
        start = time.perf_counter()
        if self._anchor is None:  # once a result, and only where it is asked for
            self._anchor = Anchor.of(self._result, self._time_s(self._result.frame), self._follows_camera)
        result = replace(carried(self._anchor, newest, self._time_s(newest)), numbers=self._result.numbers)
        self._meter.add({"carry": (time.perf_counter() - start) * 1e3})
        return result

    def _is_known(self, frame: Frame) -> bool:
        """Whether it shows the very picture of the latest result."""
        return frame.content is not None and self._result is not None and frame.content == self._result.frame.content

    def with_events(self, result: Result) -> Result:
        """`result` with what was reported since the last call: each event is in one result only."""
        events, self._events = self._events, []
        return replace(result, events=tuple(events)) if events else result

    def draw(self, result: Result, knobs: Knobs, look: Look) -> Canvas:
        """Its picture."""
        start = time.perf_counter()
        canvas = self._paint(result, knobs, look)
        self._meter.add({"draw": (time.perf_counter() - start) * 1e3})
        return canvas

    def _smoothed(self, frame: Frame, segmentation: Segmentation) -> Segmentation:
        """The same with its matte averaged over time, and its class map held still, as far as it has them."""
        alpha, class_map = segmentation.alpha, segmentation.class_map
        start = time.perf_counter()
        if alpha is not None and self._alpha_smoother is not None:
            segmentation = replace(segmentation, alpha=self._alpha_smoother(alpha, frame.image, self._time_s(frame)))
        if class_map is not None and self._class_smoother is not None:
            segmentation = replace(segmentation, class_map=self._class_smoother(class_map, frame.image, self._time_s(frame)))
        if segmentation.alpha is not alpha or segmentation.class_map is not class_map:
            self._meter.add({"smooth": (time.perf_counter() - start) * 1e3})
        return segmentation
