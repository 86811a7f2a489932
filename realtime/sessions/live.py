"""LiveSession: a run behind a window. Turns the run's threads, errors and counts into what a viewer shows."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from engines.errors import SegmentationError
from engines.files import numbered
from engines.models.card import ModelCard
from engines.models.model import Model
from realtime.app import Run
from realtime.errors import SinkError
from realtime.flow.links import Latest
from realtime.flow.meter import Reading
from realtime.knobs import Knobs
from realtime.process.failures import explained
from realtime.process.redact import redact
from realtime.render.palette import class_colours
from realtime.sessions.picking import Selected, facts_of, find, track_at
from realtime.sessions.session import Phase, SessionState
from realtime.settings import Settings
from realtime.sinks import check_outputs, is_taken, recover
from realtime.streams.outlets import CanvasFormat, FilesOutlet, WindowOutlet
from realtime.streams.recorder import recording_to
from realtime.streams.stream import StreamPlan
from realtime.types import Canvas, Source, SourceStatus

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 0.3
"""A disk that has not answered by then must not hold up the window."""

CLOSE_TIMEOUT_S = 1.8
"""Longer than a file or a model takes to let go; a driver that hangs for longer is left behind."""

LEAST_SCREEN_PX = 768
"""Small frames are drawn at least this wide on a screen: a smaller one shows little, and its labels would be enlarged with it."""


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
        why_shown: Callable[[], str] = str,
    ) -> None:
        """why_shown: why the source is shown, where it is not the one that was wanted; "" otherwise."""
        self.canvas: Latest[Canvas] = Latest(wake)
        self._source_name = redact(source_name)
        self._record_folder, self._why_shown = record_folder, why_shown
        self._recorded: set[Path] = set()
        self._recovered = ""
        self._settings = settings
        self._format = CanvasFormat(settings.width, LEAST_SCREEN_PX)
        self._files = FilesOutlet(self._format, survives_errors=True)
        plan = StreamPlan(settings, open_source, (WindowOutlet(self.canvas, self._format), self._files))
        self._run = Run(settings, find_model, [plan], builds_engines=True)
        self._stream = self._run.stream
        self._run.start()
        threading.Thread(target=self._recover, name="recover", daemon=True).start()

    @property
    def knobs(self) -> Knobs:
        return self._stream.panel.knobs

    def turn(self, **changes: Any) -> None:
        before = self.knobs
        if self._stream.panel.turn(**changes).live_overlay != before.live_overlay:
            self._stream.meter.forget_ages()
        if self._stream.gate.paused or not self._stream.pipeline.running:
            self._stream.redraw()

    def state(self) -> SessionState:
        run, model, source = self._run, self._run.model, self._stream.source
        phase, message = self._phase()
        recording = self._files.recording if phase == "running" else None
        card = model.card if model else None
        return SessionState(
            phase=phase,
            message=message,
            warning=self._warning() if phase == "running" else "",
            source=source.name if source else self._source_name,
            source_status=source.status if source else SourceStatus("connecting"),
            is_live=source.is_live if source else True,
            model=card.name if card else self._settings.model,
            backend=model.backend if model else "",
            input=model.input.short if model else "",
            recovering=redact(run.inference.recovering),
            notice=redact(run.upgrade.text) if run.upgrade else "",
            why_shown=self._why_shown(),
            classes=card.classes if card else (),
            colours=class_colours(card) if card and _is_painted_by_class(card) else (),
            shown_classes=_shown_classes(card) if card else (),
            gives_matte=card.gives_matte if card else False,
            paused=self._stream.gate.paused,
            waits_for_model=source is not None and not source.is_live and self._settings.overlay != "live",
            recording=recording.path if recording else None,
            news=redact(self._files.recorder.news or self._recovered),
            selected=self._selected(card),
        )

    def _selected(self, card: ModelCard | None) -> Selected | None:
        selected_id, result = self.knobs.selected_id, self._stream.shown
        if selected_id is None or card is None:
            return None
        track = find(result, selected_id)
        return facts_of(result, selected_id, card.class_name(track.class_id) if track else "")

    def select_at(self, x: float, y: float) -> None:
        result, model = self._stream.shown, self._run.model
        if result is None or model is None:
            return
        canvas = self._stream.look(model.card, self._format).canvas_size(result.frame.size)
        track = track_at(result, x / canvas.width, y / canvas.height, self.knobs)
        self.turn(selected_id=track.id if track else None)

    def _phase(self) -> tuple[Phase, str]:
        run, source = self._run, self._stream.source
        error = run.error
        if error is not None:
            return "failed", explained(error)[1]
        if not run.running:
            return "ended", source.status.detail if source else ""
        if self._stream.reading().processed or run.inference.recovering:
            return "running", ""
        if run.model is None:
            return "starting", f"Loading {self._settings.model} ..."
        if source is None:
            return "starting", f"Opening {self._source_name} ..."
        status = source.status
        is_trouble = status.state not in ("connecting", "live")
        return "starting", status.detail[:1].upper() + status.detail[1:] if is_trouble else "Waiting for the first picture ..."

    def _warning(self) -> str:
        if self._files.recorder.error is not None:
            return redact(f"Recording stopped: {self._files.recorder.error}")
        dropped = self._files.dropped if self._files.recording is not None else 0
        return f"The recording lacks {dropped} frames: the disk or the encoder is too slow" if dropped else ""

    def reading(self) -> Reading:
        return self._stream.reading()

    def shown(self, canvas: Canvas) -> None:
        self._stream.meter.delivered(canvas.captured_ns)

    def set_paused(self, paused: bool) -> None:
        self._stream.gate.set_paused(paused)

    def step(self) -> None:
        self._stream.gate.step()

    def start_recording(self) -> Path:
        if not self._stream.pipeline.running:
            raise SinkError("nothing is playing, so there is nothing to record", "Open a source first")
        path = in_time(self._new_recording, ANSWER_TIMEOUT_S)
        if path is None:
            raise SinkError(f"{self._record_folder}: the disk does not answer", "Try again when it does")
        self._recorded.add(path)
        self._files.recording = recording_to({"video": path}, encoder=self._settings.encoder)
        self._stream.redraw()
        return path

    def stop_recording(self) -> Path | None:
        recording, self._files.recording = self._files.recording, None
        self._stream.redraw()
        return recording.path if recording else None

    def _new_recording(self) -> Path:
        path = self._record_folder / f"recording-{datetime.now():%Y%m%d-%H%M%S}.mp4"
        free = next(candidate for candidate in numbered(path) if candidate not in self._recorded and not is_taken(candidate))
        check_outputs({"video": free})
        return free

    def _recover(self) -> None:
        """Finish recordings that killed runs left."""
        try:
            for text in recover(self._record_folder) if self._record_folder.is_dir() else ():
                log.warning("%s", text)
                self._recovered = text
        except SinkError as error:
            log.warning("%s", error)

    @property
    def is_writing(self) -> bool:
        """Whether a recording's files are open. On any thread."""
        return self._files.recorder.is_writing

    def close(self) -> None:
        self._run.stop()
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        while self._run.running and time.monotonic() < deadline_s:
            try:
                self._run.wait(max(0.0, deadline_s - time.monotonic()))
            except BaseException:  # reported by `state`; closing has nothing to add
                continue
        self._run.end_upgrade()
        if self._files.recorder.is_writing:
            log.warning("the disk does not answer, so the last recording is not finished; the next start finishes it")


def in_time(work: Callable[[], Path], timeout_s: float) -> Path | None:
    """What `work` returns, or raises; None if it takes longer: it then goes on in a thread that nobody waits for."""
    done: Queue[Path | SegmentationError] = Queue()

    def run() -> None:
        try:
            done.put(work())
        except SegmentationError as error:
            done.put(error)

    threading.Thread(target=run, name="disk", daemon=True).start()
    try:
        outcome = done.get(timeout=timeout_s)
    except Empty:
        return None
    if isinstance(outcome, SegmentationError):
        raise outcome
    return outcome


def _shown_classes(card: ModelCard) -> tuple[int, ...]:
    return tuple(class_id for class_id, name in enumerate(card.classes) if name not in card.void)


def _is_painted_by_class(card: ModelCard) -> bool:
    """A model of nothing but things has no class map: its masks have their tracks' colours."""
    return set(card.things) | set(card.void) != set(card.classes)
