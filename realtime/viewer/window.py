"""The window: puts the parts together, and updates them from the session's state."""

import time
from collections.abc import Callable
from pathlib import Path

from PyQt6.QtCore import QEvent, QSize, Qt, QTimer
from PyQt6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QResizeEvent
from PyQt6.QtWidgets import QApplication, QFileDialog, QInputDialog, QLabel, QMainWindow, QStatusBar, QVBoxLayout, QWidget

from realtime.sessions.session import OpenSession, SessionState
from realtime.types import Canvas
from realtime.viewer.commands import TOGGLES, SessionControl, make_actions
from realtime.viewer.control_bar import ControlBar
from realtime.viewer.host import SessionHost
from realtime.viewer.hud import render_hud
from realtime.viewer.legend import LegendDock
from realtime.viewer.screen import Screen
from realtime.viewer.style import filled
from realtime.viewer.view import HUD_MARGIN_PX, ScreenshotWriter

TICK_MS = 250
"""Interval at which state and figures are read and shown. Frames are shown at once."""

MESSAGE_MS = 6000
VIEW_PX = QSize(1280, 720)
"""Size of the picture before the first canvas."""

ROOM = 0.95
"""Of the screen's width and height that a new window takes at most: the rest is for the frame around it."""

LEGEND_FROM_PX = 900
"""Narrower windows have no legend at first."""


class MainWindow(QMainWindow):
    """One window with one session at a time. Closing the window ends the session."""

    def __init__(self, open_session: OpenSession, title: str, out_folder: Path = Path("out")) -> None:
        super().__init__()
        self._title = title
        self._hud_on = True
        self._legend_chosen: bool | None = None
        self._has_legend = True
        self._fitted = False
        self._opened_s = time.monotonic()
        self._news = ""
        self.host = SessionHost(open_session, self)
        self.control = SessionControl(self.host, self.show_message)
        self.screenshots = ScreenshotWriter(out_folder, self)
        self.view = Screen(self)
        self.commands = make_actions(self, self.control.commands() | self._own_commands())
        self.bar = ControlBar(self.commands, self)
        self.legend = LegendDock(self)
        self.status = QStatusBar(self)
        self.source_label = QLabel(self)
        self._lay_out()
        self._connect()

    def open_source(self, source: str) -> None:
        """Replace the present source by this one. Its errors are shown in the window."""
        self.view.clear()
        self.host.replace(source)
        self.refresh()

    def open_file(self) -> None:
        """Ask for a file; the video goes on meanwhile."""
        dialog = QFileDialog(self, "Open a video")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.open_source)
        dialog.open()

    def open_url(self) -> None:
        """Ask for a URI or a camera's number; the video goes on meanwhile."""
        dialog = QInputDialog(self)
        dialog.setWindowTitle("Open a stream or camera")
        dialog.setLabelText("An address such as rtsp://… or http://…, or the number of a camera:")
        dialog.setMinimumWidth(420)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.textValueSelected.connect(lambda text: self.open_source(text.strip()) if text.strip() else None)
        dialog.open()

    def screenshot(self) -> None:
        """Save the newest canvas."""
        if self.view.canvas is not None:
            self.screenshots.save(self.view.canvas)

    def toggle_hud(self) -> None:
        self._hud_on = not self._hud_on

    def toggle_legend(self) -> None:
        self._legend_chosen = not self.legend.isVisibleTo(self)
        self._place_legend()

    def toggle_full_screen(self) -> None:
        """Show the picture alone on the whole screen, or the window as before."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)
        for part in (self.bar, self.status):
            part.setVisible(not self.isFullScreen())
        self._place_legend()

    def back(self) -> None:
        """The first that applies: close the help, leave the search field, deselect, leave full screen."""
        if self.view.help.isVisibleTo(self.view):
            self.view.toggle_help()
        elif self.legend.search.hasFocus():
            self.legend.search.clearFocus()
        elif self.host.knobs.selected_id is not None:
            self.host.turn(selected_id=None)
        elif self.isFullScreen():
            self.toggle_full_screen()

    def select(self, x: float, y: float) -> None:
        """Select the object at this pixel of the canvas, or none."""
        if self.host.session is not None:
            self.host.session.select_at(x, y)
        self.refresh()

    def show_message(self, text: str) -> None:
        """Show one line in the status bar for a few seconds."""
        self.status.showMessage(text, MESSAGE_MS)

    def refresh(self) -> None:
        """Show the session's present state, knobs and figures."""
        state = self.host.state()
        knobs = self.host.knobs
        self.view.show_state(state, time.monotonic() - self._opened_s)
        self.bar.show_knobs(knobs)
        self.legend.show_classes(state, knobs.hidden_classes)
        if state.shown_classes and self._has_legend != (len(state.shown_classes) > 1):
            self._has_legend = not self._has_legend  # of one class a legend says nothing
            self._place_legend()
        self._show_commands(state)
        self._show_hud(state)
        if state.news != self._news:
            self._news = state.news
            if state.news:
                self.show_message(state.news)
        self.setWindowTitle(f"{state.source} – {self._title}" if state.source else self._title)
        metrics = self.source_label.fontMetrics()
        self.source_label.setText(metrics.elidedText(state.source, Qt.TextElideMode.ElideMiddle, self.width() // 2))

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        if event is not None and (mime := event.mimeData()) is not None and mime.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        if event is not None and (mime := event.mimeData()) is not None and mime.hasUrls():
            url = mime.urls()[0]
            event.acceptProposedAction()
            self.open_source(url.toLocalFile() or url.toString())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self._place_legend()
        super().resizeEvent(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        # Hidden at once: the session can take two seconds to close.
        self._ticker.stop()
        self.hide()
        self.host.close()
        self.screenshots.close()
        super().closeEvent(event)

    def _own_commands(self) -> dict[str, Callable[[], object]]:
        return {
            "screenshot": self.screenshot,
            "hud": self.toggle_hud,
            "classes": self.toggle_legend,
            "full_screen": self.toggle_full_screen,
            "back": self.back,
            "open_file": self.open_file,
            "open_url": self.open_url,
            "help": self.view.toggle_help,
            "quit": self.close,
        }

    def _lay_out(self) -> None:
        body = QWidget(self)
        filled(QVBoxLayout(body), self.view, self.bar, stretch=self.view)
        self.setCentralWidget(body)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.legend)
        self.status.setSizeGripEnabled(False)
        self.status.addPermanentWidget(self.source_label)
        self.setStatusBar(self.status)
        self.setAcceptDrops(True)
        self.setMinimumSize(QSize(480, 360))
        size, screen = VIEW_PX + QSize(0, 80), self.screen()
        self.resize(size if screen is None else size.boundedTo(screen.availableSize() * ROOM))

    def _connect(self) -> None:
        self.host.arrived.connect(self._show_canvas)
        self.host.opened.connect(self._begin)
        self.view.painted.connect(self.host.shown)
        self.view.clicked.connect(self.select)
        self.view.double_clicked.connect(self.commands["full_screen"].trigger)
        self.view.card.retry.clicked.connect(lambda: self.open_source(self.host.source))
        self.view.card.other.clicked.connect(self.open_file)
        self.view.banner.button.clicked.connect(lambda: self.open_source(self.host.source))
        self.bar.opacity.moved.connect(lambda value: self.control.set("opacity", value))
        self.bar.threshold.moved.connect(lambda value: self.control.set("threshold", value))
        self.legend.changed.connect(lambda hidden: self.host.turn(hidden_classes=hidden))
        self.screenshots.finished.connect(self.show_message)
        for action in self.commands.values():
            action.triggered.connect(self.refresh)
        self._ticker = QTimer(self)
        self._ticker.setInterval(TICK_MS)
        self._ticker.timeout.connect(self.refresh)
        self._ticker.start()

    def _begin(self) -> None:
        self._opened_s = time.monotonic()
        self.refresh()

    def _show_canvas(self, canvas: Canvas) -> None:
        first = self.view.canvas is None
        self.view.show_canvas(canvas)
        if first:  # replace the card by the figures now, not at the next tick
            self.refresh()
        if not self._fitted:
            self._fitted = True
            self._fit_to(canvas)

    def _fit_to(self, canvas: Canvas) -> None:
        """Resize the window so that a canvas pixel is a whole number of screen pixels: sharp, and fast to paint."""
        screen = self.screen()
        if screen is None or self.isMaximized() or self.isFullScreen():
            return
        height_px, width_px = canvas.image.shape[:2]
        times = max(1, min(VIEW_PX.width() // width_px, VIEW_PX.height() // height_px))
        picture = QSize(width_px, height_px) * times / self.devicePixelRatioF()
        # Again and again: a new width can hide the legend, or split the bar into two rows, which changes the view's size.
        for _ in range(4):
            QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)
            frame = self.size() - self.view.size()
            room = screen.availableSize() * ROOM - frame
            fits = picture.width() <= room.width() and picture.height() <= room.height()
            self.resize(frame + (picture if fits else picture.scaled(room, Qt.AspectRatioMode.KeepAspectRatio)))

    def _show_commands(self, state: SessionState) -> None:
        """Set check marks, and disable commands that have no effect now."""
        knobs = self.host.knobs
        running = state.phase == "running"
        marks = {
            "pause": state.paused,
            "record": state.recording is not None,
            "hud": self._hud_on,
            "classes": self.legend.isVisibleTo(self),
            "full_screen": self.isFullScreen(),
            "help": self.view.help.isVisibleTo(self.view),
        } | {name: bool(getattr(knobs, name)) for name in (*TOGGLES, "live_overlay")}
        for name, mark in marks.items():
            self.commands[name].setChecked(mark)
        self.commands["pause"].setEnabled(running)
        self.commands["step"].setEnabled(running and not state.is_live)
        self.commands["record"].setEnabled(running or state.recording is not None)
        self.commands["background"].setEnabled(state.gives_matte)
        self.commands["screenshot"].setEnabled(self.view.canvas is not None)

    def _show_hud(self, state: SessionState) -> None:
        room = self.view.size() - QSize(2 * HUD_MARGIN_PX, 2 * HUD_MARGIN_PX)
        is_shown = self._hud_on and self.view.canvas is not None
        self.view.set_hud(render_hud(state, self.host.reading(), self.devicePixelRatioF(), room) if is_shown else None)

    def _place_legend(self) -> None:
        fits = self._has_legend and self.width() >= LEGEND_FROM_PX
        chosen = fits if self._legend_chosen is None else self._legend_chosen
        self.legend.setVisible(chosen and not self.isFullScreen())
