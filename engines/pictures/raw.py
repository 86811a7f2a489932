"""Raw pictures: as a camera or a decoder gives them, and their way to BGR. Converted once, when and if somebody needs BGR.

CPU time of a 720p picture, 4:2:0 to BGR: 1.2 ms with OpenCV's converter (BT.601 in limited range and even sizes only), 1.7 with
the matrix product below.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import U8, Image, Size

LIMITED_BT601 = (5, 6)
"""H.273's numbers of BT.601's matrix: 625 and 525 lines."""

YCGCO = 8

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC, NTSC 1953
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),
}
"""H.273's number of a matrix → the weights of red and blue in luma."""

FORMATS = ("bgr", "bgrx", "nv12", "i420")
"""What the GPU's kernel reads; the position is its number there."""

Scratch: TypeAlias = dict[int, U8]
"""Arrays that are used again for the next picture: 0 for the merged planes, 1 and 2 for the spread chroma. Of one thread."""


class Colours(NamedTuple):
    """What the numbers of a YUV picture mean. matrix: H.273's number, of `KR_KB` or YCgCo. is_full: 0..255, not 16..235."""

    matrix: int
    is_full: bool


class Pixels(NamedTuple):
    """How to read a picture's bytes, planes one after another without padding, and make BGR of them in whole numbers.

    format: of `FORMATS`. Of YUV: B, G, R = (weights (3, 3) x (Y, Cb, Cr) + offsets) >> shift, cut to 0..255; a Y below
    `least_luma` counts as that. These are the numbers of OpenCV's own arithmetic, so the result is the same bit for bit.
    """

    format: str
    weights: tuple[int, ...] = (0,) * 9
    offsets: tuple[int, ...] = (0,) * 3
    shift: int = 0
    least_luma: int = 0


BGR = Pixels("bgr")


class RawPicture:
    """A picture in a camera's or decoder's own format. Nobody writes into it.

    format, planes: "bgrx": (H, W, 4). "nv12": Y (H, W) and CbCr (h, w, 2). "i420": Y, Cb (h, w), Cr (h, w); h and w are half of
        H and W, rounded up. uint8; rows may be apart, elements of a row are not.
    colours: of YUV.
    """

    __slots__ = ("_bgr", "_lock", "colours", "format", "planes", "size")

    def __init__(self, format: str, planes: Sequence[U8], colours: Colours | None = None) -> None:
        """Raises ValueError for planes that are not those of the format."""
        self.format, self.planes, self.colours = format, tuple(planes), colours
        self.size = Size.of(self.planes[0])
        shapes = [plane.shape for plane in self.planes]
        is_bytes = all(plane.dtype == np.uint8 for plane in self.planes)
        if not is_bytes or shapes != _shapes(format, self.size) or (colours is None) != (format == "bgrx"):
            raise ValueError(f"a picture in {format} with planes of {shapes}")
        self._bgr: Image | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Its bytes; those of its BGR as well, once that is there."""
        bgr = self._bgr
        return sum(plane.nbytes for plane in self.planes) + (0 if bgr is None else bgr.nbytes)

    @property
    def pixels(self) -> Pixels:
        """How to read its bytes."""
        if self.colours is None:
            return Pixels(self.format)
        return _pixels(self.format, self.colours, _is_even(self.size))

    def bgr(self) -> Image:
        """It as BGR: a new array at the first call, and the same one from then on. Any thread. Raises MemoryError."""
        with self._lock:
            if self._bgr is None:
                try:
                    self._bgr = self._converted(self.planes, _own.__dict__.setdefault("scratch", {}))
                except cv2.error as error:
                    raise MemoryError(str(error)) from error  # nothing else can fail: the shapes have been checked
            return self._bgr

    def part(self, rows: slice, columns: slice) -> Image:
        """As `bgr()[rows, columns]`, with only that part converted; limited BT.601 may be a level off, but always the same."""
        is_exact = self.colours is None or not _uses_opencv(self.colours, _is_even(self.size))
        if is_exact and (bgr := self._bgr) is not None:
            return bgr[rows, columns]
        luma = np.ascontiguousarray(self.planes[0][rows, columns])
        parts = [luma if is_exact else np.maximum(luma, 16)]  # as OpenCV does
        half = (np.arange(length)[part] // 2 for length, part in zip(self.planes[0].shape, (rows, columns), strict=False))
        cells = np.ix_(*half)
        parts += [plane[cells] for plane in self.planes[1:]]
        return _bgr_of_444(parts, self.colours, {})

    def _converted(self, planes: tuple[U8, ...], scratch: Scratch) -> Image:
        if self.colours is None:
            return np.asarray(cv2.cvtColor(planes[0], cv2.COLOR_BGRA2BGR), np.uint8)
        return yuv_to_bgr(planes, (2, 2), self.colours, scratch)


PictureLike: TypeAlias = Image | RawPicture
"""BGR, or a picture that can be made BGR."""

_own = threading.local()


def as_image(picture: PictureLike) -> Image:
    """The picture as BGR."""
    return picture.bgr() if isinstance(picture, RawPicture) else picture


def size_of(picture: PictureLike) -> Size:
    """The size of a picture; nothing is converted for it."""
    return picture.size if isinstance(picture, RawPicture) else Size.of(picture)


def part_of(picture: PictureLike, rows: slice, columns: slice) -> Image:
    """The BGR pixels of some rows and columns of a picture; no more of it is converted."""
    return picture.part(rows, columns) if isinstance(picture, RawPicture) else picture[rows, columns]


def pixels_of(picture: PictureLike) -> Pixels:
    """How to read the bytes of a picture."""
    return picture.pixels if isinstance(picture, RawPicture) else BGR


def planes_of(picture: PictureLike) -> tuple[U8, ...]:
    """A picture's planes; of BGR the one that it is."""
    return picture.planes if isinstance(picture, RawPicture) else (picture,)


def yuv_to_bgr(planes: Sequence[U8], step: tuple[int, int], colours: Colours, scratch: Scratch) -> Image:
    """A YUV picture of 8 bits as BGR, a new array; each chroma sample has the pixels that it was taken of.

    planes: Y (H, W), then Cb and Cr, or both in one (h, w, 2). step: columns and rows of Y for each of them.
    """
    height, width = planes[0].shape
    if step == (2, 2) and _uses_opencv(colours, _is_even(Size(width, height))):
        if len(planes) == 2:
            return np.asarray(cv2.cvtColorTwoPlane(planes[0], planes[1], cv2.COLOR_YUV2BGR_NV12), np.uint8)
        whole = np.empty((height * 3 // 2, width), np.uint8)
        start = 0
        for plane in planes:
            np.copyto(whole.reshape(-1)[start : start + plane.size].reshape(plane.shape), plane)
            start += plane.size
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_I420), np.uint8)
    spread = [planes[0]]
    for number, plane in enumerate(planes[1:], 1):
        if step != (1, 1):
            wide = (plane.shape[1] * step[0], plane.shape[0] * step[1])
            # OpenCV writes into an array of the right size, and makes a new one in place of any other.
            scratch[number] = np.asarray(cv2.resize(plane, wide, dst=scratch.get(number), interpolation=cv2.INTER_NEAREST))
            plane = scratch[number][:height, :width]
        spread.append(plane)
    return _bgr_of_444(spread, colours, scratch)


def _bgr_of_444(planes: Sequence[U8], colours: Colours | None, scratch: Scratch) -> Image:
    """BGR of planes that all have the picture's size; BGRx where there are no colours."""
    if colours is None:
        return np.ascontiguousarray(planes[0][..., :3])
    scratch[0] = np.asarray(cv2.merge(list(planes), dst=scratch.get(0)), np.uint8)
    return np.asarray(cv2.transform(scratch[0], _matrix(colours)), np.uint8)


def _shapes(format: str, size: Size) -> list[tuple[int, ...]]:
    half = (-(-size.height // 2), -(-size.width // 2))
    whole = (size.height, size.width)
    known: dict[str, list[tuple[int, ...]]] = {"bgrx": [(*whole, 4)], "nv12": [whole, (*half, 2)], "i420": [whole, half, half]}
    return known.get(format, [])


def _is_even(size: Size) -> bool:
    return size.width % 2 == 0 and size.height % 2 == 0


def _uses_opencv(colours: Colours, is_even: bool) -> bool:
    return is_even and not colours.is_full and colours.matrix in LIMITED_BT601


@lru_cache(maxsize=32)
def _matrix(colours: Colours) -> npt.NDArray[np.float32]:
    """(3, 4): Y, Cb, Cr and 1 → B, G, R. Source: ITU-T H.273, section 8.3."""
    luma, chroma = (1.0, 1.0) if colours.is_full else (255 / 219, 255 / 224)
    if colours.matrix == YCGCO:  # Cb holds Cg, Cr holds Co
        rows = np.array([[1, -1, -1], [1, 1, 0], [1, -1, 1]], np.float64)
    else:
        kr, kb = KR_KB[colours.matrix]
        kg = 1 - kr - kb
        red, blue = 2 * (1 - kr), 2 * (1 - kb)
        rows = np.array([[1, blue, 0], [1, -kb * blue / kg, -kr * red / kg], [1, 0, red]], np.float64)
    rows *= (luma, chroma, chroma)
    offset = -rows @ np.array([0 if colours.is_full else 16, 128, 128], np.float64)
    return np.hstack([rows, offset[:, np.newaxis]]).astype(np.float32)


@lru_cache(maxsize=32)
def _pixels(format: str, colours: Colours, is_even: bool) -> Pixels:
    if _uses_opencv(colours, is_even):  # color_yuv.simd.hpp: 1.164, 2.018, -0.391, -0.813 and 1.596 in 20 bits
        weights = np.array([[1220542, 2116026, 0], [1220542, -409993, -852492], [1220542, 0, 1673527]])
        offsets = (1 << 19) - weights @ (16, 128, 128)
        return Pixels(format, tuple(weights.ravel().tolist()), tuple(offsets.tolist()), 20, 16)
    matrix, one = _matrix(colours).astype(np.float64), 1 << 10  # cv2.transform of bytes: weights in 10 bits, the offset rounded
    weights, offsets = np.rint(matrix[:, :3] * one), np.rint((matrix[:, 3] + 0.5) * one)
    return Pixels(format, tuple(int(number) for number in weights.ravel()), tuple(int(number) for number in offsets), 10)
