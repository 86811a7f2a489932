"""Image files of data sets. Labels are read as the stored ids, not as the colours of a palette."""

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import PictureError
from engines.pictures.header import PNG_START
from engines.pictures.reading import REPLACE, check_header, decode, read_file

PNG_COLOUR_AT, PNG_PALETTE = 25, 3
"""Offset of the colour type, and its value for a palette. Source: PNG specification, 11.2.1 IHDR."""


def read_label(path: Path) -> npt.NDArray[np.generic]:
    """The values in a label's file, of any type and shape; of a PNG with a palette, the (H, W) uint8 palette indices.

    Raises PictureError that names the file: not a picture, incomplete, or too large.
    """
    data = read_file(path)
    if not (data.startswith(PNG_START) and data[PNG_COLOUR_AT : PNG_COLOUR_AT + 1] == bytes([PNG_PALETTE])):
        return decode(data, cv2.IMREAD_UNCHANGED, f"{path}: ")
    import PIL.Image

    needed = check_header(data, f"{path}: ")
    try:
        with PIL.Image.open(io.BytesIO(needed)) as image:
            return np.asarray(image, np.uint8)  # OpenCV returns colours
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{path}: cannot be read as an image ({error})", REPLACE) from error


def label_fault(pixels: npt.NDArray[np.generic]) -> tuple[str, str] | None:
    """Why these pixels cannot be class ids, and the cure; None when they can."""
    channels, bits = (pixels.shape[2] if pixels.ndim == 3 else 1), 8 * pixels.dtype.itemsize
    expected = "a label is one channel of 8-bit class ids"
    if channels > 1:
        return f"has {channels} channels of {bits} bits, but {expected}", "Convert its colours to ids"
    if pixels.dtype != np.uint8:
        return f"has {bits} bits per pixel, but {expected}", "Save it with 8 bits"
    return None
