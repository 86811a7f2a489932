"""Network cameras over RTSP, decoded with the lowest delay that FFmpeg allows."""

from realtime.sources.common.live import LiveSource, Timeouts
from realtime.sources.common.uri import Options, SourceUri

FORM = "url"
ALIASES = ("rtsps",)


def open_uri(uri: SourceUri) -> LiveSource:
    """rtsp://user:password@camera:554/path. Options, after "#": transport=tcp|udp, open_timeout_s=5, timeout_s=1.8 (silence).

    Returns at once; the source connects when it is iterated.
    """
    from realtime.sources.common.container import ContainerFeed

    options = Options(uri)
    transport = options.choice("transport", ("tcp", "udp"))
    timeouts = Timeouts.given(options)
    options.finish()
    return LiveSource(uri.name, lambda: ContainerFeed(uri.target, uri.name, {"rtsp_transport": transport}, timeouts))
