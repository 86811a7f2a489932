"""Scaling: pictures made smaller, fast; and how large what is drawn must be on a canvas of some size."""

from __future__ import annotations

import math

import cv2

from engines.types import U8, Size

LITTLE = 1.6
"""So many times smaller is a little: of no pixel less than 2 - LITTLE is seen. At 2, every other line could be lost."""


def resized(image: U8, size: Size) -> U8:
    """`image` (H, W, 3) at `size`, in a new array."""
    if Size.of(image) == size:
        return image.copy()
    return _resized(image, size, cv2.INTER_LINEAR) if size.width > image.shape[1] else shrunk(image, size)


def shrunk(image: U8, size: Size) -> U8:
    """`image` (H, W) or (H, W, 3) at `size`, which is no larger; `image` itself if it has that size.

    What OpenCV averages at once (INTER_AREA) takes four to six times as long. A little smaller, interpolation alone counts every
    pixel. Else it goes in two steps, to twice the size and from there: at a fourth that is the average of all pixels; farther
    down it leaves some out, but enough count that nothing flickers.
    """
    if Size.of(image) == size:
        return image
    if max(image.shape[1] / size.width, image.shape[0] / size.height) <= LITTLE:
        return _resized(image, size, cv2.INTER_LINEAR)
    return _resized(_resized(image, Size(2 * size.width, 2 * size.height), cv2.INTER_LINEAR), size, cv2.INTER_AREA)


def _resized(image: U8, size: Size, how: int) -> U8:
    resized: U8 = cv2.resize(image, (size.width, size.height), interpolation=how)
    return resized


def unit(canvas: Size) -> float:
    """1 on a canvas of 1280x720, and proportional to the root of the area: lines and letters grow with the picture, and a phone's
    upright one gets no thicker ones than the same lying down."""
    return math.sqrt(canvas.width * canvas.height) / 960


def stroke_px(canvas: Size) -> int:
    """Of boxes and trails: 2 at 720p."""
    return max(1, round(2 * unit(canvas)))


def rim_px(canvas: Size) -> int:
    """Of masks' contours: 1 at 720p, 2 at 1080p."""
    return max(1, round(1.1 * unit(canvas)))


def text_px(canvas: Size) -> int:
    """Height of letters: 16 at 720p, and never too small to read."""
    return max(11, round(16 * unit(canvas)))
