"""Owns the window's session: opens it, receives its wake-ups, and closes it without blocking the window."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from PyQt6.QtCore import QObject, Qt, pyqtSignal, pyqtSlot

from engines.errors import SegmentationError
from realtime.flow.meter import Reading
from realtime.knobs import Knobs
from realtime.sessions.session import OpenSession, Session, SessionState
from realtime.types import Canvas, SourceStatus

OF_ANY_MODEL = ("masks", "boxes", "labels", "mask_style")
"""Knobs that stay where the next source has another model. Numbers of classes, thresholds, and what suits a road or a
face do not."""


class SessionHost(QObject):
    """At most one session at a time. Used on the Qt thread; only `_woken` and `_closed` are emitted on other threads."""

    arrived = pyqtSignal(object)
    """The newest canvas."""
    opened = pyqtSignal()
    """Another session was opened, or opening it failed: see `state()`."""

    _woken = pyqtSignal()
    _closed = pyqtSignal()

    def __init__(self, open_session: OpenSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._open_session = open_session
        self._closer = ThreadPoolExecutor(1, "session-closer")
        self._closing = self._ended = False
        self._knobs: Knobs | None = None
        self._model = ""
        self._failure = ""
        self.session: Session | None = None
        self.source = ""
        # Queued even from the Qt thread: a wake-up can come before `open` has stored its session.
        for signal, slot in ((self._woken, self._deliver), (self._closed, self._reopen)):
            signal.connect(slot, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]  # PyQt's hints lack the type

    def open(self, source: str) -> None:
        """Open the first session. Raises SegmentationError for an invalid source."""
        self.source = source
        self.session = self._open_session(source, self._woken.emit)
        model = self.session.state().model
        if self._knobs is not None:
            turned = asdict(self._knobs)
            self.session.turn(**(turned if model == self._model else {name: turned[name] for name in OF_ANY_MODEL}))
        self._model = model
        self.opened.emit()

    def replace(self, source: str) -> None:
        """Close the present session on another thread, then open one on `source`, or on that of a later call."""
        self.source, self._failure = source, ""
        session, self.session = self.session, None
        if session is not None:
            self._knobs = replace(session.knobs, selected_id=None)  # the next session has other ids
            self._closing = True
            # One source at a time: a camera must be closed before it can be opened again.
            self._closer.submit(session.close).add_done_callback(lambda _: self._closed.emit())
        elif not self._closing:
            self._reopen()

    def close(self) -> None:
        """Close the session and wait for it; none is opened afterwards. Idempotent."""
        self._ended = True
        session, self.session = self.session, None
        if session is not None:
            session.close()
        self._closer.shutdown()

    @property
    def knobs(self) -> Knobs:
        return self.session.knobs if self.session is not None else self._knobs or Knobs()

    def turn(self, **changes: Any) -> None:
        """Set the named fields of the knobs, of this session and of the next."""
        self._knobs = replace(self.knobs, **changes)
        if self.session is not None:
            self.session.turn(**changes)

    def state(self) -> SessionState:
        """The session's state, or a state for the time between two sessions."""
        if self.session is not None:
            return self.session.state()
        if self._failure:
            return SessionState("failed", self._failure, source=self.source, source_status=SourceStatus("ended"))
        return SessionState("starting", "Closing the previous source", source=self.source)

    def reading(self) -> Reading:
        return self.session.reading() if self.session is not None else Reading()

    def shown(self, canvas: Canvas) -> None:
        if self.session is not None:
            self.session.shown(canvas)

    @pyqtSlot()
    def _reopen(self) -> None:
        self._closing = False
        if self.session is None and not self._ended:
            try:
                self.open(self.source)
            except SegmentationError as error:
                self._failure = str(error)
                self.opened.emit()

    @pyqtSlot()
    def _deliver(self) -> None:
        canvas = self.session.canvas.poll() if self.session is not None else None
        if canvas is not None:
            self.arrived.emit(canvas)
