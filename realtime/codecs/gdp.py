"""GStreamer's data protocol, version 1.0: buffers with times and formats, as the elements gdppay and gdpdepay write and read."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np

from engines.types import U8

# Version, flags (0: no checksums), kind, payload bytes; pts, duration, offset, offset end; buffer flags; dts, spare; checksums.
_HEADER = struct.Struct(">BBBxHIQQQQHQ6xHH")
_UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
_BUFFER, _CAPS, _EVENT = 1, 2, 64
_STREAM_START, _SEGMENT = _EVENT + 10254, _EVENT + 17934
_DELTA_UNIT = 1 << 13
_LARGEST_BYTES = 1 << 28
_FIELD = re.compile(r"([\w-]+)=(?:\(\w+\))?([^,;\s\"]+)")

_START = "GstEventStreamStart, stream-id=(string)pictures, flags=(GstStreamFlags)GST_STREAM_FLAG_NONE, group-id=(uint)1;"
_TIMES = (
    'GstEventSegment, segment=(GstSegment)"segment, flags=(GstSegmentFlags)GST_SEGMENT_FLAG_NONE, rate=(double)1, '
    "applied-rate=(double)1, format=(GstFormat)time, base=(guint64)0, offset=(guint64)0, start=(guint64)0, "
    'stop=(guint64)18446744073709551615, time=(guint64)0, position=(guint64)0, duration=(guint64)18446744073709551615;";'
)


class Buffer(NamedTuple):
    """A buffer that was read. pts_ns: None where it has no time. caps: the fields of its format, "media" its type."""

    data: U8
    pts_ns: int | None
    caps: dict[str, str]


def opening(caps: str) -> bytes:
    """What comes before the first buffer: the stream's start, its format, and that its times are seconds."""
    return _text(_STREAM_START, _START) + _text(_CAPS, caps) + _text(_SEGMENT, _TIMES)


def header(size_bytes: int, pts_ns: int, *, is_key: bool) -> bytes:
    """What comes before the bytes of a buffer."""
    return _head(_BUFFER, size_bytes, pts_ns, 0 if is_key else _DELTA_UNIT)


def _text(kind: int, text: str) -> bytes:
    data = text.encode() + b"\0"
    return _head(kind, len(data), _UNKNOWN, 0) + data


def _head(kind: int, size_bytes: int, pts_ns: int, flags: int) -> bytes:
    return _HEADER.pack(1, 0, 0, kind, size_bytes, pts_ns, _UNKNOWN, _UNKNOWN, _UNKNOWN, flags, _UNKNOWN, 0, 0)


class Reader:
    """Takes a stream apart. `room` is where the next bytes belong; `filled` says how many have come."""

    def __init__(self) -> None:
        self._caps: dict[str, str] = {}
        self._head: U8 = np.empty(_HEADER.size, np.uint8)
        self._body: U8 | None = None
        self._count = 0

    @property
    def room(self) -> memoryview:
        """Never empty."""
        return (self._head if self._body is None else self._body).data[self._count :]

    @property
    def is_between(self) -> bool:
        """Whether all that has come is whole."""
        return self._body is None and not self._count

    def filled(self, count: int) -> Buffer | None:
        """So many bytes have come. Returns the buffer that is whole now, if any. Raises ValueError for what is no such stream."""
        self._count += count
        if self._body is None:
            if self._count < len(self._head):
                return None
            major, _, _, _, size_bytes, *_ = _HEADER.unpack(self._head.tobytes())
            if major != 1 or size_bytes > _LARGEST_BYTES:
                raise ValueError("not what gdppay writes")
            self._body, self._count = np.empty(size_bytes, np.uint8), 0
        if self._count == len(self._body):
            body, self._body, self._count = self._body, None, 0
            _, _, _, kind, _, pts_ns, *_ = _HEADER.unpack(self._head.tobytes())
            if kind == _CAPS:
                self._caps = fields_of(body.tobytes().rstrip(b"\0").decode("utf-8", "replace"))
            elif kind == _BUFFER:
                return Buffer(body, None if pts_ns == _UNKNOWN else pts_ns, self._caps)
        return None


def fields_of(caps: str) -> dict[str, str]:
    """The fields of a format as GStreamer writes it, and its type under "media"."""
    return {"media": caps.partition(",")[0].strip(), **dict(_FIELD.findall(caps.partition(",")[2]))}
