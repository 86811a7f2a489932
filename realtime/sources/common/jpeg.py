"""Cuts JPEG pictures out of a byte stream at their own markers, without relying on the stream's headers.

docs/decisions.md has the reasons for a reader of our own, with measurements.
"""

from __future__ import annotations

import numpy as np

from engines.errors import PictureError
from engines.pictures.reading import decode
from engines.types import Image

MAX_JPEG_BYTES = 16 << 20

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_END_MARKER, _SCAN_MARKER = 0xD9, 0xDA
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})  # these have no length field


def decoded(data: bytes) -> Image | None:
    """The picture in an image file's bytes; None where it is too damaged to decode, or too large."""
    try:
        return np.asarray(decode(data), np.uint8)
    except PictureError:
        return None


class JpegSplitter:
    """Takes bytes, returns whole pictures. Anything between pictures (boundaries, headers, noise) is dropped.

    A picture is complete at its own end marker: it does not wait for the next boundary, and neither a missing boundary nor a
    wrong Content-Length matters. Never holds more than MAX_JPEG_BYTES.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # 0: before a picture; else the position in its segments
        self._in_scan = False

    @property
    def rest(self) -> bytes:
        """The bytes after the last picture."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append bytes. Raises ValueError when a picture grows beyond MAX_JPEG_BYTES."""
        if len(self._buffer) + len(data) > MAX_JPEG_BYTES:
            raise ValueError(f"a picture of more than {MAX_JPEG_BYTES >> 20} MB")
        self._buffer += data

    def take(self) -> bytes | None:
        """The next whole picture, or None until more is fed."""
        while self._found_start():
            end = self._walk()
            if end is None:
                return None
            if end > 0:
                picture = bytes(self._buffer[:end])
                self._drop(end)
                return picture
            self._drop(2)  # not a picture: look for the next start
        return None

    def _found_start(self) -> bool:
        if self._position:
            return True
        start = self._buffer.find(_START)
        if start < 0:
            # A closing boundary may follow the last picture, and a start may be cut in two: keep a short tail.
            del self._buffer[: max(0, len(self._buffer) - 256)]
            return False
        self._drop(start)
        self._position = 2
        return True

    def _walk(self) -> int | None:
        """The picture's length in bytes; None: more is needed; 0: it is broken."""
        buffer = self._buffer
        while True:
            if self._in_scan:
                end = buffer.find(_END, self._position)
                if end >= 0:
                    return end + 2
                self._position = max(self._position, len(buffer) - 1)
                return None
            at = self._position
            if at + 4 > len(buffer):
                return at + 2 if buffer[at : at + 2] == _END else None
            marker = buffer[at + 1]
            if buffer[at] != 0xFF or marker in (0x00, 0xD8):
                return 0
            if marker == _END_MARKER:
                return at + 2
            if marker == 0xFF:
                self._position += 1
            elif marker in _BARE_MARKERS:
                self._position += 2
            else:
                self._position = at + 2 + int.from_bytes(buffer[at + 2 : at + 4], "big")
                self._in_scan = marker == _SCAN_MARKER

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._position, self._in_scan = 0, False
