"""Image files of data sets: complete ones only. Labels are read as the stored ids, not as the colours of a palette."""

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.types import U8

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_AT, PNG_PALETTE = 25, 3
"""Offset of the colour type, and its value for a palette. Source: PNG specification, 11.2.1 IHDR."""
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
    import PIL.Image

    _check_complete(path, data)
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.asarray(image, np.uint8)  # OpenCV returns colours
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})", REPLACE) from error


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
    _check_complete(path, data)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if decoded is None:
        raise DataError(f"{path}: cannot be read as an image", REPLACE)
    return np.asarray(decoded)


def _check_complete(path: Path, data: bytes) -> None:
    if data.startswith(PNG_START):
        is_complete = PNG_END in data
    else:
        is_complete = not data.startswith(JPEG_START) or _is_whole_jpeg(data)
    if not is_complete:
        raise DataError(f"{path}: is incomplete, its end is missing", REPLACE)


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end of the main picture is in the data. Decoders do not check it: they fill missing parts with grey."""
    at = len(JPEG_START)
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == JPEG_SCAN:
            return data.find(JPEG_END, at) >= 0  # encoded pixels never look like a marker
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # a segment; the header's may hold a thumbnail
    return data.find(JPEG_END, at) >= 0
