"""Makes docs/window.jpg: the real window on real footage, at a frame that is worth a look. Needs a screen, or `xvfb-run`.

The picture in the README is of one-by-one-person-detection.mp4 of github.com/intel-iot-devkit/sample-videos (CC BY 4.0):

    xvfb-run -s '-screen 0 1366x768x24' python docs/pictures/window.py one-by-one-person-detection.mp4 --frame 117
"""

import argparse
import sys
from pathlib import Path

from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parents[2]))

from engines.models import zoo
from realtime.commands.common.options import Running, parsed
from realtime.commands.common.running import settings_of
from realtime.process.tuning import prepare
from realtime.sessions.live import LiveSession
from realtime.sources import open_source
from realtime.types import Canvas
from realtime.viewer.run import check_qt, forget_opencv_plugins
from realtime.viewer.style import STYLE_SHEET, dark_palette
from realtime.viewer.window import MainWindow

SETTLE_MS = 900
"""From the pause to the picture: the figures are drawn a few times a second."""

QUALITY = 90


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--preset", default="webcam")
    parser.add_argument("--frame", type=int, default=100)
    parser.add_argument("--figures", action="store_true", help="with those of this run, on a machine that is not busy")
    parser.add_argument("--out", type=Path, default=Path("docs/window.jpg"))
    given = parser.parse_args()
    check_qt()
    prepare()
    app = QApplication(sys.argv[:1])
    app.setStyle("Fusion")
    app.setPalette(dark_palette())
    app.setStyleSheet(STYLE_SHEET)
    forget_opencv_plugins()
    settings = settings_of(parsed(Running)._replace(preset=given.preset), given.source)
    window = MainWindow(
        lambda source, wake: LiveSession(
            settings, Path(source).name, lambda: open_source(source), lambda: zoo.find(settings.model), wake, Path("out")
        ),
        "Real-time segmentation",
    )

    if not given.figures:
        window.toggle_hud()

    def save() -> None:
        window.refresh()
        window.grab().save(str(given.out), quality=QUALITY)
        app.quit()

    def look(canvas: Canvas) -> None:
        if canvas.index >= given.frame and window.host.session is not None and not window.host.state().paused:
            window.host.session.set_paused(True)
            QTimer.singleShot(SETTLE_MS, save)

    window.host.arrived.connect(look)
    window.host.open(given.source)
    window.show()
    app.exec()
    window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
