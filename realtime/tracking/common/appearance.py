"""What objects look like: silhouettes, masks at low resolution, and colours, six numbers for each object.

A silhouette is a grid of points in the object's own box, so it moves and grows with its track. The boxes of people who pass each
other overlap, their masks do not. No mask of the frame's size is made: for N objects, N x GRID x GRID points of the label map are
read, and only pairs whose boxes overlap are compared.

The colours are the means of the upper and of the lower half. On two clips of pedestrians seen again after a second, the right
person of all in the picture was the nearest in these colours in 84 and 85 of 100 cases; with histograms of the same points, in 88
and 60.
"""

import numpy as np

from engines.types import F32, U8, Bools, Image, Rows, Size
from realtime.tracking.common.table import COLOURS, GRID

_CENTRES = ((np.arange(GRID) + 0.5) / GRID).astype(np.float32)

_INNER = slice(GRID // 10, GRID - GRID // 10)
"""Rows of a silhouette that count for colours: the first and the last ones are mostly background."""

_SCALE = 10.0
"""At this difference in grey levels, two sets of colours have a similarity of 1 / e."""


def silhouettes(boxes_px: F32, rows: Rows, label_map: U8, frame: Size) -> Bools:
    """The masks of the objects at `rows` in their boxes. boxes_px: (M, 4). Returns (M, GRID, GRID) bool, from the top down.

    All False where the label map has no pixel of an object: its mask is unknown.
    """
    if label_map.size <= 1 or not len(rows):
        return np.zeros((len(rows), GRID, GRID), bool)
    points = grid_points(boxes_px, Size.of(label_map), frame)
    seen: Bools = label_map.reshape(-1).take(points) == (rows + 1)[:, None, None]
    return seen


def grid_points(boxes_px: F32, map_size: Size, frame: Size) -> Rows:
    """Indices of the boxes' points in a flattened map of `map_size` that spans the frame: (M, GRID, GRID), from the top down.

    For `take`, which is several times as fast as indexing by row and column.
    """
    scale = np.array((map_size.width / frame.width, map_size.height / frame.height), np.float32)
    low, side = boxes_px[:, :2] * scale, (boxes_px[:, 2:] - boxes_px[:, :2]) * scale
    points = low[:, :, None] + side[:, :, None] * _CENTRES
    last = np.array(((map_size.width - 1,), (map_size.height - 1,)), np.float32)
    cells = np.minimum(np.maximum(points, 0), last).astype(np.intp)
    return (cells[:, 1] * map_size.width)[:, :, None] + cells[:, 0, None, :]


def are_known(masks: Bools) -> Bools:
    """(M,) whether each of (M, GRID, GRID) masks has a point."""
    return np.asarray(masks.reshape(len(masks), GRID * GRID).any(axis=1), bool)


def mask_overlap(known: Bools, boxes_a: F32, seen: Bools, boxes_b: F32) -> F32:
    """IoU of the masks of K tracks and of their K detections; NaN where one is unknown.

    known: (K, GRID, GRID) masks of tracks, in their predicted boxes_a (K, 4). seen: masks of detections, in boxes_b. Counted at
    the points of the detections' grids. Returns (K,) float32 in [0, 1].
    """
    side_a, side_b = boxes_a[:, 2:] - boxes_a[:, :2], boxes_b[:, 2:] - boxes_b[:, :2]
    # the detections' points in the tracks' grids, with a border of one cell: points beyond it are outside of the mask
    low, step = (boxes_b[:, :2] - boxes_a[:, :2]) / side_a, side_b / side_a
    points = (low[:, :, None] + step[:, :, None] * _CENTRES) * GRID + 1
    cells = np.minimum(np.maximum(points, 0), GRID + 1).astype(np.intp)
    padded = np.zeros((len(known), GRID + 2, GRID + 2), bool)
    padded[:, 1:-1, 1:-1] = known
    row_starts = cells[:, 1] * (GRID + 2) + np.arange(0, padded.size, (GRID + 2) ** 2)[:, None]
    hit = padded.reshape(-1).take(row_starts[:, :, None] + cells[:, 0, None, :])
    hit &= seen
    area_a, area_b = _filled(known) * side_a.prod(axis=1), _filled(seen) * side_b.prod(axis=1)
    shared = _filled(hit) * side_b.prod(axis=1)
    overlap: F32 = np.minimum(shared / np.maximum(area_a + area_b - shared, np.float32(1e-9)), 1)
    overlap[(area_a == 0) | (area_b == 0)] = np.nan
    return overlap


def _filled(masks: Bools) -> F32:
    """(K,) float32, the filled share of each mask."""
    share: F32 = masks.reshape(len(masks), GRID * GRID).sum(axis=1, dtype=np.float32) / np.float32(GRID * GRID)
    return share


def colours_of(image: Image, boxes_px: F32, masks: Bools) -> F32:
    """The colours of each object. boxes_px: (M, 4). masks: (M, GRID, GRID); where one is unknown, the middle of the box counts.

    Returns (M, COLOURS) float32 in 0..255: blue, green, red of the upper half, then of the lower one.
    """
    count = len(boxes_px)
    if not count:
        return np.zeros((0, COLOURS), np.float32)
    points = grid_points(boxes_px, Size.of(image), Size.of(image))[:, _INNER]
    pixels = image.reshape(-1, 3).take(points.reshape(2 * count, -1), axis=0)  # a row of points for each half
    counted = masks.copy()
    counted[~are_known(masks), :, 3 * GRID // 10 : 7 * GRID // 10] = True
    weight = counted[:, _INNER].reshape(2 * count, 1, -1).astype(np.float32)
    total = np.matmul(weight, pixels.astype(np.float32))
    mean: F32 = total / np.maximum(weight.sum(axis=2, keepdims=True), 1)
    return mean.reshape(count, COLOURS)


def colour_similarity(known: F32, seen: F32) -> F32:
    """(..., COLOURS) and (..., COLOURS), broadcast against each other -> (...) float32 in (0, 1], 1 for equal colours."""
    similarity: F32 = np.exp(np.abs(known - seen).mean(axis=-1) * np.float32(-1 / _SCALE))
    return similarity
