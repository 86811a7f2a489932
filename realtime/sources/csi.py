"""CSI cameras of a Jetson: the sensor's picture through the image signal processor, in the requested size."""

from realtime.errors import SourceNotFoundError
from realtime.sources.common.live import LiveSource
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.gst import open_pipeline


def open_uri(uri: SourceUri) -> LiveSource:
    """csi://0, the number of the connector. Options: width=1280, height=720, fps=30, flip=0 (nvvidconv's flip-method, 0..7).

    Width and height are the camera's; flips by a quarter turn (1, 3, 5, 7) swap them.
    """
    options = Options(uri)
    width = options.integer("width", 1280, 16, 8192)
    height = options.integer("height", 720, 16, 8192)
    fps = options.integer("fps", 30, 1, 240)
    flip = options.integer("flip", 0, 0, 7)
    options.finish()
    sensor = uri.target.strip() or "0"
    if not (sensor.isascii() and sensor.isdigit()):
        cure = "Give the number of its connector, as in csi://0"
        raise SourceNotFoundError(f'{uri.name}: "{sensor}" is not a CSI camera', cure)
    return open_pipeline(pipeline(int(sensor), width, height, fps, flip), uri.name, waits=uri.waits)


def pipeline(sensor: int, width: int, height: int, fps: int, flip: int = 0) -> str:
    """The GStreamer pipeline from the sensor to BGRx pictures in ordinary memory; scaled and rotated in hardware."""
    turned_width, turned_height = (height, width) if flip % 2 else (width, height)
    return (
        f"nvarguscamerasrc sensor-id={sensor} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 "
        f"! nvvidconv flip-method={flip} "
        f"! video/x-raw,format=BGRx,width={turned_width},height={turned_height}"
    )
