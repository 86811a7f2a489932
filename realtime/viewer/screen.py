"""The picture with the panels over it: message card, banner and help, as the session's state requires."""

from PyQt6.QtCore import QPointF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QMouseEvent, QResizeEvent
from PyQt6.QtWidgets import QLabel, QWidget

from realtime.sessions.session import SessionState
from realtime.viewer.panels import EDGE_PX, Banner, HelpCard, MessageCard
from realtime.viewer.style import MUTED, TEXT, WARNING
from realtime.viewer.view import VideoView

TROUBLE = {
    "stalled": "No frames are arriving",
    "retrying": "Reconnecting",
    "frozen": "The camera's picture is frozen",
    "black": "The camera's picture is black",
    "undecodable": "The camera's pictures cannot be decoded",
}

CLICK_PX = 5
"""A mouse that moves further than this while its button is down does not click."""


class Screen(VideoView):
    """Shows over the picture what the user has to know: opening, failed, ended, stalled."""

    double_clicked = pyqtSignal()
    clicked = pyqtSignal(float, float)
    """The user clicked this pixel of the canvas; negative beside the picture."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # a click on the picture takes the focus from the search field
        self.setMinimumSize(QSize(320, 180))
        self.card = MessageCard(self)
        self.banner = Banner(self)
        self.help = HelpCard(self)
        self.recording = QLabel("● REC", self)
        self.recording.setObjectName("recording")
        self.recording.hide()
        self._shown: tuple[object, ...] = ()
        self._pressed: QPointF | None = None

    def show_state(self, state: SessionState, elapsed_s: float) -> None:
        """Show the panels for this state. elapsed_s: since the session was opened; shown in whole seconds while it starts."""
        seconds = int(elapsed_s) if state.phase == "starting" else 0
        shown = (
            state.phase,
            state.message,
            state.warning,
            state.notice,
            state.why_shown,
            state.recovering,
            state.source,
            state.source_status,
            seconds,
        )
        if shown != self._shown:
            self._shown = shown
            self._show_panels(state, seconds)
        self.recording.setVisible(state.recording is not None)
        self._place_recording()
        self.set_smooth(state.paused or state.phase == "ended")

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        # Not through a panel over the picture.
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self.childAt(event.position().toPoint()) is None:
            self._pressed = event.position()
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        pressed, self._pressed = self._pressed, None
        if event is not None and pressed is not None and (event.position() - pressed).manhattanLength() <= CLICK_PX:
            at = self.canvas_point(pressed)
            self.clicked.emit(at.x(), at.y())
        super().mouseReleaseEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self.double_clicked.emit()

    def toggle_help(self) -> None:
        """Show or hide the keys."""
        self.help.setVisible(not self.help.isVisibleTo(self))
        self.help.place()
        self.help.raise_()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        for overlay in (self.card, self.banner, self.help):
            overlay.place()
        self._place_recording()
        super().resizeEvent(event)

    def _place_recording(self) -> None:
        self.recording.adjustSize()
        self.recording.move(self.width() - self.recording.width() - EDGE_PX, EDGE_PX)

    def _show_panels(self, state: SessionState, seconds: int) -> None:
        if state.phase == "starting":
            doing = state.message or state.source_status.detail or "Starting"
            self.card.show_message(f"Opening {state.source}", f"{doing} · {seconds} s" if seconds else doing, busy=True)
        elif state.phase == "failed":
            self.card.show_message("This source cannot be shown", state.message or state.source, busy=False)
        else:
            self.card.hide()
        status = state.source_status
        if state.phase == "ended":
            what, button = ("The stream has ended", "Reconnect") if state.is_live else ("End of the video", "Replay")
            self.banner.show_message(" · ".join(filter(None, (what, state.message))), MUTED, button)
        elif state.phase == "running" and state.recovering:
            self.banner.show_message(state.recovering, WARNING)
        elif state.phase == "running" and status.state in TROUBLE:
            self.banner.show_message(" · ".join(filter(None, (TROUBLE[status.state], status.detail))), WARNING)
        elif state.phase == "running" and state.warning:
            self.banner.show_message(state.warning, WARNING)
        elif state.phase == "running" and state.notice:
            self.banner.show_message(state.notice, MUTED)
        elif state.phase == "running" and state.why_shown:
            self.banner.show_message(state.why_shown, TEXT, "Look again")
        else:
            self.banner.hide()
