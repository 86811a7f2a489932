"""Image files of data sets: complete ones only. Labels are read as the stored ids, not as the colours of a palette."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.types import U8

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_AT, PNG_COLOUR_AT, PNG_HEADER_END = 24, 25, 33
"""Offsets of the bit depth and the colour type, and the end of the header chunk. Source: PNG specification, 11.2.1 IHDR."""
PNG_GREY, PNG_PALETTE = 0, 3
PNG_END = b"IEND"

REPLACE = "Replace or remove it"

JPEG_START, JPEG_END, JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
"""Markers. Source: ITU-T T.81, table B.1."""


def read_image(path: Path) -> U8:
    """(H, W, 3) uint8 BGR. Raises DataError that names the file: not an image, or an incomplete one."""
    return np.asarray(_decoded(path, _bytes(path), cv2.IMREAD_COLOR), np.uint8)


def read_label(path: Path) -> npt.NDArray[np.generic]:
    """The values in a label's file, of any type and shape; of a PNG with a palette, the (H, W) uint8 palette indices.

    Raises DataError that names the file when it is not an image.
    """
    data = _bytes(path)
    if not (data.startswith(PNG_START) and data[PNG_COLOUR_AT : PNG_COLOUR_AT + 1] == bytes([PNG_PALETTE])):
        return _decoded(path, data, cv2.IMREAD_UNCHANGED)
    shades = np.asarray(_decoded(path, _as_grey(data), cv2.IMREAD_UNCHANGED), np.uint8)
    return shades // np.uint8(255 // (2 ** data[PNG_DEPTH_AT] - 1))  # a decoder spreads fewer bits over 0..255


def label_fault(pixels: npt.NDArray[np.generic]) -> tuple[str, str] | None:
    """Why these pixels cannot be class ids, and the cure; None when they can."""
    channels, bits = (pixels.shape[2] if pixels.ndim == 3 else 1), 8 * pixels.dtype.itemsize
    expected = "a label is one channel of 8-bit class ids"
    if channels > 1:
        return f"has {channels} channels of {bits} bits, but {expected}", "Convert its colours to ids"
    if pixels.dtype != np.uint8:
        return f"has {bits} bits per pixel, but {expected}", "Save it with 8 bits"
    return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decoded(path: Path, data: bytes, flags: int) -> npt.NDArray[np.generic]:
    if data.startswith(PNG_START):
        is_whole = PNG_END in data
    else:
        is_whole = not data.startswith(JPEG_START) or _is_whole_jpeg(data)
    if not is_whole:
        raise DataError(f"{path}: is incomplete, its end is missing", REPLACE)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if decoded is None:
        raise DataError(f"{path}: cannot be read as an image", REPLACE)
    return np.asarray(decoded)


def _as_grey(png: bytes) -> bytes:
    """The PNG with its palette indices declared as shades of grey, and without the chunks that only colours need."""
    header = png[12:PNG_COLOUR_AT] + bytes([PNG_GREY]) + png[PNG_COLOUR_AT + 1 : PNG_HEADER_END - 4]
    parts = [png[:12], header, zlib.crc32(header).to_bytes(4, "big")]
    at = PNG_HEADER_END
    while at < len(png):
        after = at + 12 + int.from_bytes(png[at : at + 4], "big")  # length, type, data, check sum
        if png[at + 4 : at + 8] in (b"IDAT", PNG_END):
            parts.append(png[at:after])
        at = after
    return b"".join(parts)


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end of the main picture is in the data. Decoders do not check it: they fill missing parts with grey."""
    at = len(JPEG_START)
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == JPEG_SCAN:
            return data.find(JPEG_END, at) >= 0  # encoded pixels never look like a marker
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # a segment; the header's may hold a thumbnail
    return data.find(JPEG_END, at) >= 0
