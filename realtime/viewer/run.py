"""Opens the window, and runs Qt until it is closed. Checks first whether it can be opened here: Qt aborts the process if not."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from realtime.errors import DisplayError
from realtime.process.ending import orderly
from realtime.sessions.session import OpenSession

if TYPE_CHECKING:
    from PyQt6.QtWidgets import QApplication

log = logging.getLogger(__name__)

APT_COMMAND = (
    "sudo apt-get install -y libgl1 libegl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon-x11-0 "
    "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1"
)
APT_CURE = f"Install them: {APT_COMMAND}"

NO_SCREEN_CURE = "Log in to a desktop or use `ssh -X`, or write a file: run.py process"

QT_LIBRARIES = (
    "libGL.so.1", "libEGL.so.1", "libdbus-1.so.3", "libfontconfig.so.1", "libglib-2.0.so.0", "libxkbcommon.so.0", "libX11.so.6",
)  # fmt: skip
"""System libraries that importing PyQt6.QtWidgets loads on Linux (`readelf -d libQt6Gui.so.6`)."""

XCB_LIBRARIES = (
    "libxcb-cursor.so.0", "libxcb-icccm.so.4", "libxcb-image.so.0", "libxcb-keysyms.so.1", "libxcb-randr.so.0",
    "libxcb-render-util.so.0", "libxcb-shape.so.0", "libxcb-shm.so.0", "libxcb-sync.so.1", "libxcb-util.so.1",
    "libxcb-xfixes.so.0", "libxcb-xkb.so.1", "libxkbcommon-x11.so.0", "libX11-xcb.so.1",
)  # fmt: skip
"""System libraries that Qt's xcb platform plugin loads as well (`readelf -d libQt6XcbQpa.so.6`)."""

WAYLAND_LIBRARIES = ("libwayland-client.so.0", "libwayland-cursor.so.0")


def run_viewer(
    open_session: OpenSession,
    source: str,
    *,
    title: str,
    is_writing: Callable[[], bool] = lambda: False,
    full_screen: bool = False,
) -> int:
    """Show `source` in a window until it is closed; the session is closed when this returns. For the main thread.

    is_writing: whether a recording is still to be completed; called on any thread. full_screen: at first; the keys change it.
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
    with Ending(app, is_writing) as ending:
        window = MainWindow(open_session, title)
        try:
            window.host.open(source)
            window.show()
            if full_screen:
                window.commands["full_screen"].trigger()
            ending.run()
        finally:
            window.close()
    return ending.exit_code


class Ending:
    """A context in which signals (`realtime.process.ending`) and errors in Qt's callbacks end the application in order.

    Without it a signal would end the process at once, with a recording unfinished, and PyQt aborts the process on an error.
    Entered before there is a window or a session.
    """

    def __init__(self, app: QApplication, is_writing: Callable[[], bool] = lambda: False) -> None:
        from PyQt6.QtCore import QObject, Qt, pyqtSignal

        class Bell(QObject):
            rung = pyqtSignal()  # emitted on the thread that gets the signals, and delivered to Qt's

        self._app, self._bell = app, Bell()
        self._bell.rung.connect(app.quit, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]  # PyQt's hints lack the type
        self._error: BaseException | None = None
        self._asked = orderly(self._bell.rung.emit, is_writing=is_writing)

    def __enter__(self) -> Ending:
        self._hook = sys.excepthook
        sys.excepthook = self._on_error
        self._signals = self._asked.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        sys.excepthook = self._hook
        self._asked.__exit__(*exc_info)
        if self._error is not None:
            raise self._error

    @property
    def exit_code(self) -> int:
        """0, or 128 + the number of the signal that ended the application."""
        return self._signals.code

    def run(self) -> None:
        """Run Qt until the application ends."""
        if not self._signals.requested:  # a signal that comes later is delivered within
            self._app.exec()

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._error = self._error or error
        self._app.quit()


def has_display() -> bool:
    """Whether the environment names a screen."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def check_qt(qt_libraries: Iterable[str] = QT_LIBRARIES, xcb_libraries: Iterable[str] = XCB_LIBRARIES) -> None:
    """Make sure that a QApplication can start. Imports PyQt6, and removes opencv-python's settings for Qt.

    Raises DisplayError: no screen, no PyQt6, or a missing system library (of these sonames).
    """
    if not has_display():
        raise DisplayError("There is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set", NO_SCREEN_CURE)
    if sys.platform.startswith("linux"):
        _require(qt_libraries)
        _require_platform(xcb_libraries)
    try:
        importlib.import_module("PyQt6.QtWidgets")
    except ModuleNotFoundError as error:
        raise DisplayError(
            f"PyQt6 is not installed, and the window needs it ({error})", "Install it: pip install PyQt6"
        ) from error
    except ImportError as error:
        raise DisplayError(f"PyQt6 cannot be loaded ({error})", APT_CURE) from error
    forget_opencv_plugins()


def forget_opencv_plugins() -> None:
    """Undo what `import cv2` set: it makes Qt load the plugins and fonts of the other Qt in opencv-python."""
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):
        if f"{os.sep}cv2{os.sep}" in os.environ.get(name, ""):
            del os.environ[name]


def _require(sonames: Iterable[str]) -> None:
    missing = [soname for soname in sonames if not _loads(soname)]
    if missing:
        raise DisplayError(f"System libraries that Qt needs are missing: {', '.join(missing)}", APT_CURE)


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _require_platform(xcb_libraries: Iterable[str]) -> None:
    """Make sure that the screen answers which Qt will use: an environment variable may be left over from an ended login."""
    chosen, wayland = os.environ.get("QT_QPA_PLATFORM", ""), os.environ.get("WAYLAND_DISPLAY", "")
    platform = chosen.partition(":")[0]
    if ";" in platform:
        _try_qt(chosen)
    elif platform.startswith("xcb") or (not platform and os.environ.get("DISPLAY") and not _wayland_answers()):
        _require(xcb_libraries)
        _require_x_server()
        if wayland and not platform:
            log.warning("no Wayland compositor answers at WAYLAND_DISPLAY=%r; the window opens on the X server", wayland)
            os.environ["QT_QPA_PLATFORM"] = "xcb"
    elif platform.startswith("wayland") or not platform:
        if not _wayland_answers():
            raise DisplayError(f"No Wayland compositor answers at WAYLAND_DISPLAY={wayland!r}", NO_SCREEN_CURE)
    elif platform not in ("offscreen", "minimal"):
        _try_qt(chosen)


def _wayland_answers() -> bool:
    named = os.environ.get("WAYLAND_DISPLAY", "")
    if not (named.startswith("/") or os.environ.get("XDG_RUNTIME_DIR")) or not all(map(_loads, WAYLAND_LIBRARIES)):
        return False
    wayland = ctypes.CDLL(WAYLAND_LIBRARIES[0])
    wayland.wl_display_connect.restype = ctypes.c_void_p
    wayland.wl_display_disconnect.argtypes = (ctypes.c_void_p,)
    connection = wayland.wl_display_connect(None)
    if connection:
        wayland.wl_display_disconnect(connection)
    return bool(connection)


def _try_qt(chosen: str) -> None:
    """Start Qt in another process: with a platform that does not work it aborts."""
    forget_opencv_plugins()
    program = "from PyQt6.QtWidgets import QApplication, QWidget; app = QApplication([]); QWidget().show()"
    tried = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, errors="replace", check=False)
    if tried.returncode != 0:
        reason = next((line.strip() for line in tried.stderr.splitlines() if line.strip()), "it ended without a word")
        raise DisplayError(f"Qt opens no window with QT_QPA_PLATFORM={chosen!r} ({reason[:160]})", "Unset it, or set it to xcb")


def _require_x_server() -> None:
    """Connect to the X server: with a DISPLAY left over from an ended login Qt would abort."""
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = (ctypes.c_void_p,)
    connection = xcb.xcb_connect(None, None)
    if xcb.xcb_connection_has_error(connection):
        xcb.xcb_disconnect(connection)
        raise DisplayError(f"No X server answers at DISPLAY={os.environ.get('DISPLAY', '')!r}", NO_SCREEN_CURE)
    # A good connection stays open to the end of the process: a bare server (Xvfb) restarts when its last client leaves, and
    # would refuse Qt, which connects next.
