"""Streams for a program: iterate over a source, or over several on one model, and get what was seen in each frame."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from engines.backends import check_backend
from engines.models import zoo
from realtime.app import Run
from realtime.errors import RealtimeError, SettingsError
from realtime.flow.links import Closed, take_any
from realtime.flow.meter import Reading
from realtime.sessions.results import FrameResult
from realtime.settings import Settings, load_settings
from realtime.sources import Decode, open_source
from realtime.streams.outlets import IteratorOutlet
from realtime.streams.stream import StreamPlan
from realtime.tracking import open_tracker
from realtime.types import Observer, Source, SourceStatus

CLOSE_TIMEOUT_S = 10.0

AnySource = str | Path | Source


def open_stream(
    source: AnySource,
    model: str = "road",
    *,
    observers: Sequence[Observer] = (),
    every_frame: bool = False,
    wait: bool = False,
    **settings: Any,
) -> Streams:
    """Begin to segment and track a source; iterate over what this returns, best in a `with`.

    source: what `run.py view` takes (a path, "0", "rtsp://...", "sample://bikes"), or an object with the protocol `Source`.
    model: a bundled model's name, your own's, or the path of an ONNX file.
    every_frame: of a live source every processed frame, not just the newest. Recordings always give every frame.
    wait: for a camera that is not there yet; otherwise that is an error.
    settings: preset="dashcam", and the keys of a preset: tracker="none", backend="ort", threshold=0.5 ...
    Raises SegmentationError for settings that make no sense; iterating raises what goes wrong later.
    """
    return open_streams(source, model=model, observers=lambda: observers, every_frame=every_frame, wait=wait, **settings)


def open_streams(
    *sources: AnySource,
    model: str = "road",
    observers: Callable[[], Sequence[Observer]] = tuple,
    every_frame: bool = False,
    wait: bool = False,
    preset: str | None = None,
    **settings: Any,
) -> Streams:
    """Several sources on one model, as `open_stream`. Each result says which source it is of (`stream`, from 0).

    observers: called once for each source. A source that fails ends alone; its error is in `errors`.
    """
    if not sources:
        raise SettingsError("no source is given", "Name at least one: a path, 0 for the first webcam, an address")
    chosen = load_settings(zoo.assets_dir() / "presets", preset, {"model": model, **settings})
    check_backend(chosen.backend)
    open_tracker(chosen.tracker, **chosen.tracking)
    return Streams(chosen, [_opener(source, wait, chosen.decode) for source in sources], observers, every_frame)


class Streams:
    """Sources that are read, segmented and tracked in threads of their own while they are iterated over, once."""

    def __init__(
        self,
        settings: Settings,
        openers: Sequence[Callable[[], Source]],
        observers: Callable[[], Sequence[Observer]],
        every_frame: bool,
    ) -> None:
        changed = threading.Condition()
        self._outlets = [IteratorOutlet(changed, every_frame) for _ in openers]
        plans = [
            StreamPlan(settings, opener, [outlet], observers()) for opener, outlet in zip(openers, self._outlets, strict=True)
        ]
        self._run = Run(settings, lambda: zoo.find(settings.model), plans)
        self._has_started = False

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[FrameResult]:
        """Results until every source has ended; a loop that is left early closes everything. Nothing is opened before.

        Raises the error of the model, or of the source when it is the only one, or when all have failed.
        """
        links, served = [outlet.link for outlet in self._outlets], -1
        if self._has_started:
            raise RealtimeError("this stream has been iterated over already", "Open it again")
        self._has_started = True
        self._run.start()
        # A program may end while it holds an iterator. Python then waits for threads before it frees anything, and calls these
        # functions before that; `concurrent.futures` ends its threads in the same way.
        threading._register_atexit(_stop_later(self._run))  # type: ignore[attr-defined]
        try:
            while True:
                try:
                    served, delivery = take_any(links, served)
                except Closed:
                    break
                knobs = self._run.streams[served].panel.knobs
                yield FrameResult(delivery.result, delivery.model.card, knobs, served)
            if not self._run.wait(CLOSE_TIMEOUT_S) and self._run.error is not None:
                raise self._run.error  # a thread still hangs, in a driver or while the model opens
        finally:
            self.close()

    @property
    def errors(self) -> dict[int, BaseException]:
        """The sources that have failed so far: place → error."""
        found = ((place, stream.pipeline.error) for place, stream in enumerate(self._run.streams))
        return {place: error for place, error in found if error is not None}

    def reading(self, stream: int = 0) -> Reading:
        """Frame rates, times of stages, drops and ages of a source. dropped_before_screen: results that the loop did not get."""
        return replace(self._run.streams[stream].reading(), dropped_before_screen=self._outlets[stream].dropped)

    def status(self, stream: int = 0) -> SourceStatus:
        """How a source is doing: live, lost and retried, frozen, black ..."""
        source = self._run.streams[stream].source
        return source.status if source is not None else SourceStatus("connecting")

    def close(self) -> None:
        """End everything. May be called more than once."""
        self._run.stop()
        if self._has_started:
            self._run.join(CLOSE_TIMEOUT_S)


def _opener(source: AnySource, waits: bool, decode: Decode) -> Callable[[], Source]:
    if isinstance(source, str | Path):
        return lambda: open_source(str(source), waits=waits, decode=decode)
    return lambda: source


def _stop_later(run: Run) -> Callable[[], None]:
    """Stops `run` unless it is gone by then; does not keep it alive."""
    known = weakref.ref(run)

    def stop() -> None:
        run = known()
        if run is not None:
            run.stop()

    return stop
