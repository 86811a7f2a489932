"""The wiring: streams on one inference thread, and their outlets. Connects parts; does no work on pixels itself.

    source A ──▶ stream A ──▶ port ─┐               ┌─▶ stream A: tracks, observers ─▶ outlets: window, files, iterator
                                    ├─▶ inference ──┤
    source B ──▶ stream B ──▶ port ─┘               └─▶ stream B ...

The first error of a stream ends that stream; the first error of the inference thread ends the run. Everything is opened on the
thread that uses it; the model and the sources open side by side.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from engines.backends import EngineOptions
from engines.errors import EngineNotBuiltError, SegmentationError
from engines.models.model import Model
from engines.segmenter import Segmenter
from realtime.flow.pipeline import Pipeline
from realtime.process.redact import redact
from realtime.process.tuning import keep_freed_memory
from realtime.settings import Settings
from realtime.streams.fitting import InputFit
from realtime.streams.inference import Inference
from realtime.streams.port import OpenedModel
from realtime.streams.stream import Stream, StreamPlan
from realtime.streams.upgrade import EngineUpgrade

log = logging.getLogger(__name__)


class Run:
    """Streams on one engine, wired. `start` it, read its figures, `wait` for its end."""

    def __init__(
        self, settings: Settings, find_model: Callable[[], Model], plans: Sequence[StreamPlan], *, builds_engines: bool = False
    ) -> None:
        """settings: of the model and its engine. find_model: called on the inference thread. plans: a stream each, at least one.

        builds_engines: build a missing GPU engine in the background, and switch over when it is ready.
        Raises SettingsError when the settings of a stream name what does not exist.
        """
        self.settings = settings
        self._upgrades: list[EngineUpgrade] = []
        self._find_model, self._builds_engines = find_model, builds_engines
        self._fit = InputFit(settings.engine)
        self.inference = Inference(self._open_segmenter, self._fit)
        self.streams = tuple(Stream(plan, self.inference) for plan in plans)
        self._engine = Pipeline()
        self._engine.stage("inference", self.inference.run)
        self._engine.on_stop(self.inference.stop)
        for stream in self.streams:
            self._engine.on_stop(stream.pipeline.stop)
            stream.pipeline.on_failure(partial(self._report, stream))

    @property
    def stream(self) -> Stream:
        """The first stream: the only one of most runs."""
        return self.streams[0]

    @property
    def upgrade(self) -> EngineUpgrade | None:
        """The build in the background, if there is one."""
        return self._upgrades[-1] if self._upgrades else None

    @property
    def model(self) -> OpenedModel | None:
        """What runs now; None until it is open."""
        return self.inference.model

    @property
    def running(self) -> bool:
        return self._engine.running or any(stream.pipeline.running for stream in self.streams)

    @property
    def error(self) -> BaseException | None:
        """The inference thread's error; or, when every stream has failed, the first stream's."""
        if self._engine.error is not None:
            return self._engine.error
        errors = [stream.pipeline.error for stream in self.streams]
        return errors[0] if all(errors) else None

    def start(self) -> None:
        keep_freed_memory()  # also for a Python program, which keeps its own settings of threads
        self._engine.start()
        for stream in self.streams:
            stream.pipeline.start()

    def stop(self) -> None:
        """End at once. Returns immediately; may be called from any thread, more than once."""
        self._engine.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all threads have ended. False when `timeout_s` passed before that."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        pipelines = (self._engine, *(stream.pipeline for stream in self.streams))
        return all(
            pipeline.join(None if deadline_s is None else max(0.0, deadline_s - time.monotonic())) for pipeline in pipelines
        )

    def wait(self, timeout_s: float | None = None) -> bool:
        """As `join`, but raises `error` at the end if there is one."""
        has_ended = self.join(timeout_s)
        if has_ended and self.error is not None:
            raise self.error
        return has_ended

    def end_upgrade(self) -> None:
        """Stop the build in the background, if there is one, and wait until nothing of it is left."""
        for upgrade in self._upgrades:
            upgrade.close()

    def _report(self, stream: Stream, error: BaseException) -> None:
        """A stream has failed. A run of one raises its error, and need not log it."""
        if len(self.streams) > 1:
            trace = None if isinstance(error, SegmentationError) else error
            log.error("%s has ended: %s", stream.name or "a stream", redact(str(error)), exc_info=trace)

    def _open_segmenter(self) -> Segmenter:
        """The model on the backend that is asked for; or for now on another, where that lacks an engine that can be built."""
        model = replace(self._find_model(), streams=len(self.streams))
        model, options = self._fit.apply(model, self.inference.first_pictures), self.settings.engine
        try:
            segmenter = Segmenter(model, self.settings.backend, options)
            unbuilt = segmenter.choice.unbuilt
        except EngineNotBuiltError as error:
            if not self._builds_engines:
                raise
            segmenter, unbuilt = Segmenter(model, "auto", EngineOptions(input_px=options.input_px)), error.what
        size = segmenter.card.input.size
        if self.upgrade is not None and self.upgrade.size == size:
            return segmenter  # opened again: it is being built already, or failed
        if self.upgrade is not None:  # for pictures of another shape
            self.upgrade.cancel()
        if unbuilt and self._builds_engines:
            self._upgrades.append(EngineUpgrade(model, options, size, unbuilt, self.inference.swap))
            self._engine.on_stop(self._upgrades[-1].cancel)
        return segmenter
