"""How alike masks are, at low resolution: each is a grid of points in its own box, so it moves and grows with its track.

Boxes of people who pass each other overlap, their masks do not. No mask of the frame's size is made: of N objects N x GRID x GRID
points of the label map are looked up, and only pairs whose boxes overlap are compared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.types import F32, U8, Size
from realtime.tracking.common.association import Rows
from realtime.tracking.common.book import GRID

Silhouettes = npt.NDArray[np.bool_]

_CENTRES = ((np.arange(GRID) + 0.5) / GRID).astype(np.float32)


def silhouettes(boxes_px: F32, rows: Rows, label_map: U8, frame: Size) -> Silhouettes:
    """The masks of the objects at `rows` in their boxes. boxes_px: (M, 4). Returns (M, GRID, GRID) bool, from the top down.

    All False where the label map shows nothing of an object: its mask is not known.
    """
    if label_map.size <= 1 or not len(rows):
        return np.zeros((len(rows), GRID, GRID), bool)
    x, y = grid_points(boxes_px, Size.of(label_map), frame)
    seen: Silhouettes = label_map[y[:, :, None], x[:, None, :]] == (rows + 1)[:, None, None]
    return seen


def grid_points(boxes_px: F32, map_size: Size, frame: Size) -> tuple[Rows, Rows]:
    """The columns x and the rows y, (M, GRID) each, of the boxes' points in a map of `map_size` that spans the frame."""
    scale = np.array((map_size.width / frame.width, map_size.height / frame.height), np.float32)
    low, side = boxes_px[:, :2] * scale, (boxes_px[:, 2:] - boxes_px[:, :2]) * scale
    points = low[:, :, None] + side[:, :, None] * _CENTRES
    x = np.clip(points[:, 0], 0, map_size.width - 1).astype(np.intp)
    y = np.clip(points[:, 1], 0, map_size.height - 1).astype(np.intp)
    return x, y


def mask_overlap(known: Silhouettes, boxes_a: F32, seen: Silhouettes, boxes_b: F32) -> F32:
    """IoU of the masks of K tracks and of their K detections; NaN where one is not known.

    known: (K, GRID, GRID) masks of tracks, in their boxes_a (K, 4), where they should be now. seen: the same of detections, in
    boxes_b. Counted at the points of the detections' grids. Returns (K,) float32 in [0, 1].
    """
    side_a, side_b = boxes_a[:, 2:] - boxes_a[:, :2], boxes_b[:, 2:] - boxes_b[:, :2]
    # the detections' points in the tracks' grids: one beyond the borders lies outside of the track's mask
    scale = side_b / side_a * GRID
    low = (boxes_b[:, :2] - boxes_a[:, :2]) / side_a * GRID
    cell = np.floor(low[:, :, None] + scale[:, :, None] * _CENTRES).astype(np.intp)
    inside = (cell >= 0) & (cell < GRID)
    cell = np.clip(cell, 0, GRID - 1)
    hit = known[np.arange(len(known))[:, None, None], cell[:, 1][:, :, None], cell[:, 0][:, None, :]]
    hit &= inside[:, 1][:, :, None] & inside[:, 0][:, None, :]
    hit &= seen
    filled_a, filled_b = known.mean(axis=(1, 2)), seen.mean(axis=(1, 2))
    area_a, area_b = filled_a * side_a.prod(axis=1), filled_b * side_b.prod(axis=1)
    shared = hit.mean(axis=(1, 2)) * side_b.prod(axis=1)
    overlap: F32 = np.minimum(shared / np.maximum(area_a + area_b - shared, 1e-9), 1).astype(np.float32)
    overlap[(filled_a == 0) | (filled_b == 0)] = np.nan
    return overlap
