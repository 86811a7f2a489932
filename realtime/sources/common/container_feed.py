"""A live stream through PyAV, as a feed."""

from collections.abc import Iterator

from realtime.errors import SourceLostError
from realtime.sources.common.base import Picture
from realtime.sources.common.container import VideoStream
from realtime.sources.common.feed import Timeouts
from realtime.sources.common.uri import Decode

# Measured on a loopback camera: without probing the frame rate, the first picture comes after 0.3 s instead of 2. `nobuffer`
# would then cost up to a whole GOP (it discards the key frame it has read) and gain nothing, since the reader catches up.
_LIVE_OPTIONS = {
    "fpsprobesize": "0",
    "analyzeduration": "500000",  # microseconds
    "max_delay": "100000",  # microseconds to wait for late UDP packets; all of FFmpeg's default, 0.5 s, is latency
}


class ContainerFeed:
    """A live stream through FFmpeg, with no frame delayed by decoder threads.

    FFmpeg's parser finds a frame's end only when the next frame begins, so a frame is at least one interval old.
    """

    def __init__(self, url: str, name: str, options: dict[str, str], timeouts: Timeouts, decode: Decode = "auto") -> None:
        """Connect. Raises SourceOpenError; RefusedError where the password is wrong."""
        self._name = name
        self._stream = VideoStream(url, name, is_live=True, options=_LIVE_OPTIONS | options, timeouts=timeouts, decode=decode)
        self.description = self._stream.description
        self.fps = self._stream.fps
        self.duration_s = self._stream.duration_s
        self.sound = self._stream.sound

    @property
    def decoder(self) -> str:
        return self._stream.decoder

    def pictures(self) -> Iterator[Picture]:
        yield from self._stream.pictures()
        # A recording that is served as a stream has a length, and ends. A camera has no length: its end is a loss.
        if self.duration_s is None:
            raise SourceLostError(f"{self._name}: the server ended the stream")

    def interrupt(self) -> None:
        """FFmpeg's read cannot be interrupted; it ends at its time-out."""

    def close(self) -> None:
        self._stream.close()
