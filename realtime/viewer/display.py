"""Can a window be opened here? Asked before Qt is, because Qt answers "no" by aborting the process."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Iterable

from realtime.errors import DisplayError

APT_COMMAND = (
    "sudo apt-get install -y libgl1 libegl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon-x11-0 "
    "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1"
)

NO_SCREEN_CURE = "Log in to a desktop (or `ssh -X`), or write a file instead: run.py process"

QT_LIBRARIES = (
    "libGL.so.1",
    "libEGL.so.1",
    "libdbus-1.so.3",
    "libfontconfig.so.1",
    "libglib-2.0.so.0",
    "libxkbcommon.so.0",
    "libX11.so.6",
)
"""What importing PyQt6.QtWidgets loads from a Linux system (`readelf -d libQt6Gui.so.6`)."""

XCB_LIBRARIES = (
    "libxcb-cursor.so.0",
    "libxcb-icccm.so.4",
    "libxcb-image.so.0",
    "libxcb-keysyms.so.1",
    "libxcb-randr.so.0",
    "libxcb-render-util.so.0",
    "libxcb-shape.so.0",
    "libxcb-shm.so.0",
    "libxcb-sync.so.1",
    "libxcb-util.so.1",
    "libxcb-xfixes.so.0",
    "libxcb-xkb.so.1",
    "libxkbcommon-x11.so.0",
    "libX11-xcb.so.1",
)
"""What Qt's xcb platform plugin adds to that (`readelf -d libQt6XcbQpa.so.6`)."""

WAYLAND_LIBRARIES = ("libwayland-client.so.0", "libwayland-cursor.so.0")


def has_display() -> bool:
    """Whether there is a screen to open a window on, as far as the environment says."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def check_qt(qt_libraries: Iterable[str] = QT_LIBRARIES, xcb_libraries: Iterable[str] = XCB_LIBRARIES) -> None:
    """Make sure that a QApplication will start. Imports PyQt6, and clears what opencv-python put in Qt's way.

    Raises DisplayError, one line with the cure: no PyQt6, no screen, or a missing system library (given as sonames).
    """
    if not has_display():
        raise DisplayError(f"no screen here: neither DISPLAY nor WAYLAND_DISPLAY is set. {NO_SCREEN_CURE}")
    if sys.platform.startswith("linux"):
        _require(qt_libraries)
        if _uses_xcb():
            _require(xcb_libraries)
            _require_x_server()
    try:
        importlib.import_module("PyQt6.QtWidgets")
    except ModuleNotFoundError as error:
        raise DisplayError(f"the window needs PyQt6, which is not installed ({error}): pip install PyQt6") from error
    except ImportError as error:
        raise DisplayError(f"PyQt6 does not load ({error}): {APT_COMMAND}") from error
    forget_opencv_plugins()


def forget_opencv_plugins() -> None:
    """Take back what `import cv2` set: it points Qt at the plugins and fonts of opencv-python's own, other Qt."""
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):
        if f"{os.sep}cv2{os.sep}" in os.environ.get(name, ""):
            del os.environ[name]


def _require(sonames: Iterable[str]) -> None:
    missing = [soname for soname in sonames if not _loads(soname)]
    if missing:
        raise DisplayError(f"Qt needs system libraries that are missing here ({', '.join(missing)}): {APT_COMMAND}")


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _uses_xcb() -> bool:
    """Whether Qt will pick its X11 plugin: told to, or nothing better to pick."""
    wanted = os.environ.get("QT_QPA_PLATFORM", "")
    if wanted:
        return wanted.startswith("xcb")
    return not (os.environ.get("WAYLAND_DISPLAY") and all(map(_loads, WAYLAND_LIBRARIES)))


def _require_x_server() -> None:
    """Knock at the X server: a DISPLAY left over from an ended login makes Qt abort."""
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = (ctypes.c_void_p,)
    connection = xcb.xcb_connect(None, None)
    if xcb.xcb_connection_has_error(connection):
        xcb.xcb_disconnect(connection)
        raise DisplayError(f"no X server answers at DISPLAY={os.environ.get('DISPLAY', '')!r}. {NO_SCREEN_CURE}")
    # An open one is left to the end of the process: a bare server (Xvfb) starts anew when its last client leaves it, and
    # would refuse Qt, which knocks next.
