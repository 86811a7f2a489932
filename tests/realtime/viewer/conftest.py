"""A real session in memory: it implements the protocol, draws canvases on a thread of its own, and needs no model."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtCore import QCoreApplication, QEvent, QEventLoop
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from engines.errors import SegmentationError
from engines.types import Image
from realtime.errors import SinkError
from realtime.flow.links import Closed, Latest
from realtime.flow.meter import Meter, Reading
from realtime.knobs import Knobs
from realtime.sessions.picking import Selected
from realtime.sessions.session import SessionState
from realtime.types import Canvas, SourceStatus
from realtime.viewer.style import STYLE_SHEET
from realtime.viewer.window import MainWindow

CLASSES = ("road", "car", "person")
COLOURS = ((128, 64, 128), (0, 0, 230), (220, 20, 60))


def draw(index: int, width_px: int, height_px: int, knobs: Knobs) -> Image:
    """A plain picture with its index in blue and green, and one block per visible class on the right if masks are on."""
    image = np.empty((height_px, width_px, 3), np.uint8)
    image[:] = (index & 255, index >> 8 & 255, 40)
    if knobs.masks:
        for class_id, colour in enumerate(COLOURS):
            if class_id not in knobs.hidden_classes:
                rows = slice(class_id * height_px // 3, (class_id + 1) * height_px // 3)
                image[rows, width_px // 2 :] = colour[::-1]
    return image


@dataclass
class Script:
    """What a session does: fail to open or to run with a message, start late, end after some frames, stall."""

    invalid: str = ""
    fails: str = ""
    warning: str = ""
    recovering: str = ""
    why_shown: str = ""
    model: str = "road"
    frames: int | None = None
    fps: float = 100.0
    start_s: float = 0.0
    close_s: float = 0.0
    is_live: bool = True
    status: SourceStatus = field(default_factory=lambda: SourceStatus("live"))
    size_px: tuple[int, int] = (320, 180)
    gives_matte: bool = False
    classes: tuple[str, ...] = CLASSES


class MemorySession:
    """Implements `realtime.sessions.session.Session`, as its script says."""

    def __init__(self, source: str, wake: Callable[[], None], script: Script) -> None:
        self.canvas: Latest[Canvas] = Latest(self._count_wake)
        self.wakes = 0
        self._wake = wake
        self.knobs = Knobs()
        self.shown_indices: list[int] = []
        self.closed = self.gone = False
        self._source, self._script = source, script
        self._meter = Meter()
        self._phase = "starting"
        self._recording: Path | None = None
        self.news = ""
        self._paused = False
        self._steps = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="memory-session")
        self._thread.start()

    def state(self) -> SessionState:
        script = self._script
        message = {"failed": script.fails, "ended": "640x360 25 fps", "starting": "opening the model"}.get(self._phase, "")
        return SessionState(
            phase=self._phase,  # type: ignore[arg-type]
            message=message,
            warning=script.warning if self._phase == "running" else "",
            recovering=script.recovering if self._phase == "running" else "",
            why_shown=script.why_shown,
            source=self._source,
            source_status=SourceStatus("ended") if self._phase in ("ended", "failed") else script.status,
            is_live=script.is_live,
            waits_for_model=not script.is_live,
            model=script.model,
            backend="openvino",
            classes=script.classes,
            colours=tuple(COLOURS[i % len(COLOURS)] for i in range(len(script.classes))),
            shown_classes=tuple(range(len(script.classes))),
            gives_matte=script.gives_matte,
            paused=self._paused,
            recording=self._recording,
            news=self.news,
            selected=Selected(7, "person", 0.83, 12.4, 85.0) if self.knobs.selected_id == 7 else None,
        )

    def turn(self, **changes: object) -> None:
        self.knobs = replace(self.knobs, **changes)

    def reading(self) -> Reading:
        count, dropped = self.canvas.put_count, self.canvas.dropped
        return self._meter.reading(captured=count, processed=count, dropped_before_screen=dropped)

    def shown(self, canvas: Canvas) -> None:
        self.shown_indices.append(canvas.index)
        self._meter.delivered(canvas.captured_ns)

    def set_paused(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def step(self) -> None:
        with self._changed:
            self._steps += 1
            self._changed.notify_all()

    def select_at(self, x: float, y: float) -> None:
        """The left half of the picture is object 7; beside it there is none."""
        selected_id = 7 if 0 <= x < self._script.size_px[0] / 2 and 0 <= y < self._script.size_px[1] else None
        self.turn(selected_id=selected_id)

    def start_recording(self) -> Path:
        if "unwritable" in self._source:
            raise SinkError("out/film.mp4: the disk is full. Free some space")
        self._recording = Path("out/film.mp4")
        return self._recording

    def stop_recording(self) -> Path | None:
        path, self._recording = self._recording, None
        return path

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self.canvas.cancel()
        self._thread.join()
        time.sleep(self._script.close_s)
        self.gone = True

    def _run(self) -> None:
        script = self._script
        if not self._wait(script.start_s):
            return
        self._phase = "failed" if script.fails else "running"
        index = 0
        try:
            while not script.fails and index != script.frames and self._may_go_on():
                start_s = time.perf_counter()
                image = draw(index, *script.size_px, self.knobs)
                self._meter.add({"draw": 1e3 * (time.perf_counter() - start_s)})
                self.canvas.put(Canvas(image, index, index / script.fps, time.monotonic_ns()))
                self._meter.processed()
                index += 1
                self._wait(1 / script.fps)
        except Closed:
            return
        if index == script.frames:
            self._phase = "ended"

    def _count_wake(self) -> None:
        self.wakes += 1
        self._wake()

    def _wait(self, seconds: float) -> bool:
        with self._changed:
            return not self._changed.wait_for(lambda: self.closed, seconds)

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.closed or not self._paused or self._steps > 0)
            self._steps = max(0, self._steps - 1)
            return not self.closed


class ScriptedSessions:
    """Opens sessions with the script of their source, and keeps them."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.sessions: list[MemorySession] = []
        self.overlapped = False
        """Whether a session was opened before the previous one was closed. A camera would have failed to open."""

    def open(self, source: str, wake: Callable[[], None]) -> MemorySession:
        self.overlapped |= any(not session.gone for session in self.sessions)
        script = self.scripts.get(source, Script())
        if script.invalid:
            raise SegmentationError(script.invalid)
        session = MemorySession(source, wake, script)
        self.sessions.append(session)
        return session

    @property
    def session(self) -> MemorySession:
        return self.sessions[-1]


@pytest.fixture(scope="session")
def app() -> QApplication:
    application = QApplication.instance() or QApplication(["test"])
    assert isinstance(application, QApplication)
    application.setStyle("Fusion")
    application.setStyleSheet(STYLE_SHEET)
    return application


@pytest.fixture
def scripted() -> ScriptedSessions:
    return ScriptedSessions()


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def wait() -> Callable[..., None]:
    """Run Qt's real event loop until a condition is true; fail if it does not become true in time."""

    def until(happened: Callable[[], object], limit_s: float = 5.0) -> None:
        end_s = time.monotonic() + limit_s
        while not happened():
            assert time.monotonic() < end_s, f"did not happen within {limit_s} s"
            QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 10)

    return until


@pytest.fixture
def open_window(app: QApplication, scripted: ScriptedSessions, tmp_path: Path) -> Iterator[Callable[..., MainWindow]]:
    """Opens a window on a scripted source; all windows are closed at the end, and no thread is left."""
    windows: list[MainWindow] = []
    threads = threading.active_count()

    def open_one(source: str = "pattern", width_px: int = 800, height_px: int = 600) -> MainWindow:
        window = MainWindow(scripted.open, "test", tmp_path / "out")
        windows.append(window)
        window.host.open(source)
        window._fitted = True  # the test sets the size, not the first canvas
        window.resize(width_px, height_px)
        window.show()
        window.activateWindow()
        assert QTest.qWaitForWindowActive(window), "only the active window receives keys"
        return window

    yield open_one
    for window in windows:
        window.close()
        window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    deadline_s = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline_s:  # a thread that has done its work ends soon
        time.sleep(0.01)
    assert threading.active_count() == threads
