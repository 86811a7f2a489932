"""GStreamer pipelines: through OpenCV where it was built with GStreamer, else through the pipe of a gst-launch-1.0 child."""

import sys

import cv2

from realtime.errors import SourceOpenError
from realtime.sources.common.live import LiveSource
from realtime.sources.common.opencv import CaptureFeed, prepare_opencv
from realtime.sources.common.uri import SourceUri

FORM = "text"

_OPEN_LIMIT_S = 20.0  # a first start may scan all plugins


def open_uri(uri: SourceUri) -> LiveSource:
    """gst://v4l2src ! videoconvert ! appsink sync=false, or the pipeline alone. Without an appsink one is added."""
    return open_pipeline(uri.target, uri.name, waits=uri.waits)


def open_pipeline(pipeline: str, name: str, *, waits: bool = False) -> LiveSource:
    """The pictures that `pipeline` passes to its appsink, or to its end where it has none.

    Raises SourceOpenError where neither OpenCV's GStreamer nor gst-launch-1.0 is available.
    """
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        if "appsink" not in pipeline:
            pipeline += " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
        return LiveSource(name, lambda: _connect(pipeline, name), waits=waits, open_limit_s=_OPEN_LIMIT_S)
    if sys.platform != "linux":
        raise SourceOpenError(f"{name}: this OpenCV has no GStreamer", "Use an rtsp:// or webcam:// source on this system")
    from realtime.sources.common.gst_pipe import PipeSource  # its pipes and process groups exist only on Linux
    from realtime.sources.common.gst_text import cut

    return PipeSource(name, cut(pipeline, name), waits=waits)


def _connect(pipeline: str, name: str) -> CaptureFeed:
    prepare_opencv()
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceOpenError(f"{name}: the pipeline does not start", "Try it with gst-launch-1.0 first")
    return CaptureFeed(capture, name, "GStreamer", "Check that what the pipeline reads still delivers pictures")
