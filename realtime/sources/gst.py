"""GStreamer pipelines (CSI cameras, hardware decoders) through OpenCV, where OpenCV was built with GStreamer."""

from __future__ import annotations

import cv2

from realtime.errors import SourceOpenError
from realtime.sources._live import LiveSource
from realtime.sources._opencv import CaptureFeed, prepare_opencv
from realtime.sources._uri import SourceUri


def open_uri(uri: SourceUri) -> LiveSource:
    """gst://nvarguscamerasrc ! ... ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1, or the pipeline alone."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceOpenError(
            f"{uri.name}: this OpenCV is built without GStreamer, as the one from PyPI is; "
            "install one that has it (on a Jetson: the system's python3-opencv), or use an rtsp:// or webcam:// source"
        )
    pipeline = uri.target
    if "appsink" not in pipeline:
        pipeline += " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    return LiveSource(uri.name, lambda: _connect(pipeline, uri.name))


def _connect(pipeline: str, name: str) -> CaptureFeed:
    prepare_opencv()
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceOpenError(f"{name}: the pipeline does not start; try it with gst-launch-1.0 first")
    width, height = (round(capture.get(prop)) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    fps = capture.get(cv2.CAP_PROP_FPS)
    return CaptureFeed(capture, name, f"{width}x{height} GStreamer {fps:.4g} fps", fps if fps > 0 else None)
