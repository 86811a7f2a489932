"""Webcams through OpenCV: asks for MJPG, says what it got, and finds the same camera again after it was unplugged."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from realtime.errors import SourceError, SourceNotFoundError, SourceOpenError
from realtime.sources.common.live import Attempt, LiveSource
from realtime.sources.common.opencv import Capture, CaptureFeed, prepare_opencv
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.common.v4l import Camera, cameras, find_again

_APIS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}
_UNLISTED_CAMERAS = 2  # tried where the system has no list of them

OpenCapture = Callable[[int, int], Capture]


@dataclass(frozen=True, slots=True)
class Wish:
    """The format to ask for; the camera gives what it can."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0


def open_uri(uri: SourceUri) -> LiveSource:
    """webcam://0 or webcam:///dev/video0, or the number or device alone. Options: width=1280, height=720, fps=30."""
    options = Options(uri)
    wish = Wish(
        width=options.integer("width", 1280, 16, 16384),
        height=options.integer("height", 720, 16, 16384),
        fps=options.number("fps", 30.0, 1, 1000),
    )
    options.finish()
    return webcam(find(uri.target, uri.name), uri.name, wish)


def webcam(
    camera: Camera, name: str, wish: Wish, open_capture: OpenCapture = cv2.VideoCapture, root: Path = Path("/")
) -> LiveSource:
    """A source that opens `camera` when iterated. `open_capture` and `root` stand in for cameras that are not there."""

    def connect() -> CaptureFeed:
        current = find_again(camera, root) if sys.platform == "linux" else camera
        if current is None:
            raise SourceOpenError(f"{name}: the camera is not plugged in")
        return _connect(current, name, wish, open_capture)

    return LiveSource(name, connect)


def find(target: str, name: str) -> Camera:
    """The camera with that number or device path. Raises SourceNotFoundError, with the list of those that are there."""
    text = target.strip() or "0"
    if sys.platform != "linux":
        if not text.isdigit():
            raise SourceNotFoundError(f"{name}: on this system a webcam is named by its number, as in webcam://0")
        return Camera(Path(text), "")
    path = Path(f"/dev/video{text}") if text.isdigit() else Path(text)
    there = cameras()
    for camera in there:
        if camera.path == path or (path.exists() and camera.path == path.resolve()):
            return camera
    if path.exists():
        return Camera(path, "")
    known = ", ".join(str(camera.path) for camera in there)
    raise SourceNotFoundError(
        f"{name}: there is no camera {path}; {f'there is {known}' if known else 'no camera is plugged in here'}"
    )


def first(timeout_s: float, open_capture: OpenCapture = cv2.VideoCapture, root: Path = Path("/")) -> LiveSource | None:
    """The first camera that gives a picture within `timeout_s` in total, already open; None when none does."""
    listed = cameras(root) if sys.platform == "linux" else [Camera(Path(str(n)), "") for n in range(_UNLISTED_CAMERAS)]
    deadline_s = time.monotonic() + timeout_s
    for camera in listed:
        name = str(camera.path) if sys.platform == "linux" else f"webcam://{camera.path}"
        attempt = Attempt(lambda camera=camera, name=name: _connect(camera, name, Wish(), open_capture))  # type: ignore[misc]
        try:
            feed = attempt.result(max(0.0, deadline_s - time.monotonic()))
        except SourceError:
            continue
        if feed is not None:
            source = webcam(camera, name, Wish(), open_capture, root)
            source.adopt(feed)
            return source
    return None


def _connect(camera: Camera, name: str, wish: Wish, open_capture: OpenCapture) -> CaptureFeed:
    """Open, negotiate, and see one picture. Raises SourceOpenError: in use, not allowed, or no camera at all."""
    if sys.platform == "linux" and camera.path.exists() and not os.access(camera.path, os.R_OK | os.W_OK):
        raise SourceOpenError(
            f"{name}: no permission to use {camera.path}; add yourself to its group: sudo usermod -aG video $USER"
        )
    prepare_opencv()
    number = int("".join(filter(str.isdigit, camera.path.name)))
    capture = open_capture(number, _APIS.get(sys.platform, cv2.CAP_ANY))
    # MJPG before the size: uncompressed 720p does not fit through USB 2 and would come at 10 fps or less.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, wish.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wish.height)
    capture.set(cv2.CAP_PROP_FPS, wish.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not capture.isOpened() or not capture.grab():
        capture.release()
        raise SourceOpenError(f"{name}: the camera gives no picture; close other programs that use it, or try another number")
    fps = capture.get(cv2.CAP_PROP_FPS)
    return CaptureFeed(capture, name, _negotiated(capture, fps), fps if fps > 0 else None)


def _negotiated(capture: Capture, fps: float) -> str:
    width, height = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    letters = code.to_bytes(4, "little").decode("latin-1")
    parts = [
        f"{width}x{height}",
        letters if letters.isprintable() and letters.strip() else "",
        f"{fps:.4g} fps" if fps > 0 else "",
    ]
    return " ".join(filter(None, parts))
