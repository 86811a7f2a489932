"""Pixels: pictures made smaller, and colours blended over a picture. Each pixel has a weight: 0 changes nothing, 255 covers."""

import cv2
import numpy as np

from engines.types import U8, Image, Size

Bgr = tuple[int, int, int]

INTERPOLATION_LIMIT = 1.6
"""Up to this reduction bilinear interpolation alone counts every pixel, each for 2 - 1.6 = 0.4 at least. At 2, it could skip
every other line."""


def colour_of(bgr: U8) -> Bgr:
    """A row of a colour table as a tuple."""
    blue, green, red = bgr.tolist()
    return blue, green, red


def resized(image: U8, size: Size) -> U8:
    """`image` (H, W, 3) at `size`, in a new array. Enlarged by cubic interpolation: sharper than linear, at the same cost."""
    if Size.of(image) == size:
        return image.copy()
    return scaled(image, size, cv2.INTER_CUBIC) if size.width > image.shape[1] else shrunk(image, size)


def shrunk(image: U8, size: Size) -> U8:
    """`image` (H, W) or (H, W, 3) at `size`, which is not larger; `image` itself if it has that size.

    OpenCV's averaging (INTER_AREA) in one step takes four to six times as long. A small reduction is interpolated. A larger one
    takes two steps: interpolated to twice the size, then averaged. At a fourth of the size that is the average of all pixels;
    further down it skips some, but counts enough of them that nothing flickers.
    """
    if Size.of(image) == size:
        return image
    if max(image.shape[1] / size.width, image.shape[0] / size.height) <= INTERPOLATION_LIMIT:
        return scaled(image, size, cv2.INTER_LINEAR)
    return scaled(scaled(image, Size(2 * size.width, 2 * size.height), cv2.INTER_LINEAR), size, cv2.INTER_AREA)


def scaled(image: U8, size: Size, interpolation: int) -> U8:
    """`image` (H, W) or (H, W, 3) at `size`, in a new array, by one of OpenCV's interpolations."""
    resized: U8 = cv2.resize(image, (size.width, size.height), interpolation=interpolation)
    return resized


def occupied(mask: U8, around: int, size: Size) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Rows and columns of the part of `mask` that is not 0, `around` cells larger; and of that part of a picture of `size`.

    None when that part has no pixel.
    """
    grid, (x, y, width, height) = Size.of(mask), cv2.boundingRect(mask)
    left, top = max(0, x - around), max(0, y - around)
    right, bottom = min(grid.width, x + width + around), min(grid.height, y + height + around)
    x0, x1 = (round(edge * size.width / grid.width) for edge in (left, right))
    y0, y1 = (round(edge * size.height / grid.height) for edge in (top, bottom))
    if not width or x1 <= x0 or y1 <= y0:
        return None
    return (slice(top, bottom), slice(left, right)), (slice(y0, y1), slice(x0, x1))


def plain(colour: Bgr, size: Size) -> Image:
    """A new picture of one colour. NumPy's `full` takes 40 times as long."""
    picture: Image = cv2.repeat(np.array([[colour]], np.uint8), size.height, size.width)
    return picture


def blend_picture(region: Image, over: Image, weight: U8) -> None:
    """Blend `over` into `region`, both (h, w, 3), with `weight` (h, w)."""
    weights = cv2.merge((weight, weight, weight))
    _blend(region, cv2.multiply(over, weights, scale=1 / 255), weights)


def blend_colour(region: Image, colour: Bgr, weight: U8) -> None:
    """Blend one colour into `region`; a little faster than `blend_picture`."""
    weighted = cv2.merge([cv2.convertScaleAbs(weight, alpha=value / 255) for value in colour])
    _blend(region, weighted, cv2.merge((weight, weight, weight)))


def _blend(region: Image, weighted: Image, weights: Image) -> None:
    """region - region x weight + weighted: one rounding each, in integers, since floats take twice as long."""
    covered = cv2.multiply(region, weights, scale=1 / 255)
    cv2.subtract(region, covered, dst=region)
    cv2.add(region, weighted, dst=region)
