"""H.264 video of the drawn pictures, each at its own time.

Pictures keep their presentation times (1/60000 s), so a stream of changing frame rate, or one that lost frames, plays at the
right speed. While it grows, the file is fragmented: when the program is killed, only the last second is lost. A complete MP4
has the ordinary index, so that every player opens it and seeks in it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from engines.types import U8, Image, Size
from realtime.codecs.gst_codec import ChildError
from realtime.sinks import StreamFacts
from realtime.sinks.common.encoders import MAX_KEYFRAME_GAP_S, TICKS_PER_S, check_encoder, chosen, opened
from realtime.sinks.common.output_file import Part
from realtime.types import Canvas, Result

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".mkv")
OPTION = "--out"
HELP = "video of what a window would show (.mp4, .mov, .mkv)"
NEEDS_CANVAS = True

USUAL_FPS = 30.0

MUXER_OPTIONS: dict[str, dict[str, str]] = {
    "mp4": {"movflags": "hybrid_fragmented", "frag_duration": "1000000"},
    "mov": {"movflags": "hybrid_fragmented", "frag_duration": "1000000"},
    "matroska": {"cluster_time_limit": "1000"},
}
"""Muxer -> options that make it write complete pieces of at most one second (in microseconds and milliseconds)."""

LEAST_BYTES = 4096
"""A film that is shorter has no picture: headers, and the first piece is written whole."""

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}


class PresentationTimes:
    """Seconds of a stream -> ticks that start at 0 and rise strictly."""

    def __init__(self, fps: float) -> None:
        self._usual_step = max(1, round(TICKS_PER_S / fps))
        self._start_s: float | None = None
        self._last = -self._usual_step

    def ticks(self, pts_s: float) -> int:
        """The next picture's tick. One usual step later where the stream's time stands still, goes back or is not finite."""
        if not math.isfinite(pts_s):
            self._last += self._usual_step
            return self._last
        if self._start_s is None:
            self._start_s = pts_s - (self._last + self._usual_step) / TICKS_PER_S
        tick = round((pts_s - self._start_s) * TICKS_PER_S)
        if tick <= self._last:
            tick = self._last + self._usual_step
            self._start_s = pts_s - tick / TICKS_PER_S
        self._last = tick
        return tick


class FailSafeFile(io.FileIO):
    """The file that the muxer writes into. After a failed write it ignores all others, so that what was written stays intact."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return len(data)


class VideoSink:
    """Writes canvases. All have the size of the first: later ones of another size are fitted into it, with black bars."""

    def __init__(self, path: Path, fps: float | None, encoder: str = "auto") -> None:
        """encoder: as `Settings.encoder`; it is chosen with the first picture, whose size it must take."""
        check_encoder(encoder)
        self.encoder = ""
        self._choice = encoder
        self._part = Part(path)
        self._fps = fps if fps and 0 < fps < 1000 else USUAL_FPS
        self._film: Film | None = None

    def write(self, result: Result, canvas: Canvas | None) -> None:
        """Append one picture. Raises SinkError once, when the disk or the encoder fails; after that writes nothing."""
        assert canvas is not None, "this sink needs canvases"
        if self._part.is_broken:
            return
        with self._part.step(av.FFmpegError, ChildError):
            if self._film is None:
                size = even(Size.of(canvas.image))
                self.encoder = self.encoder or chosen(self._choice, size, self._fps)
                self._film = Film(self._part, self.encoder, size, self._fps)
            self._film.add(canvas.image, canvas.pts_s)

    def close(self) -> None:
        """Finish the file and give it its name. A broken one keeps its part name; without pictures there is no file.

        Raises SinkError.
        """
        if self._film is not None:
            self._part.finish(self._film.close, av.FFmpegError, ChildError)


class Film:
    """A video file being written: encoder, muxer and file, opened together and closed once."""

    def __init__(self, part: Part, encoder: str, size: Size, fps: float) -> None:
        """size: even, as 4:2:0 colour needs it."""
        self._size = size
        self._file = FailSafeFile(part.growing, "wb", opener=lambda path, flags: part.open())
        muxer = _MUXERS[part.path.suffix.lower()]
        options = {**MUXER_OPTIONS[muxer], "flush_packets": "1"}
        self._container = av.open(self._file, "w", format=muxer, container_options=options)
        self._encoder = opened(encoder, self._container, size, fps)
        self._yuv: U8 = np.empty((self._size.height * 3 // 2, self._size.width), np.uint8)
        self._times = PresentationTimes(fps)
        self._next_keyframe = 0

    def add(self, image: Image, pts_s: float) -> None:
        """Encode one (H, W, 3) uint8 BGR picture. Raises OSError or av.FFmpegError."""
        cv2.cvtColor(self._fitted(image), cv2.COLOR_BGR2YUV_I420, dst=self._yuv)
        tick = self._times.ticks(pts_s)
        is_key = tick >= self._next_keyframe
        if is_key:
            self._next_keyframe = tick + round(MAX_KEYFRAME_GAP_S * TICKS_PER_S)
        self._container.mux(self._encoder.encode(self._yuv, tick, is_key=is_key))
        self._check()

    def close(self) -> None:
        """Write what is still in the encoder, and the index. Raises OSError or av.FFmpegError."""
        try:
            with self._container:
                self._container.mux(self._encoder.finish())
        finally:
            self._encoder.close()
            self._file.close()
        self._check()

    def _check(self) -> None:
        if self._file.error is not None:
            raise self._file.error

    def _fitted(self, image: Image) -> Image:
        size = Size.of(image)
        if size == self._size:
            return image
        right, bottom = self._size.width - size.width, self._size.height - size.height
        if 0 <= right <= 1 and 0 <= bottom <= 1:
            padded: Image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            return padded
        return letterboxed(image, self._size)


def even(size: Size) -> Size:
    """The size with even sides, not smaller."""
    return Size(size.width + size.width % 2, size.height + size.height % 2)


def letterboxed(image: Image, size: Size) -> Image:
    """The whole (H, W, 3) picture in the middle of a black one of `size`, its aspect kept; a new array."""
    scale = min(size.width / image.shape[1], size.height / image.shape[0])
    width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    x, y = (size.width - width) // 2, (size.height - height) // 2
    inner = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    framed: Image = cv2.copyMakeBorder(inner, y, size.height - height - y, x, size.width - width - x, cv2.BORDER_CONSTANT)
    return framed


def create(path: Path, facts: StreamFacts) -> VideoSink:
    """A sink for `path`; nothing is on disk until the first canvas. Raises SinkError when PyAV has no encoder."""
    return VideoSink(path, facts.fps, facts.encoder)


def mend(part: Path, whole: Path) -> str:
    """Copy the pictures that a killed run has written, with an ordinary index. Returns how long they play, as text; "" for none.

    Raises OSError, and av.FFmpegError and ValueError for a file that is more than a header and cannot be read.
    """
    if part.stat().st_size < LEAST_BYTES:
        return ""
    end_s = 0.0
    with av.open(str(part)) as old, av.open(str(whole), "w", format=_MUXERS[whole.suffix.lower()]) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):  # cut off in its last piece
            for packet in old.demux():
                if packet.dts is not None and packet.pts is not None and not packet.is_corrupt:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
    if not end_s:
        raise ValueError("no complete picture")
    return f"{end_s:.1f} s"
