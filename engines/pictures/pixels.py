"""What the bytes of a picture mean."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from engines.types import U8

Scratch: TypeAlias = dict[int, U8]
"""Arrays that are used again for the next picture: 0 for the merged planes, 1 and 2 for the spread chroma. Of one thread."""


class Colours(NamedTuple):
    """What the numbers of a YUV picture mean. matrix: H.273's number, of `yuv.KR_KB` or YCgCo. is_full: 0..255, not 16..235."""

    matrix: int
    is_full: bool


class Pixels(NamedTuple):
    """How to read a picture's bytes, planes one after another without padding, and make BGR of them in whole numbers.

    format: of `raw.FORMATS`. Of YUV: B, G, R = (weights (3, 3) x (Y, Cb, Cr) + offsets) >> shift, cut to 0..255; a Y below
    `least_luma` counts as that. These are the numbers of OpenCV's own arithmetic, so the result is the same bit for bit.
    """

    format: str
    weights: tuple[int, ...] = (0,) * 9
    offsets: tuple[int, ...] = (0,) * 3
    shift: int = 0
    least_luma: int = 0
