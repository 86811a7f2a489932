"""LiveSession: a run behind a window. Turns the run's threads, errors and counts into what a viewer shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from engines.errors import SegmentationError
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.types import Size
from realtime.app import Run
from realtime.errors import SinkError
from realtime.flow.links import Latest
from realtime.flow.meter import Reading
from realtime.knobs import Knobs
from realtime.process.redact import redact
from realtime.process.version import version
from realtime.render.palette import class_colours
from realtime.sessions.picking import Ages, Selected, facts_of, find, track_at
from realtime.sessions.session import SessionState
from realtime.settings import Settings
from realtime.sinks import StreamFacts, check_outputs, open_sinks
from realtime.streams.recorder import Recording
from realtime.types import Canvas, Sink, Source, SourceStatus

CLOSE_TIMEOUT_S = 1.8
"""Longer than a file or a model takes to let go; a driver that hangs for longer is left behind."""


class LiveSession:
    """Implements `realtime.sessions.session.Session`."""

    def __init__(
        self,
        settings: Settings,
        source_name: str,
        open_source: Callable[[], Source],
        find_model: Callable[[], Model],
        wake: Callable[[], None],
        record_folder: Path,
    ) -> None:
        self.canvas: Latest[Canvas] = Latest(wake)
        self._source_name = redact(source_name)
        self._record_folder = record_folder
        self._recording_path: Path | None = None
        self._recorded: set[Path] = set()
        self._settings = settings
        self._ages = Ages()
        self._run = Run(settings, open_source, find_model, screen=self.canvas, builds_engines=True)
        self._run.start()

    @property
    def knobs(self) -> Knobs:
        return self._run.knobs

    @knobs.setter
    def knobs(self, knobs: Knobs) -> None:
        turns_overlay = knobs.live_overlay != self._run.knobs.live_overlay
        self._run.knobs = knobs
        if turns_overlay:
            self._run.meter.forget_ages()
        if self._run.gate.paused or not self._run.pipeline.running:
            self._run.redraw()

    def state(self) -> SessionState:
        run, model, source = self._run, self._run.model, self._run.source
        phase, message = self._phase()
        if run.recording is not None and run.recorder.failed is run.recording:
            self._recording_path, run.recording = None, None
        card = model.card if model else None
        return SessionState(
            phase=phase,  # type: ignore[arg-type]
            message=message,
            source=source.name if source else self._source_name,
            source_status=source.status if source else SourceStatus("connecting"),
            is_live=source.is_live if source else True,
            model=card.name if card else self._settings.model,
            backend=model.backend if model else "",
            notice=redact(run.upgrade.text) if run.upgrade else "",
            classes=card.classes if card else (),
            colours=class_colours(card) if card and _is_painted_by_class(card) else (),
            shown_classes=_shown_classes(card) if card else (),
            gives_matte=card.gives_matte if card else False,
            paused=run.gate.paused,
            waits_for_model=source is not None and not source.is_live and self._settings.overlay != "live",
            recording=self._recording_path if phase == "running" else None,
            selected=self._selected(card),
        )

    def _selected(self, card: ModelCard | None) -> Selected | None:
        selected_id, result = self._run.knobs.selected_id, self._run.shown
        if selected_id is None or card is None:
            return None
        track = find(result, selected_id)
        return facts_of(result, selected_id, self._ages, card.class_name(track.class_id) if track else "")

    def select_at(self, x: float, y: float) -> None:
        result, model = self._run.shown, self._run.model
        if result is None or model is None:
            return
        canvas = model.look.canvas_size(Size.of(result.frame.image))
        track = track_at(result, x / canvas.width, y / canvas.height, self._run.knobs)
        self.knobs = replace(self._run.knobs, selected_id=track.id if track else None)

    def _phase(self) -> tuple[str, str]:
        run = self._run
        error = run.pipeline.error
        if error is not None:
            return "failed", redact(str(error)) if isinstance(error, SegmentationError) else _unexpected(error)
        if not run.pipeline.running:
            status = run.source.status if run.source else SourceStatus("ended")
            return "ended", status.detail
        if run.reading().processed:
            return "running", redact(str(run.recorder.error)) if run.recorder.error else ""
        if run.model is None:
            return "starting", f"Loading {self._settings.model} ..."
        return "starting", f"Opening {self._source_name} ..." if run.source is None else "Waiting for the first picture ..."

    def reading(self) -> Reading:
        return self._run.reading()

    def shown(self, canvas: Canvas) -> None:
        if self._run.shown is not None:
            self._ages.see(self._run.shown)
        self._run.meter.delivered(canvas.captured_ns)

    def set_paused(self, paused: bool) -> None:
        self._run.gate.set_paused(paused)

    def step(self) -> None:
        self._run.gate.step()

    def start_recording(self) -> Path:
        if not self._run.pipeline.running:
            raise SinkError("nothing is playing, so there is nothing to record: open a source first")
        path = _unused(self._record_folder / f"recording-{datetime.now():%Y%m%d-%H%M%S}.mp4", self._recorded)
        check_outputs({"video": path})
        self._recorded.add(path)
        self._run.recording = Recording(lambda card, source: open_sinks({"video": path}, stream_facts(card, source)))
        self._recording_path = path
        self._run.redraw()
        return path

    def stop_recording(self) -> Path | None:
        path, self._recording_path = self._recording_path, None
        self._run.recording = None
        self._run.redraw()
        return path

    def close(self) -> None:
        self._run.pipeline.stop()
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        while self._run.pipeline.running and time.monotonic() < deadline_s:
            try:
                self._run.pipeline.wait(max(0.0, deadline_s - time.monotonic()))
            except BaseException:  # told by `state` already; closing has nothing to add
                continue
        self._run.end_upgrade()


def stream_facts(card: ModelCard, source: Source) -> StreamFacts:
    """What files say about where they come from."""
    versions = {"realtime-segmentation": version()}
    return StreamFacts(redact(source.name), card.name, card.classes, source.fps, versions)


def _unused(path: Path, taken: set[Path]) -> Path:
    """`path`, or with a number after its name where a file of that name exists or is still being written."""
    candidate, number = path, 1
    while candidate in taken or candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def _shown_classes(card: ModelCard) -> tuple[int, ...]:
    return tuple(class_id for class_id, name in enumerate(card.classes) if name not in card.void)


def _is_painted_by_class(card: ModelCard) -> bool:
    """A model of nothing but things has no class map: its masks have their tracks' colours."""
    return set(card.things) | set(card.void) != set(card.classes)


def _unexpected(error: BaseException) -> str:
    return redact(f"unexpected {type(error).__name__}: {error}")


def sinks_for(paths: dict[str, Path]) -> Callable[[ModelCard, Source], tuple[Sink, ...]]:
    """Opens `paths` (kind → file) once the run is known."""
    return lambda card, source: open_sinks(paths, stream_facts(card, source))
