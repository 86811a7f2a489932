"""How alike masks are, at low resolution: each is a grid of points in its own box, so it moves and grows with its track.

Boxes of people who pass each other overlap, their masks do not. No mask of the frame's size is made: of N objects N x GRID x GRID
points of the label map are looked up, and only pairs whose boxes overlap are compared.
"""

from __future__ import annotations

import numpy as np

from engines.types import F32, U8, Bools, Size
from realtime.tracking.common.association import Mask, Rows
from realtime.tracking.common.book import GRID

_CENTRES = ((np.arange(GRID) + 0.5) / GRID).astype(np.float32)


def silhouettes(boxes_px: F32, rows: Rows, label_map: U8, frame: Size) -> Bools:
    """The masks of the objects at `rows` in their boxes. boxes_px: (M, 4). Returns (M, GRID, GRID) bool, from the top down.

    All False where the label map shows nothing of an object: its mask is not known.
    """
    if label_map.size <= 1 or not len(rows):
        return np.zeros((len(rows), GRID, GRID), bool)
    points = grid_points(boxes_px, Size.of(label_map), frame)
    seen: Bools = label_map.reshape(-1).take(points) == (rows + 1)[:, None, None]
    return seen


def grid_points(boxes_px: F32, map_size: Size, frame: Size) -> Rows:
    """Where the boxes' points lie in a flattened map of `map_size` that spans the frame: (M, GRID, GRID), from the top down.

    For `take`, which is several times as fast as looking points up by row and column.
    """
    scale = np.array((map_size.width / frame.width, map_size.height / frame.height), np.float32)
    low, side = boxes_px[:, :2] * scale, (boxes_px[:, 2:] - boxes_px[:, :2]) * scale
    points = low[:, :, None] + side[:, :, None] * _CENTRES
    last = np.array(((map_size.width - 1,), (map_size.height - 1,)), np.float32)
    cells = np.minimum(np.maximum(points, 0), last).astype(np.intp)
    return (cells[:, 1] * map_size.width)[:, :, None] + cells[:, 0, None, :]


def are_known(masks: Bools) -> Mask:
    """(M,) which of (M, GRID, GRID) show anything."""
    return np.asarray(masks.reshape(len(masks), GRID * GRID).any(axis=1), bool)


def mask_overlap(known: Bools, boxes_a: F32, seen: Bools, boxes_b: F32) -> F32:
    """IoU of the masks of K tracks and of their K detections; NaN where one is not known.

    known: (K, GRID, GRID) masks of tracks, in their boxes_a (K, 4), where they should be now. seen: the same of detections, in
    boxes_b. Counted at the points of the detections' grids. Returns (K,) float32 in [0, 1].
    """
    side_a, side_b = boxes_a[:, 2:] - boxes_a[:, :2], boxes_b[:, 2:] - boxes_b[:, :2]
    # the detections' points in the tracks' grids, within a rim of one cell: what lies beyond the borders is outside of the mask
    low, step = (boxes_b[:, :2] - boxes_a[:, :2]) / side_a, side_b / side_a
    points = (low[:, :, None] + step[:, :, None] * _CENTRES) * GRID + 1
    cells = np.minimum(np.maximum(points, 0), GRID + 1).astype(np.intp)
    rimmed = np.zeros((len(known), GRID + 2, GRID + 2), bool)
    rimmed[:, 1:-1, 1:-1] = known
    row_starts = cells[:, 1] * (GRID + 2) + np.arange(0, rimmed.size, (GRID + 2) ** 2)[:, None]
    hit = rimmed.reshape(-1).take(row_starts[:, :, None] + cells[:, 0, None, :])
    hit &= seen
    area_a, area_b = _filled(known) * side_a.prod(axis=1), _filled(seen) * side_b.prod(axis=1)
    shared = _filled(hit) * side_b.prod(axis=1)
    overlap: F32 = np.minimum(shared / np.maximum(area_a + area_b - shared, np.float32(1e-9)), 1)
    overlap[(area_a == 0) | (area_b == 0)] = np.nan
    return overlap


def _filled(masks: Bools) -> F32:
    """(K,) float32, the share of each mask that is set."""
    share: F32 = masks.reshape(len(masks), GRID * GRID).sum(axis=1, dtype=np.float32) / np.float32(GRID * GRID)
    return share
