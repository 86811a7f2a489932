"""The wiring: source → model → tracks and drawing → screen and file. Connects parts; does no work on pixels itself.

    capture ──Latest or Bounded(2)──▶ segment ──Bounded(1)──▶ compose ──Latest──▶ screen (Qt's thread)
                                                                 └────Bounded(64)──▶ record

A live source waits for nobody, so what the model cannot take is dropped before it (`Latest`); a recording waits, and nothing
is dropped. With the overlay "live" the newest frame goes past the model to compose, which draws on it what is expected there.
Everything is opened on the thread that uses it. The model and the source open side by side.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from engines.errors import EngineNotBuiltError, SegmentationError
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import Segmentation, Size
from realtime.errors import SettingsError
from realtime.flow.links import Bounded, Closed, Latest, Link
from realtime.flow.meter import Meter, ObjectCounter, Reading
from realtime.flow.pipeline import Gate, Pipeline
from realtime.render import Look, compose
from realtime.settings import Settings
from realtime.streams.backdrop import open_background
from realtime.streams.composer import Composer
from realtime.streams.recorder import Finish, Recorder, Recording, Start, ToRecord
from realtime.streams.upgrade import EngineUpgrade
from realtime.types import Canvas, Frame, Result, Source

TRACKER_LOW_SCORE = 0.1
"""Trackers are given unsure objects as well: they keep a track alive, and are shown only as part of one."""

WARM_UP_SIZE = Size(1280, 720)

LEAST_SCREEN_PX = 640
"""On a screen, small pictures are drawn at least this wide: their labels would else be blown up with them."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """What is known of the model once it is loaded. refusals: backend → why "auto" did not take it."""

    card: ModelCard
    look: Look
    backend: str
    refusals: dict[str, str]


class Run:
    """One pipeline, wired. `start` it, then ask how it does; `pipeline.wait` re-raises what went wrong first."""

    def __init__(
        self,
        settings: Settings,
        open_source: Callable[[], Source],
        find_model: Callable[[], Model],
        *,
        screen: Latest[Canvas] | None = None,
        recording: Recording | None = None,
        builds_engines: bool = False,
    ) -> None:
        """open_source, find_model: called on the threads that use the results. screen: where drawn pictures go to be shown.

        builds_engines: where a GPU lacks its engine for the model, build it meanwhile, and switch over when it is ready.
        Raises SettingsError when the picture that the settings name for a background cannot be read.
        """
        self.settings = settings
        self.knobs = settings.first_knobs()
        self.recording = recording
        """Assign a `Recording` to start one with the next picture, None to finish it."""
        self.model: OpenedModel | None = None
        self.source: Source | None = None
        self.meter = Meter()
        self.objects = ObjectCounter()
        self.gate = Gate()
        self.recorder = Recorder(self.meter, survives_errors=screen is not None)
        self.upgrade: EngineUpgrade | None = None
        """The build that goes on meanwhile."""
        self._open_source, self._find_model = open_source, find_model
        self._builds_engines = builds_engines
        self._background = open_background(settings.background)
        self.pipeline = Pipeline()
        self._frames: Link[Frame] | None = None
        self.shown: Result | None = None
        """What the latest picture shows."""
        self._newest: Frame | None = None
        self._skips = False
        self._released_ns = 0
        self._opened: Link[Link[Frame]] = self.pipeline.link(Bounded(1))
        self._segmented: Link[tuple[Frame, Segmentation]] = self.pipeline.link(Bounded(1))
        self._to_record: Link[ToRecord] = self.pipeline.link(Bounded(64))
        self._screen = self.pipeline.link(screen) if screen is not None else None
        self._model_is_open = threading.Event()
        self.pipeline.on_stop(self.gate.release)
        self.pipeline.on_stop(self._model_is_open.set)
        self.pipeline.stage("capture", self._capture, self._opened)
        self.pipeline.stage("segment", self._segment, self._segmented)
        self.pipeline.stage("compose", self._compose, self._to_record)  # the screen stays open: see `redraw`
        self.pipeline.stage("record", lambda: self.recorder.run(self._to_record))

    def start(self) -> None:
        self.pipeline.start()

    def end_upgrade(self) -> None:
        """Stop the build that goes on meanwhile, if one does, and wait until nothing of it is left."""
        if self.upgrade is not None:
            self.upgrade.close()

    def redraw(self) -> None:
        """Draw the present picture again with the knobs as they are now, and follow `recording`: for one that stands still."""
        if self.pipeline.running:
            self._segmented.nudge()
        elif self._screen is not None and self.shown is not None and self.model is not None:
            with suppress(Closed):  # the stream has ended, and its last picture is drawn here: no thread is left to do it
                self._screen.put(compose(self.shown, self.knobs, self.model.look))

    def reading(self) -> Reading:
        """All figures now."""
        # Processed first: whatever it counts was captured before, so nothing is ever in flight less than zero times.
        processed, frames = self._segmented.put_count, self._frames
        counts = frames.counts() if frames else None
        return self.meter.reading(
            captured=counts.put if counts else 0,
            processed=processed,
            dropped_before_model=counts.dropped if counts else 0,
            dropped_before_screen=self._screen.dropped if self._screen else 0,
        )

    def _capture(self) -> None:
        source = self._open_source()
        try:
            self.source = source
            self.pipeline.on_stop(source.close)
            self._skips = source.is_live or (self._screen is not None and self.settings.overlay == "live")
            frames: Link[Frame] = self.pipeline.link(Latest() if self._skips else Bounded(2))
            self._frames = frames
            try:
                self._opened.put(frames)
                self._read(source, frames)
            finally:
                frames.close()
        finally:
            source.close()

    def _read(self, source: Source, frames: Link[Frame]) -> None:
        if not source.is_live:
            self._model_is_open.wait()  # a recording can wait: its first frames shall not grow old while the model loads
        asked = time.perf_counter()
        for frame in source:
            if source.is_live and self.gate.paused:
                continue  # the picture stands still, but the camera is drained all the same
            if not source.is_live and self._screen is None:  # on a screen it plays at its own speed: waiting is no work
                self.meter.add({"read": (time.perf_counter() - asked) * 1e3})
            if self._skips and not source.is_live:
                frame = self._held_while_paused(frame)
            self._newest = frame
            frames.put(frame)
            if self._screen is not None and self.knobs.live_overlay:
                self._segmented.nudge()
            asked = time.perf_counter()

    def _segment(self) -> None:
        model = self._find_model()
        segmenter = self._open_segmenter(model)
        try:
            segmenter.warm_up(WARM_UP_SIZE)
            self._introduce(segmenter)
            self.knobs = self.settings.knobs(segmenter.card, self.knobs)
            self._model_is_open.set()
            started: deque[Frame] = deque()
            for frame in self._opened.get():
                if self.upgrade is not None and self.upgrade.take():
                    segmenter = self._switch(segmenter, model, self.upgrade)
                segmenter.start(frame.image)
                started.append(frame)
                if len(started) == segmenter.inflight:
                    self._finish(segmenter, started.popleft())
            while started:
                self._finish(segmenter, started.popleft())
        finally:
            segmenter.close()  # a build goes on: it is there the next time, however short a clip is

    def _open_segmenter(self, model: Model) -> Segmenter:
        """The model on the backend that is asked for; or for now on another, where that lacks an engine that can be built."""
        options = self.settings.engine
        try:
            segmenter = Segmenter(model, self.settings.backend, options)
            unbuilt = segmenter.choice.unbuilt
        except EngineNotBuiltError as error:
            if not self._builds_engines:
                raise
            segmenter, unbuilt = Segmenter(model, "auto"), error.what
        if unbuilt and self._builds_engines:
            self.upgrade = EngineUpgrade(model, options, unbuilt)
            self.pipeline.on_stop(self.upgrade.cancel)
        return segmenter

    def _switch(self, segmenter: Segmenter, model: Model, upgrade: EngineUpgrade) -> Segmenter:
        """The same model on the engine that was built meanwhile. The one there was goes on if that does not run."""
        built: Segmenter | None = None
        try:
            built = Segmenter(model, "trt", self.settings.engine)
            built.warm_up(WARM_UP_SIZE)
        except SegmentationError as error:
            if built is not None:
                built.close()
            upgrade.fail(error)
            return segmenter
        segmenter.close()
        self._introduce(built)
        return built

    def _introduce(self, segmenter: Segmenter) -> None:
        """Tell what runs now, once it has been warmed up."""
        card, choice = segmenter.card, segmenter.choice
        if self.settings.background != "none" and not card.gives_matte:
            raise SettingsError(
                f"background: {card.name} does not tell foreground from background; choose a model that gives a matte"
            )
        look = Look(card, self.settings.width, self._background, LEAST_SCREEN_PX if self._screen is not None else 0)
        self.model = OpenedModel(card, look, choice.engine.description, choice.refusals)

    def _finish(self, segmenter: Segmenter, frame: Frame) -> None:
        threshold = self.knobs.threshold
        if self.settings.tracker != "none":
            threshold = min(threshold, TRACKER_LOW_SCORE)
        segmentation = segmenter.finish(self.settings.decode_settings(threshold))
        self.meter.add(segmentation.stage_ms)
        self.meter.processed()
        self._segmented.put((frame if self._skips else self._held_while_paused(frame), segmentation))

    def _held_while_paused(self, frame: Frame) -> Frame:
        """Hold a recording here while it is paused: one frame before the screen or, where the screen runs ahead of the model,
        before both. Ages count from when the pause let go."""
        if self.gate.wait():
            self._released_ns = time.monotonic_ns()
        return replace(frame, captured_ns=max(frame.captured_ns, self._released_ns))

    def _compose(self) -> None:
        composer = Composer(self.settings, self.meter, self.objects, self._time_s, on_screen=self._screen is not None)
        recording: Recording | None = None
        newest_drawn = -1
        while True:
            try:
                item = self._segmented.get_or_nudge()
            except Closed:
                return
            if item is not None:
                composer.take(*item)
            is_live = self.knobs.live_overlay and self._screen is not None
            result = composer.result_for(self._newest if is_live else None)
            if result is None or self.model is None:
                continue  # a nudge before the first picture
            self.shown = result
            canvas = composer.draw(result, self.knobs, self.model.look)
            if recording is not self.recording:
                recording = self.recording
                self._follow(recording)
            if self._screen is not None:
                self.meter.masks_shown(result.mask_age_s)
                self._screen.put(canvas)  # before the recorder, which may make this thread wait
            is_new = canvas.index > newest_drawn  # and no redraw, nor an older frame after the overlay was live
            newest_drawn = max(newest_drawn, canvas.index)
            if recording is not None and is_new:
                self._to_record.put((result, canvas))
            if self._screen is None:
                self.meter.delivered(canvas.captured_ns)

    def _time_s(self, frame: Frame) -> float:
        """When it was, for what follows things over time: of a camera on this machine's clock, of a recording on its own."""
        assert self.source is not None, "the source is known before its first frame"
        return frame.captured_ns / 1e9 if self.source.is_live else frame.pts_s

    def _follow(self, recording: Recording | None) -> None:
        """Pass the start or the end of a recording on, in its place between the pictures."""
        assert self.model is not None, "the model is known before the first picture"
        assert self.source is not None, "and so is the source"
        self._to_record.put(Finish() if recording is None else Start(recording, self.model.card, self.source))
