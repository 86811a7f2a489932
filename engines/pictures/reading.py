"""Reads picture files: complete ones, of at most MAX_PIXELS, refused by their headers before a decoder makes room for them."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import PictureError
from engines.pictures.header import (
    JPEG_END,
    JPEG_LAST_SEQUENTIAL,
    JPEG_SCAN,
    JPEG_SIZES,
    JPEG_START,
    PNG_START,
    declared_size,
    jpeg_segments,
)
from engines.types import U8, Size

MAX_PIXELS = 8192 * 6144
"""50 million: 8K video has 33 million, a 50-megapixel camera 8160 x 6144. As BGR they take 151 MB, while they are decoded up
to twice that. A file of 109 kB can declare 1,800 million, for which a decoder takes 5.4 GB."""

MAX_SIDE_PX = 32_766
"""OpenCV's geometry counts in 16 bits."""

MAX_FILE_BYTES = 512 * 1024**2
"""More than MAX_PIXELS of four channels of 16 bits take, uncompressed."""

MAX_SCANS = 200
"""Of a progressive JPEG; encoders write at most some tens. Each pass over 50 million pixels takes a tenth of a second."""

REPLACE = "Replace or remove it"

_NEEDED_CHUNKS = (b"tRNS", b"eXIf")
"""Of a PNG, beside the critical ones, whose names begin with a capital: transparency and orientation."""

Pixels: TypeAlias = npt.NDArray[np.generic]


def read_picture(path: Path) -> U8:
    """(H, W, 3) uint8 BGR. Raises PictureError that names the file: not a picture, incomplete, or too large."""
    return np.asarray(decode(read_file(path), cv2.IMREAD_COLOR, f"{path}: "), np.uint8)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_FILE_BYTES. Raises PictureError that names it."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe could wait for ever
            raise PictureError(f"{path}: is not a file")
        if facts.st_size > MAX_FILE_BYTES:
            raise PictureError(f"{path}: is larger than {MAX_FILE_BYTES >> 20} MiB", "Scale it down")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror or error})") from error


def decode(data: bytes, flags: int = cv2.IMREAD_COLOR, where: str = "") -> Pixels:
    """The picture in a file's bytes, as OpenCV's `flags` ask for it.

    where: begins the text of an error, such as "FILE: ". Raises PictureError: not a picture, incomplete, or too large.
    """
    needed = check_header(data, where)
    silence_opencv()
    try:
        decoded = cv2.imdecode(np.frombuffer(needed, np.uint8), flags)
    except MemoryError as error:
        raise _no_memory(where) from error
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise _no_memory(where) from error
        raise PictureError(f"{where}cannot be read as an image", REPLACE) from error
    if decoded is None:
        raise PictureError(f"{where}cannot be read as an image", REPLACE)
    return np.asarray(decoded)


def silence_opencv() -> None:
    """Let OpenCV print nothing of its own: the errors that are raised are clearer. Any thread, as often as wanted.

    The user's environment variable takes precedence.
    """
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def check_header(data: bytes, where: str = "") -> bytes:
    """The bytes that a decoder needs. Raises PictureError as `decode` does, without decoding."""
    size = declared_size(data)
    if size is None:
        raise PictureError(f"{where}cannot be read as an image", REPLACE)
    check_size(size, where)
    needed, is_whole = data, True
    if data.startswith(PNG_START):
        needed, is_whole = _essential_png(data)
    elif data.startswith(JPEG_START):
        is_whole = _is_whole_jpeg(data, where)
    if not is_whole:
        raise PictureError(f"{where}is incomplete, its end is missing", REPLACE)
    return needed


def check_size(size: Size, where: str = "") -> None:
    """Raises PictureError for a picture of more than MAX_PIXELS, or of no pixel."""
    if not (size.width and size.height):
        raise PictureError(f"{where}declares a size of {size} pixels", REPLACE)
    if size.width * size.height > MAX_PIXELS or max(size.width, size.height) > MAX_SIDE_PX:
        what = f"{where}declares {size} pixels; read are at most {MAX_PIXELS / 1e6:.0f} million, {MAX_SIDE_PX} a side"
        raise PictureError(what, "Scale it down or cut it")


def _essential_png(data: bytes) -> tuple[bytes, bool]:
    """A PNG without the chunks that pixels do not need, and whether its end is there.

    Texts and profiles are compressed: 3 MB of them kept libpng busy for 17 s. The frames of an animation go as well.
    """
    kept, at, is_whole = [PNG_START], len(PNG_START), False
    while at + 12 <= len(data) and not is_whole:
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind[:1].isupper() or kind in _NEEDED_CHUNKS:
            kept.append(data[at:end])
        is_whole, at = kind == b"IEND" and end <= len(data), end
    return b"".join(kept), is_whole


def _is_whole_jpeg(data: bytes, where: str) -> bool:
    """Whether the end of the main picture is in the data. Decoders do not check it: they fill missing parts with grey.

    Raises PictureError for one of more scans than MAX_SCANS.
    """
    segments = dict(jpeg_segments(data))
    scan = segments.get(JPEG_SCAN, len(data))
    if data.endswith(JPEG_END) and not _has_scans(data, segments):
        return True  # all that a camera sends; looking for markers would take a tenth of the time of decoding
    end = data.find(JPEG_END, scan)  # encoded pixels never look like a marker
    if data.count(bytes([0xFF, JPEG_SCAN]), scan, end if end >= 0 else len(data)) > MAX_SCANS:
        raise PictureError(f"{where}has more than {MAX_SCANS} scans", REPLACE)
    return end >= 0


def _has_scans(data: bytes, segments: Mapping[int, int]) -> bool:
    """Whether a JPEG has several scans: it is progressive, or its first scan has not all components."""
    frame = next((at for marker, at in segments.items() if marker in JPEG_SIZES), 0)
    scan = segments.get(JPEG_SCAN, 0)
    return data[frame + 1] > JPEG_LAST_SEQUENTIAL or data[scan + 4 : scan + 5] < data[frame + 9 : frame + 10]


def _no_memory(where: str) -> PictureError:
    return PictureError(f"{where}no memory is free for its pixels", "Close other programs, or scale it down")
