"""The size of a picture as its file declares it, from the first bytes, before a decoder makes room for it.

Six formats, known by their content and not by their suffix. Sources: PNG specification, 11.2.1 IHDR; ITU-T T.81, B.2.2;
"GIF89a", 18; Microsoft's BITMAPFILEHEADER; WebP container specification and RFC 6386, 9.1; TIFF 6.0, section 2, and BigTIFF.
"""

import struct
from collections.abc import Iterator

from engines.types import Size

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_SCAN = 0xDA
JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers."""
JPEG_LAST_SEQUENTIAL = 0xC1
"""Marker of an extended sequential frame; from the next on, frames are progressive or rare."""

_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # without a length
_TIFF_STARTS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_TIFF_SIDES = {256: 0, 257: 1, 322: 0, 323: 1}  # ImageWidth, ImageLength, TileWidth, TileLength
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_MOST_ENTRIES = 4096


def declared_size(data: bytes) -> Size | None:
    """The width and height that a PNG, JPEG, GIF, BMP, WebP or TIFF file declares; None for anything else, or a broken header."""
    try:
        if data.startswith(PNG_START):
            return Size(*struct.unpack_from(">II", data, 16))
        if data.startswith(JPEG_START):
            return _jpeg(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return Size(*struct.unpack_from("<HH", data, 6))
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in _TIFF_STARTS:
            return _tiff(data, *_TIFF_STARTS[data[:4]])
    except struct.error:  # the header is cut off
        pass
    return None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset) of each segment of a JPEG up to the first scan, which is included."""
    at = len(JPEG_START)
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        marker = data[at + 1]
        if marker in (0xFF, 0x00) or marker in _JPEG_BARE:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at
        if marker == JPEG_SCAN or at + 4 > len(data):
            return
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


def _jpeg(data: bytes) -> Size | None:
    for marker, at in jpeg_segments(data):
        if marker in JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Size(width, height)
    return None


def _bmp(data: bytes) -> Size:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2's header
        return Size(*struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Size(abs(width), abs(height))  # negative: stored from the top


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Size(width, height) if len(data) >= 30 else None
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    return None


def _tiff(data: bytes, order: str, is_big: bool) -> Size | None:
    """Of the first page. Of several values the largest: a decoder makes room for a tile as well as for the picture."""
    offset, count, entry, field = ("Q", "Q", 20, 12) if is_big else ("I", "H", 12, 8)
    start = struct.unpack_from(order + offset, data, 8 if is_big else 4)[0]
    entries = struct.unpack_from(order + count, data, start)[0]
    if entries > _TIFF_MOST_ENTRIES:
        return None
    sides = [0, 0]
    for number in range(entries):
        at = start + struct.calcsize(order + count) + number * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in _TIFF_SIDES and kind in _TIFF_NUMBERS:
            value = struct.unpack_from(order + _TIFF_NUMBERS[kind], data, at + field)[0]
            sides[_TIFF_SIDES[tag]] = max(sides[_TIFF_SIDES[tag]], value)
    return Size(*sides) if all(sides) else None
