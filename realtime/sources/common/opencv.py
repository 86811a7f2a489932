"""Capture through OpenCV, for what only OpenCV opens: webcams and GStreamer pipelines."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from engines.pictures.reading import silence_opencv
from realtime.errors import SourceLostError
from realtime.sources.common.base import Picture, described, now_ns
from realtime.sources.common.detached_feed import Reader
from realtime.sources.common.jpeg_decoding import JpegDecoder

_SILENT_READS = 2  # a V4L2 read fails after 1 s; two in a row are a loss
_FIRST_READS = 4  # before the first picture, of a camera that is slow or warming up
_WAITED_S = 0.5  # a read that fails sooner has not waited for a picture: the camera is gone, or used by another program
_HANGS_AFTER_S = 3.0  # longer than two reads that fail
_HANGS_AFTER_INTERVALS = 3
_LET_GO_S = 1.2  # a V4L2 read ends within 1 s, and closing may take 2


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used, so that tests can replace it."""

    def isOpened(self) -> bool: ...
    def set(self, prop: int, value: float) -> bool: ...
    def get(self, prop: int) -> float: ...
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


def prepare_opencv() -> None:
    """Silence OpenCV and shorten its time-outs, before a camera is opened. The user's environment variables take precedence."""
    # Read at the first V4L2 wait, so it works after the import. The default of 10 s would delay closing.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
    silence_opencv()  # it prints each device that does not open


def gives_picture(capture: Capture) -> bool:
    """Whether a first picture comes. One a few seconds is enough; a capture that fails without waiting is not asked again."""
    for _ in range(_FIRST_READS):
        started_s = time.monotonic()
        if capture.grab():
            return True
        if time.monotonic() - started_s < _WAITED_S:
            return False
    return False


class CaptureFeed:
    """An open capture as a feed for `LiveSource`. codec: of the negotiated format; "" if unknown. cure: where a read hangs.

    jpegs: decodes the JPEG files that the capture gives instead of pictures; None where it gives pictures.

    A driver may never return from a read, so a thread of its own reads; it is left behind where it hangs, and frees the capture
    if it ever returns.
    """

    def __init__(self, capture: Capture, name: str, codec: str, cure: str, jpegs: JpegDecoder | None = None) -> None:
        width, height = (round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None
        self.sound = ""
        self.description = described(width, height, codec, self.fps)
        self._capture = capture
        self._name, self._cure = name, cure
        self._hangs_after_s = max(_HANGS_AFTER_S, _HANGS_AFTER_INTERVALS / self.fps if self.fps else 0.0)
        self._jpegs = jpegs
        self._reader = Reader("grab", self._grabbed, self._free, _LET_GO_S)

    @property
    def decoder(self) -> str:
        return self._jpegs.decoder if self._jpegs is not None else "CPU"

    def pictures(self) -> Iterator[Picture]:
        late = SourceLostError(f"{self._name}: no answer for {self._hangs_after_s:.3g} s", self._cure)
        return self._reader.pictures(self._hangs_after_s, late)

    def interrupt(self) -> None:
        self._reader.interrupt()

    def close(self) -> threading.Thread | None:
        return self._reader.close()

    def _grabbed(self) -> Iterator[Picture]:
        """On the reader's thread: pictures until the camera falls silent for longer than its pictures are apart."""
        silent_reads, last_s = 0, time.monotonic()
        silence_s = _HANGS_AFTER_INTERVALS / self.fps if self.fps else 0.0
        while not self._reader.is_ending:  # after a read that failed, too
            grabbed = self._capture.grab()
            received_ns = now_ns()  # before decoding: the picture is at least this old
            silent_reads = 0 if grabbed else silent_reads + 1
            now_s = received_ns / 1e9
            if silent_reads >= _SILENT_READS and now_s - last_s >= silence_s:
                raise SourceLostError(f"{self._name}: the camera delivers no more pictures", "Check that it is plugged in")
            if grabbed:
                last_s = now_s
                is_read, image = self._capture.retrieve()
                if is_read and self._jpegs is not None and _is_undecoded(image):
                    data = np.ravel(image).tobytes()
                    if data.startswith(b"\xff\xd8"):
                        yield from self._jpegs.pictures(data, received_ns)
                    else:
                        yield Picture(None, None, received_ns, why="not a JPEG picture")
                else:
                    yield Picture(image if is_read else None, None, received_ns)

    def _free(self) -> None:
        if self._jpegs is not None:
            self._jpegs.close()
        self._capture.release()


def _is_undecoded(image: npt.NDArray[np.uint8]) -> bool:
    """Whether OpenCV has left what a camera sends as it is: one row of bytes."""
    return image.dtype == np.uint8 and max(image.shape[:2], default=0) == image.size
