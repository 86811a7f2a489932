"""The picture: paints the newest canvas and nothing else."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from PyQt6.QtCore import QPointF, QRectF, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QImage, QPainter, QPaintEvent, QPixmap, QRegion
from PyQt6.QtWidgets import QSizePolicy, QWidget

from engines.types import Image
from realtime.types import Canvas
from realtime.viewer.style import BACKGROUND

HUD_MARGIN_PX = 12


class VideoView(QWidget):
    """Shows one canvas at a time, aspect kept; a newer one replaces an unpainted older one.

    A plain widget painted by Qt's raster engine: at 720p a QLabel costs 1.6 times as much, a software OpenGL widget 20 times.
    """

    painted = pyqtSignal(object)
    """A canvas is on the screen; emitted once per canvas, from paintEvent."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas: Canvas | None = None
        """The newest canvas, whether painted already or not."""
        self.smooth = False
        """Filter when scaling. Four times the cost of nearest, so it is for pictures that stand still."""
        self._hud: QPixmap | None = None
        self._unpainted = False
        self._screen_image = ScreenImage()
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_canvas(self, canvas: Canvas) -> None:
        """Paint this canvas soon, instead of any that waits."""
        self.canvas = canvas
        self._unpainted = True
        self.update()

    def clear(self) -> None:
        """Forget the picture: a dark empty view, until the next canvas."""
        self.canvas = None
        self._unpainted = False
        self.update()

    def set_smooth(self, smooth: bool) -> None:
        if smooth != self.smooth:
            self.smooth = smooth
            self.update()

    def set_hud(self, hud: QPixmap | None) -> None:
        """Draw this over the picture's top left corner, or nothing."""
        if hud is not self._hud:
            self._hud = hud
            self.update()

    def picture_rect(self) -> QRectF:
        """Where the picture lies in the widget: the largest rectangle of its shape, centred on whole screen pixels."""
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
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.smooth)
            painter.drawImage(picture, self._screen_image.of(self.canvas.image))
        if self._hud is not None:
            painter.drawPixmap(HUD_MARGIN_PX, HUD_MARGIN_PX, self._hud)
        painter.end()
        if self._unpainted:
            self._unpainted = False
            self.painted.emit(self.canvas)


class ScreenImage:
    """A picture in the one format that Qt copies to the screen without converting, in a buffer that is used again."""

    def __init__(self) -> None:
        self._source: Image | None = None
        self._bgra = np.empty((0, 0, 4), np.uint8)
        self._image = QImage()

    def of(self, image: Image) -> QImage:
        """The image as RGB32; valid until the next call. Converted once, however often it is painted."""
        if image is not self._source:
            height_px, width_px = image.shape[:2]
            if self._bgra.shape[:2] != (height_px, width_px):
                self._bgra = np.empty((height_px, width_px, 4), np.uint8)
                self._image = as_qimage(self._bgra, QImage.Format.Format_RGB32)
            # The viewer's one call to OpenCV: 0.12 ms at 720p, where NumPy's quickest way (a strided 32-bit copy, which leaves
            # the next pixel's blue in the alpha byte) takes 0.28, and painting Format_BGR888, without a copy, 0.67.
            cv2.cvtColor(image, cv2.COLOR_BGR2BGRA, dst=self._bgra)
            self._source = image
        return self._image


def as_qimage(pixels: Image, layout: QImage.Format) -> QImage:
    """Look at an (H, W, C) uint8 array as an image, without a copy; the array must outlive it."""
    height_px, width_px = pixels.shape[:2]
    # PyQt takes any buffer here, though its type hints know of bytes only.
    return QImage(cast(bytes, pixels.data), width_px, height_px, pixels.strides[0], layout)
