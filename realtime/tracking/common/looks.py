"""How alike objects look: the mean colours of their upper and of their lower halves. Six numbers, cheap enough for every frame.

On two clips of pedestrians seen again after a second, the right one of all people in the picture was the nearest in these colours
84 and 85 times in a hundred; histograms of the same points reached 88 and 60.
"""

from __future__ import annotations

import numpy as np

from engines.types import F32, Bools, Image, Size
from realtime.tracking.common.book import GRID, LOOK
from realtime.tracking.common.silhouettes import are_known, grid_points

_INNER = slice(GRID // 10, GRID - GRID // 10)
"""Rows of a silhouette that count: its first and last ones are mostly background."""

_SCALE = 10.0
"""Grey levels by which two looks differ to be alike by 1 / e."""


def looks(image: Image, boxes_px: F32, masks: Bools) -> F32:
    """The look of each object. boxes_px: (M, 4). masks: (M, GRID, GRID); where one is not known, the middle of the box counts.

    Returns (M, LOOK) float32 in 0..255: blue, green, red of the upper half, then of the lower one.
    """
    count = len(boxes_px)
    if not count:
        return np.zeros((0, LOOK), np.float32)
    points = grid_points(boxes_px, Size.of(image), Size.of(image))[:, _INNER]
    colours = image.reshape(-1, 3).take(points.reshape(2 * count, -1), axis=0)  # a row of points for each half
    counted = masks.copy()
    counted[~are_known(masks)] = _middle()
    weight = counted[:, _INNER].reshape(2 * count, 1, -1).astype(np.float32)
    total = np.matmul(weight, colours.astype(np.float32))
    look: F32 = total / np.maximum(weight.sum(axis=2, keepdims=True), 1)
    return look.reshape(count, LOOK)


def likeness(known: F32, seen: F32) -> F32:
    """(..., LOOK) and (..., LOOK), broadcast against each other -> (...) float32 in (0, 1], 1 where two look the same."""
    alike: F32 = np.exp(np.abs(known - seen).mean(axis=-1) * np.float32(-1 / _SCALE))
    return alike


def _middle() -> Bools:
    middle = np.zeros((GRID, GRID), bool)
    middle[:, 3 * GRID // 10 : 7 * GRID // 10] = True
    return middle
