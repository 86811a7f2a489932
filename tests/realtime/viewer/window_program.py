"""A program with a window on the in-memory session, for the tests that need a process of its own.

    python window_program.py [SHOT.png]

Prints "painted on" and Qt's platform once canvases are on the screen, and whether the window fills it, as FULL_SCREEN in the
environment demands; with a path, then saves what the screen shows and quits.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from realtime.process import ending
from realtime.viewer.run import run_viewer


def main(shot: Path | None) -> int:
    ending.listen()
    spec = importlib.util.spec_from_file_location("viewer_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    parts = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = parts
    spec.loader.exec_module(parts)
    scripted = parts.ScriptedSessions()
    scripted.scripts["film"] = parts.Script(size_px=(640, 360), close_s=0.3)

    def open_session(source: str, wake: Callable[[], None]) -> object:
        from PyQt6.QtCore import QTimer
        from PyQt6.QtGui import QGuiApplication
        from PyQt6.QtWidgets import QApplication

        watch = QTimer()

        def look() -> None:
            if len(scripted.session.shown_indices) < 5:
                return
            watch.stop()
            fills = any(widget.isFullScreen() for widget in QApplication.topLevelWidgets())
            print("painted on", QGuiApplication.platformName() + (", full screen" if fills else ""), flush=True)
            if shot is not None:
                save_screen(shot)

        watch.timeout.connect(look)
        watch.start(20)
        session = scripted.open(source, wake)
        session.watch = watch
        return session

    code = run_viewer(open_session, "film", title="test", full_screen="FULL_SCREEN" in os.environ)  # type: ignore[arg-type]
    assert scripted.session.closed
    return code


def save_screen(shot: Path) -> None:
    """What the X server shows, not what the widget would paint: proof that it got there."""
    from PyQt6.QtWidgets import QApplication

    window = QApplication.activeWindow() or QApplication.topLevelWidgets()[0]
    screen = window.screen()
    assert screen is not None
    assert screen.grabWindow().save(str(shot))
    QApplication.quit()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
