"""Blending: colours over a picture, each pixel with its own weight: 0 changes nothing, 255 covers. All in whole numbers."""

from __future__ import annotations

import cv2
import numpy as np

from engines.types import U8, Image, Size

Bgr = tuple[int, int, int]


def plain(colour: Bgr, size: Size) -> Image:
    """A new picture of one colour: NumPy's `full` takes 40 times as long."""
    picture: Image = cv2.repeat(np.array([[colour]], np.uint8), size.height, size.width)
    return picture


def blend_picture(region: Image, over: Image, weight: U8) -> None:
    """Write `over` into `region`, both (h, w, 3), as far as `weight` (h, w) says: 255 wholly."""
    weights = cv2.merge((weight, weight, weight))
    _blend(region, cv2.multiply(over, weights, scale=1 / 255), weights)


def blend_colour(region: Image, colour: Bgr, weight: U8) -> None:
    """The same with one colour, a little faster."""
    toward = cv2.merge([cv2.convertScaleAbs(weight, alpha=value / 255) for value in colour])
    _blend(region, toward, cv2.merge((weight, weight, weight)))


def _blend(region: Image, toward: Image, weights: Image) -> None:
    """region - region x weight + what it goes to x weight: one rounding each, and no floats, which take twice as long."""
    away = cv2.multiply(region, weights, scale=1 / 255)
    cv2.subtract(region, away, dst=region)
    cv2.add(region, toward, dst=region)
