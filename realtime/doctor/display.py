"""Window: Qt's system libraries, the screen, and what leads Qt elsewhere."""

import importlib
import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import cure_of_import

RANK = 60
LIMIT_S = 15.0

PLATFORM_PLUGIN = "Qt6/plugins/platforms/libqxcb.so"

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")

INVISIBLE = ("offscreen", "minimal", "vnc", "linuxfb", "eglfs")

PACKAGES = {
    "libGL": "libgl1", "libOpenGL": "libopengl0", "libEGL": "libegl1", "libdbus-1": "libdbus-1-3",
    "libfontconfig": "libfontconfig1",
    "libglib-2.0": "libglib2.0-0", "libgthread-2.0": "libglib2.0-0", "libxkbcommon-x11": "libxkbcommon-x11-0",
    "libxkbcommon": "libxkbcommon0", "libX11-xcb": "libx11-xcb1", "libX11": "libx11-6", "libxcb-cursor": "libxcb-cursor0",
    "libxcb-icccm": "libxcb-icccm4", "libxcb-image": "libxcb-image0", "libxcb-keysyms": "libxcb-keysyms1",
    "libxcb-randr": "libxcb-randr0", "libxcb-render-util": "libxcb-render-util0", "libxcb-render": "libxcb-render0",
    "libxcb-shape": "libxcb-shape0", "libxcb-shm": "libxcb-shm0", "libxcb-sync": "libxcb-sync1", "libxcb-util": "libxcb-util1",
    "libxcb-xfixes": "libxcb-xfixes0", "libxcb-xinerama": "libxcb-xinerama0", "libxcb-xkb": "libxcb-xkb1", "libxcb": "libxcb1",
    "libSM": "libsm6", "libICE": "libice6", "libfreetype": "libfreetype6", "libz": "zlib1g",
}  # fmt: skip
"""Library, up to ".so" -> the Debian package that brings it."""

_NOT_FOUND = re.compile(r"^\s*(lib\S+) => not found", re.MULTILINE)


def check(machine: Machine) -> Iterator[Finding]:
    package = _package()
    if package is None:
        yield problem("window", "PyQt6 is not installed, and the window needs it", machine.pip("install", "PyQt6"))
        return
    if sys.platform.startswith("linux") and (lacks := missing_libraries(machine, package / PLATFORM_PLUGIN)):
        found, cure = f"Qt lacks {', '.join(lacks)}", f"sudo apt-get install -y {_packages(lacks)}"
        has_screen = any(machine.environ.get(name) for name in SCREENS)
        yield problem("qt libraries", found, cure) if has_screen else absent("qt libraries", f"{found}; no screen here", cure)
        return
    machine.step("importing PyQt6.QtWidgets")
    try:
        importlib.import_module("PyQt6.QtWidgets")
    except Exception as error:  # an extension may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield problem("window", f"PyQt6 cannot be loaded ({text})", cure_of_import(machine, error, "PyQt6 PyQt6-Qt6"))
        return
    yield from _misled(machine, package)
    yield from _screen(machine)


def _package() -> Path | None:
    """PyQt6's folder."""
    spec = find_spec("PyQt6")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(folders[0]) if folders else None


def missing_libraries(machine: Machine, plugin: Path) -> list[str]:
    """System libraries that Qt's plugin for X needs, itself or through others, and that are not installed."""
    said = machine.ask("ldd", str(plugin)) if plugin.is_file() else None
    return list(dict.fromkeys(_NOT_FOUND.findall(said.text))) if said is not None else []


def _packages(sonames: list[str]) -> str:
    """The Debian packages of these libraries; a name without one stays as it is, for apt-file."""
    stems = [soname.partition(".so")[0] for soname in sonames]
    return " ".join(sorted({PACKAGES.get(stem, stem) for stem in stems}))


def _misled(machine: Machine, package: Path) -> Iterator[Finding]:
    """Variables that make Qt load the plugins of another Qt, such as OpenCV's."""
    own = str(package)
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_PLUGIN_PATH"):
        folder = machine.environ.get(name, "")
        is_cv2s = f"{os.sep}cv2{os.sep}" in folder  # which the program undoes itself
        if folder and not folder.startswith(own) and not is_cv2s and _has_plugins(folder):
            yield warning(name, f'leads Qt to plugins of another Qt: "{folder}"', f"unset {name}")
    if f"{os.sep}cv2{os.sep}" in machine.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH", ""):
        yield ok("QT_QPA_PLATFORM_PLUGIN_PATH", "leads to OpenCV's plugins; the window does not follow it")


def _has_plugins(folders: str) -> bool:
    return any(
        any(Path(folder).glob(name)) for folder in folders.split(":") if folder for name in ("libq*.so", "platforms/libq*.so")
    )


def _screen(machine: Machine) -> Iterator[Finding]:
    platform = machine.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if platform in INVISIBLE:
        yield warning("screen", f"QT_QPA_PLATFORM={platform}: the window is drawn, and nobody sees it", "unset QT_QPA_PLATFORM")
        return
    named = [name for name in SCREENS if machine.environ.get(name)]
    if not named:
        yield absent("screen", "none here (neither DISPLAY nor WAYLAND_DISPLAY is set): view needs one, process writes files")
        return
    from realtime.errors import DisplayError
    from realtime.viewer.run import check_qt

    machine.step("looking for the screen")
    try:
        check_qt()
    except DisplayError as error:
        yield problem("screen", error.what, _cure(machine, error))
        return
    yield ok("screen", f"a window can be opened ({', '.join(f'{name}={machine.environ[name]}' for name in named)})")


def _cure(machine: Machine, error: "Exception") -> str:
    text = str(error)
    if "QT_QPA_PLATFORM" in text:
        return "unset QT_QPA_PLATFORM"
    if "WAYLAND_DISPLAY=" in text:
        return "unset WAYLAND_DISPLAY  # left over from another login; or log in to a desktop"
    if "answers at" in text:
        if hasattr(os, "geteuid") and os.geteuid() == 0 and machine.environ.get("SUDO_USER"):
            return f"{machine.run} view  # as yourself, without sudo: the screen belongs to you"
        if machine.is_container:
            return "xhost +local: && docker run -e DISPLAY -v /tmp/.X11-unix:/tmp/.X11-unix IMAGE"
        return "unset DISPLAY  # left over from another login; or log in to a desktop, or use ssh -X"
    if "sudo apt" in text:
        return text[text.index("sudo apt") :]
    return machine.pip("install", "--force-reinstall PyQt6")
