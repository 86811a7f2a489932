"""Opens the window, runs Qt until it is closed, and returns the exit code."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from realtime.sessions.session import OpenSession
from realtime.viewer.display import check_qt, forget_opencv_plugins

if TYPE_CHECKING:
    from PyQt6.QtWidgets import QApplication


def run_viewer(open_session: OpenSession, source: str, *, title: str) -> int:
    """Show `source` in a window until it is closed; the session is closed when this returns. For the main thread.

    Returns the exit code: 0, or 128 + the number of the signal that ended it (Ctrl-C: 130).
    Raises DisplayError where no window can be opened, SegmentationError for an invalid source, and any error of the window
    itself. A source that fails to open is reported in the window, with a button to retry.
    """
    check_qt()
    from PyQt6.QtWidgets import QApplication

    from realtime.viewer.style import STYLE_SHEET, dark_palette
    from realtime.viewer.window import MainWindow

    forget_opencv_plugins()  # the view imports cv2
    app = QApplication(sys.argv[:1])
    app.setApplicationName(title)
    app.setStyle("Fusion")
    app.setPalette(dark_palette())
    app.setStyleSheet(STYLE_SHEET)
    window = MainWindow(open_session, title)
    try:
        window.host.open(source)
        window.show()
        with Ending(app) as ending:
            app.exec()
    finally:
        window.close()
    return ending.exit_code


class Ending:
    """A context in which SIGINT, SIGTERM and errors in Qt's callbacks end the application in an orderly way.

    Without it Ctrl-C has no effect, since Qt runs no Python between events, and PyQt aborts the process on an error. Python
    handles a signal when the window's timer next calls it, within a quarter of a second.
    """

    def __init__(self, app: QApplication) -> None:
        self.exit_code = 0
        self._app = app
        self._error: BaseException | None = None

    def __enter__(self) -> Ending:
        self._hook = sys.excepthook
        sys.excepthook = self._on_error
        self._handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        sys.excepthook = self._hook
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._error is not None:
            raise self._error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._app.quit()

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._error = self._error or error
        self._app.quit()
