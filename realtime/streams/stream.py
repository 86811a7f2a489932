"""Stream: one source, from its frames to its outlets. Two threads of its own; the model is behind a port of the inference thread.

    capture ──Latest or Bounded(2)──▶ (inference) ──▶ compose ──▶ outlets
       └──────── the newest frame, for the overlay "live" ──┘

A live source does not wait, so frames that the model cannot take are dropped before it (`Latest`); a recording waits, and nothing
is dropped. With the overlay "live" the newest frame bypasses the model: masks and tracks are drawn where they are expected on it.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from engines.families import DecodeSettings
from engines.models.card import ModelCard
from realtime.errors import SettingsError, SourceLostError
from realtime.flow.links import Bounded, Closed, Latest, Link
from realtime.flow.meter import Meter, Reading
from realtime.flow.pipeline import Gate, Pipeline
from realtime.knobs import Panel
from realtime.observers import check_observers
from realtime.process.redact import redact
from realtime.render import Look, compose
from realtime.settings import Settings
from realtime.sources.common.base import unexpected
from realtime.sources.common.watching import watched
from realtime.streams.backdrop import open_background
from realtime.streams.composer import Composer
from realtime.streams.inference import Inference
from realtime.streams.outlets import CanvasFormat, Delivery, Outlet
from realtime.streams.port import OpenedModel
from realtime.types import Canvas, Frame, Observer, Result, Source

TRACKER_LOW_SCORE = 0.1
"""Trackers get objects of low score as well: they keep a track alive, and are shown only as part of one."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream is made of. open_source: called on the thread that reads. observers: beside those of the settings."""

    settings: Settings
    open_source: Callable[[], Source]
    outlets: Sequence[Outlet]
    observers: Sequence[Observer] = ()


class Stream:
    """One source, from capture to outlets. Its first error (`pipeline.error`) ends this stream only."""

    def __init__(self, plan: StreamPlan, inference: Inference) -> None:
        """Raises SettingsError for a background that cannot be read, and for an observer that does not exist."""
        settings = plan.settings
        check_observers(settings.observers)
        self.settings = settings
        self.panel = Panel(settings.first_knobs())
        self.meter = Meter()
        self.source: Source | None = None
        self.shown: Result | None = None
        """The latest result, as the outlets got it."""
        self.pipeline = Pipeline()
        self._plan, self._inference = plan, inference
        self.outlets = tuple(sorted(plan.outlets, key=lambda outlet: not outlet.is_screen))  # screens first
        self._is_watched = any(outlet.is_screen for outlet in self.outlets)
        self._background = open_background(settings.background)
        self._looks: dict[CanvasFormat, Look] = {}
        self._newest: Frame | None = None
        self._skips = False
        self._model_is_open = threading.Event()
        self._port = inference.port(self.meter, self._decode_settings, self._introduce)
        self.gate = Gate(self._port.wake)
        self.pipeline.on_stop(self.gate.release)
        self.pipeline.on_stop(self._model_is_open.set)
        self.pipeline.on_stop(self._port.cancel)
        self.pipeline.stage("capture", self._capture)
        links = [link for outlet in self.outlets if (link := outlet.join(self.pipeline, self.meter)) is not None]
        self.pipeline.stage("compose", self._compose, *links)

    @property
    def name(self) -> str:
        """Of its source, without password; empty until that is open."""
        return self.source.name if self.source is not None else ""

    @property
    def failed_frames(self) -> Sequence[int]:
        """The numbers of the first frames that the model gave no result for; `reading().failed` counts all."""
        return self._port.failed_frames

    @property
    def counts(self) -> Mapping[int, float]:
        """How many different objects were tracked so far, by class id."""
        return self.shown.numbers.get("counts", {}) if self.shown is not None else {}

    def look(self, card: ModelCard, format: CanvasFormat) -> Look:
        """How a model's results are drawn in that format."""
        look = self._looks.get(format)
        if look is None or look.card is not card:
            look = self._looks[format] = Look(card, format.width_px, self._background, format.least_width_px)
        return look

    def redraw(self) -> None:
        """Draw the present picture again with the present knobs: for a paused or ended stream."""
        model = self._inference.model
        if self.pipeline.running:
            self._port.segmented.nudge()
        elif self.shown is not None and model is not None and self.source is not None:
            for outlet in self.outlets:  # the stream has ended, and no thread is left to draw its last picture
                if outlet.is_screen and (format := outlet.canvas_format()) is not None:
                    canvas = compose(self.shown, self.panel.knobs, self.look(model.card, format))
                    with suppress(Closed):
                        outlet.put(Delivery(self.shown, canvas, model, self.source, False), False)

    def reading(self) -> Reading:
        """All figures now."""
        # These first: whatever they count was captured before, so nothing is ever in flight less than zero times.
        processed, failed, frames = self._port.segmented.segmentations, self._port.failed, self._port.frames
        counts = frames.counts() if frames else None
        return self.meter.reading(
            captured=counts.put if counts else 0,
            processed=processed,
            dropped_before_model=counts.dropped if counts else 0,
            failed=failed,
            dropped_before_screen=sum(outlet.dropped for outlet in self.outlets if outlet.is_screen),
            rejected=sum(self.source.status.rejected.values()) if self.source is not None else 0,
        )

    def _decode_settings(self) -> DecodeSettings:
        threshold = self.panel.knobs.threshold
        if self.settings.tracker != "none":
            threshold = min(threshold, TRACKER_LOW_SCORE)
        return self.settings.decode_settings(threshold)

    def _introduce(self, model: OpenedModel) -> None:
        if not self._model_is_open.is_set():  # later ones are the same model on another engine: knobs stay as they were turned
            self.panel.change(lambda knobs: self.settings.knobs(model.card, knobs))
            self._model_is_open.set()

    def _capture(self) -> None:
        source: Source | None = None
        try:
            source = self.source = watched(self._plan.open_source())
            self.pipeline.on_stop(source.close)
            self._skips = source.is_live or (self._is_watched and self.settings.overlay == "live")
            frames: Link[Frame] = self.pipeline.link(Latest() if self._skips else Bounded(2))
            self._port.open(frames, None if self._skips else self.gate)
            self._read(source)
        finally:
            self._port.end()  # before a driver that takes long to close
            if source is not None:
                source.close()

    def _read(self, source: Source) -> None:
        frames = iter(source)
        if not source.is_live:  # the frames of a recording would age while the model loads, which asks for the first one's size
            first = list(itertools.islice(frames, 1))
            for frame in first:
                self._port.announce(frame.image)
            self._model_is_open.wait()
            frames = itertools.chain((replace(frame, captured_ns=time.monotonic_ns()) for frame in first), frames)
        asked = time.perf_counter()
        for frame in frames:
            if source.is_live and self.gate.paused:
                continue  # the picture is frozen; the camera is still drained
            # Here, beside the model, what the model cannot take as it is: on its own thread it would wait for that.
            frame = self._taken(frame, self._inference.takes)
            # Of a recording on a screen, which plays at its own speed, this would measure waiting.
            if not source.is_live and not self._is_watched:
                self.meter.add({"read": (time.perf_counter() - asked) * 1e3})
            if self._skips and not source.is_live:
                self.gate.wait()
                frame = self._released(frame)
            self._newest = frame
            self._port.put(frame)
            if self._shows_newest:
                self._port.segmented.nudge()
            if self._draws:  # and this while the model runs, which need not wait for it
                self._taken(frame, frozenset())
            asked = time.perf_counter()

    def _taken(self, frame: Frame, takes: frozenset[str]) -> Frame:
        """`Frame.as_taken`. Raises SourceLostError where there is no memory for it."""
        try:
            return frame.as_taken(takes)
        except MemoryError as error:
            raise SourceLostError(*unexpected(self.name, error)) from None

    @property
    def _draws(self) -> bool:
        """Whether a picture of each result is wanted now."""
        return any(outlet.canvas_format() is not None for outlet in self.outlets)

    @property
    def _shows_newest(self) -> bool:
        """Whether the newest frame is shown, without waiting for the model: where that is asked for, and while it recovers."""
        return self._is_watched and (self.panel.knobs.live_overlay or (self._skips and bool(self._inference.recovering)))

    def _released(self, frame: Frame) -> Frame:
        """The frame, its age counted from when a pause let it go."""
        return replace(frame, captured_ns=max(frame.captured_ns, self.gate.released_ns))

    def _compose(self) -> None:
        try:
            self._compose_all()
        finally:
            self._port.cancel()  # or the capture would wait for a reader

    def _compose_all(self) -> None:
        composer = Composer(self.settings, self.meter, self._time_s, self._plan.observers, on_screen=self._is_watched)
        newest_delivered = -1
        model: OpenedModel | None = None
        while True:
            try:
                item = self._port.get()
            except Closed:
                return
            missed: Result | None = None
            if item is not None:
                if item.model is not model:
                    model = item.model
                    self._check(model.card)
                frame = item.frame if self._skips else self._released(item.frame)
                if item.segmentation is not None:
                    composer.take(frame, item.segmentation, model.card)
                elif frame.index > newest_delivered:  # a newer one may be on the screen already
                    missed = composer.missed(frame, item.error, carries=self._skips and self._is_watched)
            result = missed or self._newest_result(composer)
            model = model or self._inference.model
            if result is None or model is None:
                continue  # a nudge before the first picture
            is_new = result.frame.index > newest_delivered  # not a redraw, nor an older frame after the overlay was live
            newest_delivered = max(newest_delivered, result.frame.index)
            if is_new:
                result = composer.with_events(result)
            self.shown = result
            self._deliver(composer, result, model, is_new)

    def _newest_result(self, composer: Composer) -> Result | None:
        """What is to be shown now, or written: None before the first result."""
        newest, recovering = self._newest if self._shows_newest else None, self._inference.recovering
        if newest is not None and recovering:
            return composer.missed(newest, redact(recovering), carries=True)
        return composer.result_for(newest)

    def _check(self, card: ModelCard) -> None:
        if self.settings.background != "none" and not card.gives_matte:
            raise SettingsError(
                f"background: {card.name} does not separate foreground and background",
                "Choose a model that gives a matte: people",
            )

    def _deliver(self, composer: Composer, result: Result, model: OpenedModel, is_new: bool) -> None:
        """Hand a result to every outlet. It is drawn once for all that want the same format, and not at all if none does."""
        assert self.source is not None, "known before its first frame"
        canvases: dict[CanvasFormat, Canvas] = {}
        ended = 0
        # A picture that somebody looks at waits for no file: what a file cannot take is dropped there, counted and reported.
        may_wait = not self._is_watched and (not self.source.is_live or len(self.outlets) == 1)
        for outlet in self.outlets:
            format = outlet.canvas_format()
            if format is not None and format not in canvases:
                canvases[format] = composer.draw(result, self.panel.knobs, self.look(model.card, format))
            try:
                outlet.put(Delivery(result, canvases[format] if format else None, model, self.source, is_new), may_wait)
            except Closed:
                ended += 1
        if ended == len(self.outlets):
            raise Closed
        if self._is_watched:
            self.meter.masks_shown(result.mask_age_s)
        else:
            self.meter.delivered(result.frame.captured_ns)

    def _time_s(self, frame: Frame) -> float:
        """The time for trackers and observers: a camera's on this machine's clock, a recording's on its own."""
        assert self.source is not None, "known before its first frame"
        return frame.captured_ns / 1e9 if self.source.is_live else frame.pts_s
