"""Capture through OpenCV, for what only OpenCV opens: webcams and GStreamer pipelines."""

import os
from collections.abc import Iterator
from typing import Any, Protocol

import cv2

from realtime.errors import SourceLostError
from realtime.sources.common.base import Picture, described, now_ns

_SILENT_READS = 2  # a V4L2 read fails after 1 s; two in a row are a loss


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
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV prints each device that does not open to stderr; the error that is raised is clearer.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class CaptureFeed:
    """An open capture as a feed for `LiveSource`. codec: of the negotiated format; "" if unknown."""

    def __init__(self, capture: Capture, name: str, codec: str) -> None:
        width, height = (round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None
        self.description = described(width, height, codec, self.fps)
        self._capture = capture
        self._name = name
        self._interrupted = False

    def pictures(self) -> Iterator[Picture]:
        silent_reads = 0
        while not self._interrupted:
            grabbed = self._capture.grab()
            received_ns = now_ns()  # before decoding: the picture is at least this old
            if not grabbed:
                silent_reads += 1
                if silent_reads >= _SILENT_READS or self._interrupted:
                    raise SourceLostError(f"{self._name}: the camera delivers no more pictures", "Check that it is plugged in")
                continue
            silent_reads = 0
            decoded, image = self._capture.retrieve()
            yield Picture(image if decoded else None, None, received_ns)

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        self._capture.release()
