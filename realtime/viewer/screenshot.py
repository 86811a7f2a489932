"""Writes pictures to files beside the running window: packing a PNG takes longer than a frame lasts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QImage

from realtime.types import Canvas
from realtime.viewer.view import as_qimage


class ScreenshotWriter(QObject):
    """Saves canvases as PNG, one after the other, on a thread of its own."""

    finished = pyqtSignal(str)
    """One line for people: where the picture is, or why it is not."""

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self._writer = ThreadPoolExecutor(1, "screenshot")

    def save(self, canvas: Canvas) -> None:
        """Returns at once; `finished` tells the outcome."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self._writer.submit(self._write, canvas, self.folder / f"screenshot-{stamp}-{canvas.index:06}.png")

    def close(self) -> None:
        """Wait until all pictures are written."""
        self._writer.shutdown()

    def _write(self, canvas: Canvas, path: Path) -> None:
        # No copy: a canvas is never written to again, and this frame keeps it alive.
        image = as_qimage(canvas.image, QImage.Format.Format_BGR888)
        part = path.with_suffix(".png.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not image.save(str(part), "PNG"):
                raise OSError("the folder cannot be written to, or the disk is full")
            part.replace(path)
        except OSError as error:
            self.finished.emit(f"No screenshot: {path}: {error.strerror or error}")
        else:
            self.finished.emit(f"Saved {path}")
