"""Scaling: pictures made smaller, fast; and how large what is drawn must be on a canvas of some size."""

from __future__ import annotations

import math

import cv2

from engines.types import U8, Size


def shrunk(image: U8, size: Size) -> U8:
    """`image` (H, W) or (H, W, 3) at `size`, which is no larger; `image` itself if it has that size.

    What OpenCV averages in one step (INTER_AREA) takes four to six times as long. Down to a half, interpolation counts every
    pixel; to less than that, it goes in two steps, to twice the size and from there: at a fourth that is the average of all
    pixels. Farther down it leaves some out, but enough count that nothing flickers.
    """
    if Size.of(image) == size:
        return image
    if image.shape[1] < 2 * size.width or image.shape[0] < 2 * size.height:
        small: U8 = cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR)
        return small
    halfway = cv2.resize(image, (2 * size.width, 2 * size.height), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(halfway, (size.width, size.height), interpolation=cv2.INTER_AREA)
    return small


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
