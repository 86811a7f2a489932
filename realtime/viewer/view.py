"""The picture: paints the newest canvas, and saves it as a screenshot."""

import logging
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PyQt6.QtCore import QObject, QPointF, QRectF, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QImage, QPainter, QPaintEvent, QPixmap, QRegion
from PyQt6.QtWidgets import QSizePolicy, QWidget

from engines.files import numbered, whole_file
from engines.types import Image
from realtime.types import Canvas
from realtime.viewer.style import BACKGROUND

log = logging.getLogger(__name__)

HUD_MARGIN_PX = 12

CLOSE_TIMEOUT_S = 2.0


class VideoView(QWidget):
    """Shows one canvas at a time, with its aspect kept; a newer one replaces an older one that is not painted yet.

    A widget painted by Qt's raster engine: at 720p a QLabel costs 1.6 times as much, a software OpenGL widget 20 times.
    """

    painted = pyqtSignal(object)
    """A canvas is on the screen; emitted once per canvas, from paintEvent."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas: Canvas | None = None
        """The newest canvas, painted or not."""
        self.smooth = False
        """Interpolate also where each pixel of the canvas is a whole number of the screen's: for still pictures, since it costs
        twice as much as the nearest pixel (5 ms of CPU instead of 2.4 from 720p to 1080p). Other scales are always interpolated,
        or letters lose lines."""
        self._hud: QPixmap | None = None
        self._unpainted = False
        self._screen_image = ScreenImage()
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_canvas(self, canvas: Canvas) -> None:
        """Paint this canvas soon, instead of any that is not painted yet."""
        self.canvas = canvas
        self._unpainted = True
        self.update()

    def clear(self) -> None:
        """Show a dark empty view until the next canvas."""
        self.canvas = None
        self._unpainted = False
        self.update()

    def set_smooth(self, smooth: bool) -> None:
        if smooth != self.smooth:
            self.smooth = smooth
            self.update()

    def set_hud(self, hud: QPixmap | None) -> None:
        """Paint this over the picture's top left corner; None for nothing."""
        if hud is not self._hud:
            self._hud = hud
            self.update()

    def picture_rect(self) -> QRectF:
        """The picture's place in the widget: the largest rectangle of its aspect, centred on whole screen pixels."""
        if self.canvas is None:
            return QRectF()
        height_px, width_px = self.canvas.image.shape[:2]
        ratio = self.devicePixelRatioF()
        room_w, room_h = round(self.width() * ratio), round(self.height() * ratio)
        scale = min(room_w / width_px, room_h / height_px)
        w, h = round(width_px * scale), round(height_px * scale)
        return QRectF((room_w - w) // 2 / ratio, (room_h - h) // 2 / ratio, w / ratio, h / ratio)

    def canvas_point(self, at: QPointF) -> QPointF:
        """The pixel of the canvas under a point of the widget; (-1, -1) beside the picture."""
        picture = self.picture_rect()
        if self.canvas is None or not picture.contains(at):
            return QPointF(-1, -1)
        height_px, width_px = self.canvas.image.shape[:2]
        return QPointF((at.x() - picture.x()) / picture.width() * width_px, (at.y() - picture.y()) / picture.height() * height_px)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        picture = self.picture_rect()
        painter.setClipRegion(QRegion(self.rect()) - QRegion(picture.toRect()))
        painter.fillRect(self.rect(), QColor(BACKGROUND))
        painter.setClipping(False)
        if self.canvas is not None:
            times = picture.width() * self.devicePixelRatioF() / self.canvas.image.shape[1]
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.smooth or not times.is_integer())
            painter.drawImage(picture, self._screen_image.of(self.canvas.image))
        if self._hud is not None:
            painter.drawPixmap(HUD_MARGIN_PX, HUD_MARGIN_PX, self._hud)
        painter.end()
        if self._unpainted:
            self._unpainted = False
            self.painted.emit(self.canvas)


class ScreenImage:
    """A picture in the format that Qt copies to the screen without conversion, in a buffer that is used again."""

    def __init__(self) -> None:
        self._source: Image | None = None
        self._bgra = np.empty((0, 0, 4), np.uint8)
        self._image = QImage()

    def of(self, image: Image) -> QImage:
        """The image as RGB32; valid until the next call. Converted once, not at each painting."""
        if image is not self._source:
            height_px, width_px = image.shape[:2]
            if self._bgra.shape[:2] != (height_px, width_px):
                self._bgra = np.empty((height_px, width_px, 4), np.uint8)
                self._image = as_qimage(self._bgra, QImage.Format.Format_RGB32)
            # The viewer's only call to OpenCV: 0.12 ms at 720p. NumPy's fastest way (a strided 32-bit copy, which leaves the
            # next pixel's blue in the alpha byte) takes 0.28 ms; painting Format_BGR888, without a copy, 0.67 ms.
            cv2.cvtColor(image, cv2.COLOR_BGR2BGRA, dst=self._bgra)
            self._source = image
        return self._image


class ScreenshotWriter(QObject):
    """Saves canvases as PNG on a thread of its own, since compressing one takes longer than a frame."""

    finished = pyqtSignal(str)
    """One line for the user: the file, or why there is none."""

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self._writer = ThreadPoolExecutor(1, "screenshot")
        self._pending: set[Future[None]] = set()

    def save(self, canvas: Canvas) -> None:
        """Return at once; `finished` reports the outcome."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        future = self._writer.submit(self._write, canvas, self.folder / f"screenshot-{stamp}-{canvas.index:06}.png")
        self._pending = {one for one in self._pending if not one.done()} | {future}

    def close(self) -> None:
        """Wait until all pictures are written, or `CLOSE_TIMEOUT_S` if the disk does not answer."""
        self._writer.shutdown(wait=False)
        if left := wait(self._pending, CLOSE_TIMEOUT_S).not_done:
            log.warning("%d screenshots are not saved: the disk does not answer", len(left))

    def _write(self, canvas: Canvas, path: Path) -> None:
        # No copy: a canvas is never written to again, and this frame keeps it alive.
        image = as_qimage(canvas.image, QImage.Format.Format_BGR888)
        try:
            path = next(free for free in numbered(path) if not os.path.lexists(free))
            with whole_file(path, replaces=False) as part:
                if not image.save(str(part), "PNG"):
                    raise OSError("the folder cannot be written to, or the disk is full")
        except OSError as error:
            self.finished.emit(f"Screenshot not saved to {path}: {error.strerror or error}")
        else:
            self.finished.emit(f"Saved {path}")


def as_qimage(pixels: Image, layout: QImage.Format) -> QImage:
    """An (H, W, C) uint8 array as an image, without a copy; the array must outlive it."""
    height_px, width_px = pixels.shape[:2]
    # PyQt accepts any buffer here, although its type hints list bytes only.
    return QImage(cast(bytes, pixels.data), width_px, height_px, pixels.strides[0], layout)
