"""Network cameras over RTSP, decoded with the lowest delay that FFmpeg allows."""

from realtime.sources.common.detached_feed import detached_if_slow
from realtime.sources.common.feed import Feed, Timeouts
from realtime.sources.common.live import LiveSource
from realtime.sources.common.uri import Options, SourceUri

FORM = "url"
ALIASES = ("rtsps",)
DECODES = True

_GRACE_S = 1.0


def open_uri(uri: SourceUri) -> LiveSource:
    """rtsp://user:password@camera:554/path. Options, after "#": transport=tcp|udp, open_timeout_s=5, timeout_s=1.8 (silence).

    Returns at once; the source connects when it is iterated.
    """
    from realtime.sources.common.container_feed import ContainerFeed
    from realtime.sources.common.rtsp_asking import stream_address

    options = Options(uri)
    transport = options.choice("transport", ("tcp", "udp"))
    timeouts = Timeouts.given(options)
    options.finish()

    def connect() -> Feed:
        url = stream_address(uri.target, uri.name, timeouts.open_s)
        return detached_if_slow(ContainerFeed(url, uri.name, {"rtsp_transport": transport}, timeouts, uri.decode), timeouts)

    # Looking up a host's name has no time-out.
    return LiveSource(uri.name, connect, waits=uri.waits, open_limit_s=2 * timeouts.open_s + _GRACE_S)
