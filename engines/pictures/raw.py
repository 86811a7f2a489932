"""Raw pictures: as a camera or a decoder gives them. Converted to BGR once, when and if somebody needs it (`yuv`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from engines.pictures.pixels import Colours, Pixels
from engines.types import U8, Image, Size

FORMATS = ("bgr", "bgrx", "nv12", "i420")
"""What the GPU's kernel reads; the position is its number there."""

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
        from engines.pictures import yuv

        return yuv.pixels(self.format, self.colours, yuv.is_even(self.size))

    def bgr(self) -> Image:
        """It as BGR: a new array at the first call, and the same one from then on. Any thread. Raises MemoryError."""
        from engines.pictures import yuv  # OpenCV takes 0.1 s to import, and who only names this type needs none of it

        with self._lock:
            if self._bgr is None:
                self._bgr = yuv.bgr_of(self.planes, self.colours, _own.__dict__.setdefault("scratch", {}))
            return self._bgr

    def part(self, rows: slice, columns: slice) -> Image:
        """As `bgr()[rows, columns]`, with only that part converted; limited BT.601 may be a level off, but always the same."""
        from engines.pictures import yuv

        is_exact = self.colours is None or not yuv.uses_opencv(self.colours, yuv.is_even(self.size))
        if is_exact and (bgr := self._bgr) is not None:
            return bgr[rows, columns]
        luma = np.ascontiguousarray(self.planes[0][rows, columns])
        parts = [luma if is_exact else np.maximum(luma, 16)]  # as OpenCV does
        half = (np.arange(length)[part] // 2 for length, part in zip(self.planes[0].shape, (rows, columns), strict=False))
        cells = np.ix_(*half)
        parts += [plane[cells] for plane in self.planes[1:]]
        return yuv.bgr_of_444(parts, self.colours, {})


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


def _shapes(format: str, size: Size) -> list[tuple[int, ...]]:
    half = (-(-size.height // 2), -(-size.width // 2))
    whole = (size.height, size.width)
    known: dict[str, list[tuple[int, ...]]] = {"bgrx": [(*whole, 4)], "nv12": [whole, (*half, 2)], "i420": [whole, half, half]}
    return known.get(format, [])
