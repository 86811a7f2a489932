"""The cost of painting a canvas on the screen: CPU milliseconds per paint, all threads of the process, medians.

    python benchmarks/paint.py [OUT.json]      offscreen; under `xvfb-run -a` on an X server, whose own work is not counted

Prints JSON, and writes it to the file. Each figure is the median of `ROUNDS` means over `PAINTS` paints, since the clock of a
process is coarse.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import cv2
import numpy as np
from PyQt6.QtCore import QT_VERSION_STR, QSize
from PyQt6.QtGui import QGuiApplication, QImage, QPainter
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from engines.types import Image
from realtime.bench.machine import facts
from realtime.flow.meter import Meter
from realtime.sessions.session import SessionState
from realtime.types import Canvas, SourceStatus
from realtime.viewer.hud import render_hud
from realtime.viewer.run import check_qt
from realtime.viewer.view import VideoView, as_qimage

PAINTS = 20
ROUNDS = 15
STATE = SessionState("running", source="street.mp4", source_status=SourceStatus("live"), model="road", backend="openvino")
HD, FULL_HD = QSize(1280, 720), QSize(1920, 1080)


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of one call, over all threads, in milliseconds."""
    rounds = []
    for _ in range(ROUNDS + 1):
        start_s = time.process_time()
        for _ in range(PAINTS):
            work()
        rounds.append(1e3 * (time.process_time() - start_s) / PAINTS)
    return round(statistics.median(rounds[1:]), 3)


def pictures(size: QSize) -> list[Image]:
    """Two canvases of noise, so that each paint converts another picture."""
    dice = np.random.default_rng(0)
    return [dice.integers(0, 256, (size.height(), size.width(), 3), np.uint8) for _ in range(2)]


def paint_ms(canvas_px: QSize, view_px: QSize, hud: bool = False, smooth: bool = False) -> float:
    """A new canvas arrives and is painted into the window, as in the application."""
    view = VideoView()
    view.resize(view_px)
    view.set_smooth(smooth)
    if hud:
        view.set_hud(render_hud(STATE, meter_in_use().reading(), 1.0, 700))
    view.show()
    assert QTest.qWaitForWindowExposed(view)
    painted: list[Canvas] = []
    view.painted.connect(painted.append)
    canvases = [Canvas(image, index, 0.0, 0) for index, image in enumerate(pictures(canvas_px))]
    turn = 0

    def one() -> None:
        nonlocal turn
        turn += 1
        view.show_canvas(canvases[turn % 2])
        view.repaint()

    result = cpu_ms(one)
    assert len(painted) == PAINTS * (ROUNDS + 1), "every call must have painted"
    view.close()
    return result


def alternatives_ms(size: QSize) -> dict[str, float]:
    """Rejected alternatives, unscaled, into a picture of the screen's format: convert if necessary, and draw."""
    (image, _), target = pictures(size), QImage(size, QImage.Format.Format_RGB32)
    bgra = np.zeros((size.height(), size.width(), 4), np.uint8)
    as_bgr, as_rgb32 = as_qimage(image, QImage.Format.Format_BGR888), as_qimage(bgra, QImage.Format.Format_RGB32)
    four_bytes_every_three = np.lib.stride_tricks.as_strided(image.reshape(-1)[:4].view(np.uint32), (image.size // 3 - 1,), (3,))

    def draw(picture: QImage) -> None:
        painter = QPainter(target)
        painter.drawImage(0, 0, picture)
        painter.end()

    def with_numpy_slice() -> None:
        bgra[..., :3] = image
        draw(as_rgb32)

    def with_numpy_strides() -> None:
        np.copyto(bgra.view(np.uint32).reshape(-1)[:-1], four_bytes_every_three)
        draw(as_rgb32)

    def with_cvt_color() -> None:
        cv2.cvtColor(image, cv2.COLOR_BGR2BGRA, dst=bgra)
        draw(as_rgb32)

    return {
        "cvtColor + RGB32 (taken)": cpu_ms(with_cvt_color),
        "BGR888 without a copy": cpu_ms(lambda: draw(as_bgr)),
        "NumPy strided copy + RGB32": cpu_ms(with_numpy_strides),
        "NumPy slice copy + RGB32": cpu_ms(with_numpy_slice),
    }


def meter_in_use() -> Meter:
    meter = Meter()
    for _ in range(1000):
        meter.add(dict.fromkeys(("decode", "preprocess", "infer", "outputs", "track", "draw"), 1.0))
        meter.delivered(time.monotonic_ns())
    return meter


def main() -> None:
    check_qt()
    app = QApplication(sys.argv[:1])
    cv2.setNumThreads(1)
    meter = meter_in_use()
    reading = meter.reading()
    report = {
        "machine": facts() | {"qt": QT_VERSION_STR, "qt platform": QGuiApplication.platformName()},
        "paint_cpu_ms": {
            "720p canvas in a 720p view": paint_ms(HD, HD),
            "720p canvas in a 720p view, HUD on": paint_ms(HD, HD, hud=True),
            "720p canvas in a 1072x603 view": paint_ms(HD, QSize(1072, 603)),
            "720p canvas in a 1080p view": paint_ms(HD, FULL_HD),
            "720p canvas in a 1080p view, smooth (only while paused)": paint_ms(HD, FULL_HD, smooth=True),
            "1080p canvas in a 1080p view": paint_ms(FULL_HD, FULL_HD),
            "1080p canvas in a 1080p view, HUD on": paint_ms(FULL_HD, FULL_HD, hud=True),
            "1080p canvas in a 720p view": paint_ms(FULL_HD, HD),
        },
        "hud_cpu_ms_four_times_a_second": {
            "reading": cpu_ms(meter.reading),
            "rendering": cpu_ms(lambda: render_hud(STATE, reading, 1.0, 700)),
        },
        "convert_and_draw_cpu_ms": {"720p": alternatives_ms(HD), "1080p": alternatives_ms(FULL_HD)},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")
    app.quit()


if __name__ == "__main__":
    main()
