"""How alike objects look: the mean colours of their upper and of their lower halves. Six numbers, cheap enough for every frame.

On two clips of pedestrians seen again after a second, the right one of all people in the picture was the nearest in these colours
84 and 85 times in a hundred; histograms of the same points reached 88 and 60.
"""

from __future__ import annotations

import numpy as np

from engines.types import F32, Image, Size
from realtime.tracking.common.book import GRID, LOOK
from realtime.tracking.common.silhouettes import Silhouettes, grid_points

_HALVES = (slice(GRID // 10, GRID // 2), slice(GRID // 2, GRID - GRID // 10))
"""Rows of a silhouette: its first and last ones are mostly background."""

_SCALE = 10.0
"""Grey levels by which two looks differ to be alike by 1 / e."""


def looks(image: Image, boxes_px: F32, masks: Silhouettes) -> F32:
    """The look of each object. boxes_px: (M, 4). masks: (M, GRID, GRID); where one is not known, the middle of the box counts.

    Returns (M, LOOK) float32 in 0..255: blue, green, red of the upper half, then of the lower one.
    """
    look = np.zeros((len(boxes_px), LOOK), np.float32)
    if not len(boxes_px):
        return look
    x, y = grid_points(boxes_px, Size.of(image), Size.of(image))
    colours = image[y[:, :, None], x[:, None, :]]
    counted = masks.copy()
    counted[~masks.any(axis=(1, 2))] = _middle()
    for half, rows in enumerate(_HALVES):
        weight = counted[:, rows].reshape(len(counted), 1, -1).astype(np.float32)
        total = np.matmul(weight, colours[:, rows].reshape(len(counted), weight.shape[2], 3).astype(np.float32))[:, 0]
        look[:, 3 * half : 3 * half + 3] = total / np.maximum(weight.sum(axis=2), 1)
    return look


def likeness(known: F32, seen: F32) -> F32:
    """(..., LOOK) and (..., LOOK), broadcast against each other -> (...) float32 in (0, 1], 1 where two look the same."""
    alike: F32 = np.exp(np.abs(known - seen).mean(axis=-1) * np.float32(-1 / _SCALE))
    return alike


def _middle() -> Silhouettes:
    middle = np.zeros((GRID, GRID), bool)
    middle[:, 3 * GRID // 10 : 7 * GRID // 10] = True
    return middle
