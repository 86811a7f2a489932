"""The window in a process of its own: how it ends, and how it looks on a real X server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication

from realtime.viewer.run import APT_COMMAND, Ending

PROGRAM = Path(__file__).with_name("window_program.py")
ROOT = Path(__file__).parents[3]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without a screen unless one is given."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_window_and_the_session_within_two_seconds(number: signal.Signals, code: int) -> None:
    """One of the two fills the screen, as `view --full-screen` does."""
    fills = {"FULL_SCREEN": "1"} if number == signal.SIGTERM else {}
    command = [sys.executable, str(PROGRAM)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(QT_QPA_PLATFORM="offscreen", **fills), text=True, **pipes) as program:  # type: ignore[call-overload]
        assert program.stdout is not None
        assert program.stdout.readline() == f"painted on offscreen{', full screen' if fills else ''}\n"
        sent_s = time.monotonic()
        program.send_signal(number)
        _, complaints = program.communicate(timeout=10)
        assert time.monotonic() - sent_s < 2.0
        assert program.returncode == code
        assert complaints == ""


@pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xauth")), reason="xvfb-run or xauth is missing: apt-get install xvfb xauth"
)
def test_the_window_is_shown_on_a_real_x_server(tmp_path: Path) -> None:
    shot = tmp_path / "screen.png"
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24", sys.executable, str(PROGRAM), str(shot)]
    ended = subprocess.run(
        command, env=environment(QT_QPA_PLATFORM="xcb"), capture_output=True, text=True, timeout=40, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "painted on xcb\n"
    screen = cv2.imread(str(shot))
    assert screen is not None
    for colour in ((128, 64, 128), (0, 0, 230), (220, 20, 60)):
        assert (screen == np.array(colour[::-1], np.uint8)).all(axis=2).sum() > 5000, f"no block of class colour {colour}"


def test_an_error_in_the_window_ends_it_and_is_raised(app: QApplication) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a mistake in a slot")

    QTimer.singleShot(0, fail)
    hook = sys.excepthook
    with pytest.raises(ZeroDivisionError, match="a mistake in a slot"), Ending(app):
        app.exec()
    assert sys.excepthook is hook


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_without_a_screen_the_error_is_one_line() -> None:
    code = "from realtime.errors import DisplayError; from realtime.viewer.run import run_viewer\n"
    code += "try: run_viewer(None, 'film', title='t')\nexcept DisplayError as error: print(error)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout.count("\n") == 1
    assert "DISPLAY" in ended.stdout
    assert APT_COMMAND not in ended.stdout, "there is nothing to install"
    assert ended.stderr == ""
