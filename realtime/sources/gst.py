"""GStreamer pipelines: through OpenCV where it was built with GStreamer, else through a gst-launch-1.0 child's pipe."""

from __future__ import annotations

import sys

import cv2

from realtime.errors import SourceOpenError
from realtime.sources.common.live import LiveSource
from realtime.sources.common.opencv import CaptureFeed, prepare_opencv
from realtime.sources.common.uri import SourceUri


def open_uri(uri: SourceUri) -> LiveSource:
    """gst://v4l2src ! videoconvert ! appsink sync=false, or the pipeline alone. Without an appsink one is added."""
    return open_pipeline(uri.target, uri.name)


def open_pipeline(pipeline: str, name: str) -> LiveSource:
    """A source of what `pipeline` gives to its appsink, or to its end where it has none.

    Raises SourceOpenError where neither OpenCV's GStreamer nor gst-launch-1.0 is there.
    """
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        if "appsink" not in pipeline:
            pipeline += " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
        return LiveSource(name, lambda: _connect(pipeline, name))
    if sys.platform != "linux":
        raise SourceOpenError(f"{name}: this OpenCV has no GStreamer; use an rtsp:// or webcam:// source on this system")
    from realtime.sources.common.gst_pipe import PipeSource  # pipes and process groups as only Linux has them
    from realtime.sources.common.gst_text import cut

    return PipeSource(name, cut(pipeline, name))


def _connect(pipeline: str, name: str) -> CaptureFeed:
    prepare_opencv()
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceOpenError(f"{name}: the pipeline does not start; try it with gst-launch-1.0 first")
    width, height = (round(capture.get(prop)) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    fps = capture.get(cv2.CAP_PROP_FPS)
    return CaptureFeed(capture, name, f"{width}x{height} GStreamer {fps:.4g} fps", fps if fps > 0 else None)
