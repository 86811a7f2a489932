"""Qt is started only where it can start; otherwise the error is one line with the cure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.errors import DisplayError
from realtime.viewer.run import APT_COMMAND, check_qt, forget_opencv_plugins, has_display

LINUX_ONLY = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 and Debian packages exist on Linux only")


@LINUX_ONLY
def test_a_screen_is_found_by_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        with monkeypatch.context() as only:
            only.setenv(name, "something")
            assert has_display()
    with pytest.raises(DisplayError, match="DISPLAY"):
        check_qt()


@LINUX_ONLY
def test_the_error_names_a_missing_library_and_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    with pytest.raises(DisplayError) as raised:
        check_qt(xcb_libraries=("libc.so.6", "libxcb-not-there.so.0"))
    message = str(raised.value)
    assert "libxcb-not-there.so.0" in message
    assert "libc.so.6" not in message
    assert APT_COMMAND in message
    assert "\n" not in message


@LINUX_ONLY
def test_libraries_of_x11_are_not_required_on_other_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    check_qt(xcb_libraries=("libxcb-not-there.so.0",))
    with pytest.raises(DisplayError, match=r"libEGL-not-there\.so\.1"):
        check_qt(qt_libraries=("libEGL-not-there.so.1",))


@LINUX_ONLY
def test_a_display_without_a_server_is_an_error_and_does_not_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":7654")
    with pytest.raises(DisplayError, match="No X server answers at DISPLAY=':7654'"):
        check_qt(xcb_libraries=())


@LINUX_ONLY
def test_a_compositor_that_is_gone_is_an_error_and_does_not_abort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("QT_QPA_PLATFORM", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-9")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(DisplayError, match="No Wayland compositor answers at WAYLAND_DISPLAY='wayland-9'"):
        check_qt()
    monkeypatch.setenv("DISPLAY", ":7654")  # the X server is asked next
    with pytest.raises(DisplayError, match="No X server answers at DISPLAY=':7654'"):
        check_qt()


@LINUX_ONLY
@pytest.mark.parametrize("platform", ["nonsense", "linuxfb"])
def test_a_platform_on_which_qt_aborts_is_an_error(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    with pytest.raises(DisplayError, match=rf"Qt opens no window with QT_QPA_PLATFORM='{platform}' \(.+\)\. Unset it"):
        check_qt()


def test_opencvs_qt_plugins_are_removed_and_the_users_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    own = str(Path("opt", "qt", "plugins"))
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(Path("lib", "cv2", "qt", "plugins")))
    monkeypatch.setenv("QT_QPA_FONTDIR", own)
    forget_opencv_plugins()
    assert "QT_QPA_PLATFORM_PLUGIN_PATH" not in os.environ
    assert os.environ["QT_QPA_FONTDIR"] == own


def test_checking_for_a_screen_does_not_load_qt() -> None:
    code = "import sys, realtime.sessions.session, realtime.viewer.run\n"
    code += "print('PyQt6' in sys.modules, 'cv2' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert answer.stdout.split() == ["False", "False"]
