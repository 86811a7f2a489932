"""Video through PyAV: one container's video stream, decoded picture by picture. The only source module that imports `av`."""

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
from realtime.sources.common.base import Picture, counted, described, now_ns
from realtime.sources.common.feed import RefusedError, Timeouts

# Measured on a loopback camera: without probing the frame rate, the first picture comes after 0.3 s instead of 2. `nobuffer`
# would then cost up to a whole GOP (it discards the key frame it has read) and gain nothing, since the reader catches up.
_LIVE_OPTIONS = {
    "fpsprobesize": "0",
    "analyzeduration": "500000",  # microseconds
    "max_delay": "100000",  # microseconds to wait for late UDP packets; all of FFmpeg's default, 0.5 s, is latency
}
_MAX_READ_ERRORS = 50  # in a row; a damaged file has a few, an unreadable one has nothing else
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_BT709 = 1  # AVCOL_SPC_BT709
_QUARTER_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class VideoStream:
    """The first video stream of a file or URL. Used on one thread.

    fps, frame_count, duration_s: from the container, or None. description: "1280x720 h264 25 fps".
    damaged: packets that did not decode.
    broken:  why reading ended before the container's end, or "".
    end_s:   stream time at which the last picture ends.
    """

    def __init__(
        self,
        location: str,
        name: str,
        *,
        is_live: bool,
        options: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Open and probe. Raises SourceOpenError: not found, not a video, refused, no answer in time."""
        self._name = name
        self._read_timeout_s = timeouts.read_s if timeouts else None
        open_timeout_s = timeouts.open_s if timeouts else None
        self.damaged = 0
        self.broken = ""
        self.end_s = 0.0
        started_s = time.monotonic()
        try:
            self._container = av.open(location, options=dict(options or {}), timeout=timeouts)
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
            raise RefusedError(name) from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # An interrupted open returns with any of several errors; only the elapsed time identifies a time-out.
            timed_out = open_timeout_s is not None and time.monotonic() - started_s > 0.95 * open_timeout_s
            reason = TimeoutError() if timed_out else error
            raise SourceOpenError(*explain(name, reason, open_timeout_s)) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceOpenError(f"{name}: it contains no video", "Give a video file or stream")
        self._stream = self._container.streams.video[0]
        # Frame threads are fastest but delay by as many frames as there are threads; slice threads delay by none.
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
        self.description = described(context.width, context.height, context.name, self.fps)

    def pictures(self) -> Iterator[Picture]:
        """The pictures that decode, in order, to the end. Undecodable packets are counted in `damaged` and skipped.

        Raises SourceLostError when a network stream delivers nothing for the read time-out, or breaks. A damaged file only
        ends; `broken` has the reason.
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
                    raise SourceLostError(*explain(self._name, TimeoutError(), self._read_timeout_s)) from None
                if errors > _MAX_READ_ERRORS:
                    self.broken = reason_of(error)[0]
                    return
            except (av.error.FFmpegError, OSError) as error:
                if self._read_timeout_s is None:
                    self.broken = reason_of(error)[0]
                    return
                raise SourceLostError(*explain(self._name, error, self._read_timeout_s)) from None

    def damage_report(self) -> str:
        """The damage found in the stream, as one line; empty when there was none."""
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
    """A live stream through FFmpeg, with no frame delayed by decoder threads.

    FFmpeg's parser finds a frame's end only when the next frame begins, so a frame is at least one interval old.
    """

    def __init__(self, url: str, name: str, options: dict[str, str], timeouts: Timeouts) -> None:
        """Connect. Raises SourceOpenError; RefusedError where the password is wrong."""
        self._name = name
        self._stream = VideoStream(url, name, is_live=True, options=_LIVE_OPTIONS | options, timeouts=timeouts)
        self.description = self._stream.description
        self.fps = self._stream.fps
        self.duration_s = self._stream.duration_s

    def pictures(self) -> Iterator[Picture]:
        yield from self._stream.pictures()
        # A recording that is served as a stream has a length, and ends. A camera has no length: its end is a loss.
        if self.duration_s is None:
            raise SourceLostError(f"{self._name}: the server ended the stream")

    def interrupt(self) -> None:
        """FFmpeg's read cannot be interrupted; it ends at its time-out."""

    def close(self) -> None:
        self._stream.close()


def explain(name: str, error: Exception, timeout_s: float | None) -> tuple[str, str]:
    """The problem, `name` in front, and the cure of FFmpeg's error."""
    what, cure = reason_of(error, timeout_s)
    return f"{name}: {what}", cure


def reason_of(error: Exception, timeout_s: float | None = None) -> tuple[str, str]:
    """FFmpeg's error in words, without the URL in it, and what to do."""
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server has nothing at this path (404)", "Check the path"
    if isinstance(error, av.error.ExitError | TimeoutError):
        return (f"no answer within {timeout_s:g} s" if timeout_s else "no answer"), "Check the address and the network"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Check the address and the port"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or too damaged to read", ""
    text = getattr(error, "strerror", None) or str(error)
    return redact(text[:1].lower() + text[1:]), ""


def _to_bgr(frame: av.VideoFrame) -> npt.NDArray[Any]:
    """One decoded frame as BGR, upright.

    OpenCV converts planar 4:2:0 to BGR in 0.15 ms at 720p, FFmpeg's converter (with its copy) takes 0.4 ms. OpenCV supports
    only BT.601 in limited range and even sizes; the converter does the rest.
    """
    is_plain = frame.format.name == "yuv420p" and frame.color_range != _FULL_RANGE and frame.colorspace != _BT709
    if is_plain and frame.width % 2 == 0 and frame.height % 2 == 0:
        image: npt.NDArray[Any] = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_I420)
    else:
        image = frame.to_ndarray(format="bgr24")
    turn = _QUARTER_TURNS.get(frame.rotation % 360)
    return image if turn is None else np.asarray(cv2.rotate(image, turn))
