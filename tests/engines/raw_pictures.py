"""Raw pictures of noise for the tests, in every format and with every matrix."""

from __future__ import annotations

import numpy as np

from engines.pictures.pixels import Colours
from engines.pictures.raw import RawPicture
from engines.pictures.yuv import KR_KB, YCGCO
from engines.types import Size

COLOURS = [Colours(matrix, is_full) for matrix in (*KR_KB, YCGCO) for is_full in (False, True)]
BT601, BT709 = Colours(6, False), Colours(1, False)
RAW = ("bgrx", "nv12", "i420")


def noise_of(format: str, size: Size, colours: Colours = BT709, seed: int = 0, padding: int = 0) -> RawPicture:
    """All values that bytes have, also those that no picture should have. padding: bytes at the end of each row."""
    rng = np.random.default_rng(seed)
    half = (-(-size.height // 2), -(-size.width // 2))
    shapes = {"bgrx": [(size.height, size.width, 4)], "nv12": [(size.height, size.width), (*half, 2)]}
    planes = []
    for shape in shapes.get(format, [(size.height, size.width), half, half]):
        width = int(np.prod(shape[1:]))
        rows = rng.integers(0, 256, (shape[0], width + padding), np.uint8)
        planes.append(rows[:, :width].reshape(shape))
    return RawPicture(format, planes, None if format == "bgrx" else colours)
