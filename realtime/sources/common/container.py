"""Video through PyAV: one container's video stream, decoded picture by picture. The only module that imports `av`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt

from realtime.errors import SourceLostError, SourceOpenError
from realtime.process.redact import redact
from realtime.sources.common.base import Picture, counted, now_ns
from realtime.sources.common.live import RefusedError

# Measured on a loopback camera: without the frame rate's probe the first picture comes after 0.3 s instead of 2; `nobuffer`
# then costs up to a whole GOP (it throws away the key frame it has seen), and gains nothing, since the reader catches up.
_LIVE_OPTIONS = {
    "fpsprobesize": "0",
    "analyzeduration": "500000",  # microseconds
    "max_delay": "100000",  # microseconds that late UDP packets are waited for; FFmpeg's own 0.5 s is all latency
}
_MAX_READ_ERRORS = 50  # in a row; a damaged file has a few, a hopeless one has nothing else
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_BT709 = 1  # AVCOL_SPC_BT709
_QUARTER_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class VideoStream:
    """The first video stream of a file or URL. Used on one thread.

    fps, frame_count, duration_s: what the container says, or None. description: "1280x720 h264 25 fps".
    damaged:      packets that did not decode.
    broken:       why reading ended before the container's end, or "".
    end_s:        stream time at which the last picture ends.
    """

    def __init__(
        self,
        location: str,
        name: str,
        *,
        is_live: bool,
        options: Mapping[str, str] | None = None,
        open_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
    ) -> None:
        """Open and probe. Raises SourceOpenError: not there, not a video, refused, no answer in `open_timeout_s`."""
        self._name = name
        self._read_timeout_s = read_timeout_s
        self.damaged = 0
        self.broken = ""
        self.end_s = 0.0
        started_s = time.monotonic()
        try:
            self._container = av.open(location, options=dict(options or {}), timeout=(open_timeout_s, read_timeout_s))
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
            raise RefusedError(f"{name}: the user name or password was refused") from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # An interrupted open comes back as any of several errors; only the clock tells.
            timed_out = open_timeout_s is not None and time.monotonic() - started_s > 0.95 * open_timeout_s
            reason = TimeoutError() if timed_out else error
            raise SourceOpenError(f"{name}: {explain(reason, open_timeout_s)}") from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceOpenError(f"{name}: has no video in it; give a video file or stream")
        self._stream = self._container.streams.video[0]
        # Frame threads are quickest but hold back as many frames as there are threads; slice threads hold back none.
        self._stream.thread_type = "SLICE" if is_live else "AUTO"
        self._read_facts()

    def _read_facts(self) -> None:
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.codec_context.framerate
        self.fps = float(rate) if rate and 0 < rate <= 1000 else None
        duration_s = float(container.duration / 1_000_000) if container.duration else 0.0
        if stream.duration and stream.time_base:
            duration_s = float(stream.duration * stream.time_base)
        self.duration_s = duration_s if duration_s > 0 else None
        guessed = round(duration_s * self.fps) if self.duration_s and self.fps else None
        self.frame_count: int | None = stream.frames or guessed
        context = stream.codec_context
        rate_text = f" {self.fps:.4g} fps" if self.fps else ""
        self.description = f"{context.width}x{context.height} {context.name}{rate_text}"

    def pictures(self) -> Iterator[Picture]:
        """What decodes, in order, to the end. Undecodable packets are counted in `damaged` and skipped.

        Raises SourceLostError when a network stream gives nothing for the read time-out, or breaks. A damaged file just
        ends, and `broken` says why.
        """
        first_s: float | None = None
        for packet in self._packets():
            received_ns = now_ns()
            try:
                frames = packet.decode()
            except (EOFError, av.error.FFmpegError):
                self.damaged += 1
                continue
            for frame in frames:
                pts_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
                if pts_s is not None:
                    first_s = pts_s if first_s is None else first_s
                    self.end_s = pts_s - first_s + (1 / self.fps if self.fps else 0.0)
                yield Picture(_to_bgr(frame), pts_s, received_ns)

    def close(self) -> None:
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        errors = 0
        last_s = time.monotonic()
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
                    last_s = time.monotonic()
                return
            except av.error.InvalidDataError as error:
                errors += 1
                self.damaged += 1
                if self._read_timeout_s is not None and time.monotonic() - last_s > 0.95 * self._read_timeout_s:
                    raise SourceLostError(f"{self._name}: {explain(TimeoutError(), self._read_timeout_s)}") from None
                if errors > _MAX_READ_ERRORS:
                    self.broken = explain(error)
                    return
            except (av.error.FFmpegError, OSError) as error:
                if self._read_timeout_s is None:
                    self.broken = explain(error)
                    return
                raise SourceLostError(f"{self._name}: {explain(error, self._read_timeout_s)}") from None

    def damage_report(self) -> str:
        """What was wrong with the stream, as one line; empty when nothing was."""
        parts = []
        missing_s = (self.duration_s or 0.0) - self.end_s
        is_short = self.duration_s is not None and missing_s > max(0.5, 0.03 * self.duration_s)
        if is_short or self.broken:
            reason = f" ({self.broken})" if self.broken else ""
            parts.append(f"ended early: at {self.end_s:.1f} of {self.duration_s or 0.0:.1f} s{reason}")
        if self.damaged:
            parts.append(f"{counted(self.damaged, 'damaged packet')} skipped")
        return ", ".join(parts)


class ContainerFeed:
    """A live stream through FFmpeg, with no frame held back by decoder threads.

    FFmpeg's parser sees a frame's end only when the next one begins, so a frame is one interval old at least.
    """

    def __init__(self, url: str, name: str, options: dict[str, str], open_timeout_s: float, read_timeout_s: float) -> None:
        """Connect. Raises SourceOpenError, as RefusedError where the password is wrong."""
        self._name = name
        self._stream = VideoStream(
            url,
            name,
            is_live=True,
            options=_LIVE_OPTIONS | options,
            open_timeout_s=open_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self.description = self._stream.description
        self.fps = self._stream.fps
        self.duration_s = self._stream.duration_s

    def pictures(self) -> Iterator[Picture]:
        yield from self._stream.pictures()
        # A recording that is served as a stream has a length, and ends. A camera has none: its end is a loss.
        if self.duration_s is None:
            raise SourceLostError(f"{self._name}: the other side ended the stream")

    def interrupt(self) -> None:
        """FFmpeg's read cannot be woken; it ends with its time-out."""

    def close(self) -> None:
        self._stream.close()


def explain(error: Exception, timeout_s: float | None = None) -> str:
    """FFmpeg's error as a phrase that a person can act on, without the URL in it."""
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server has nothing there (404); check the path"
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"no answer within {timeout_s:g} s; check the address and the network" if timeout_s else "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; check the address and the port"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or so damaged that nothing can be read from it"
    text = getattr(error, "strerror", None) or str(error)
    return redact(text[:1].lower() + text[1:])


def _to_bgr(frame: av.VideoFrame) -> npt.NDArray[Any]:
    """One decoded frame as BGR, upright.

    OpenCV turns planar 4:2:0 into BGR in 0.15 ms at 720p, FFmpeg's converter (with its copy) takes 0.4; OpenCV only knows
    BT.601 in limited range and even sizes, so the converter does the rest.
    """
    is_plain = frame.format.name == "yuv420p" and frame.color_range != _FULL_RANGE and frame.colorspace != _BT709
    if is_plain and frame.width % 2 == 0 and frame.height % 2 == 0:
        image: npt.NDArray[Any] = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_I420)
    else:
        image = frame.to_ndarray(format="bgr24")
    turn = _QUARTER_TURNS.get(frame.rotation % 360)
    return image if turn is None else np.asarray(cv2.rotate(image, turn))
