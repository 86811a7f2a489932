"""Association of detections with tracks: overlaps, and the best one-to-one assignment.

Of N x M pairs only those whose boxes overlap are kept, as lists; only the first step costs N x M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from engines.types import F32, Bools, Floats, Rows


class Pairs(NamedTuple):
    """K pairs of a row of one list and a row of another.

    tracks, seen: (K,) rows. overlap: (K,) float32 in (0, 1].
    """

    tracks: Rows
    seen: Rows
    overlap: F32

    def where(self, chosen: Bools) -> Pairs:
        """The pairs at which `chosen`, (K,), is True."""
        return Pairs(self.tracks[chosen], self.seen[chosen], self.overlap[chosen])

    def joined(self, other: Pairs) -> Pairs:
        """These pairs, then the other ones."""
        tracks, seen = np.concatenate((self.tracks, other.tracks)), np.concatenate((self.seen, other.seen))
        return Pairs(tracks, seen, np.concatenate((self.overlap, other.overlap)))


Bonus: TypeAlias = Callable[[Pairs], F32]
"""(K,) float32, 0 or more: evidence for each pair beside its overlap."""

_TINY = np.float32(1e-12)
"""Boxes without area overlap by 0 / _TINY, which is 0."""


def iou_matrix(boxes_a: Floats, boxes_b: Floats) -> F32:
    """Intersection over union of each pair. (N, 4) and (M, 4) corners in the same unit -> (N, M) float32 in [0, 1]; a new array.

    Boxes without area overlap with none.
    """
    shared, area_a, area_b = _shared_areas(boxes_a, boxes_b)
    union: F32 = area_b + area_a
    union -= shared
    shared /= np.maximum(union, _TINY, out=union)
    return np.minimum(shared, 1, out=shared)


def _shared_areas(boxes_a: Floats, boxes_b: Floats) -> tuple[F32, F32, F32]:
    """(N, M) the shared area of each pair, a new array, and the boxes' areas: (N, 1) and (1, M)."""
    x_a, y_a, x_max_a, y_max_a = boxes_a.astype(np.float32).T[:, :, None]
    x_b, y_b, x_max_b, y_max_b = boxes_b.astype(np.float32).T[:, None, :]
    shared = _shared_length(x_a, x_max_a, x_b, x_max_b)
    shared *= _shared_length(y_a, y_max_a, y_b, y_max_b)
    return shared, (x_max_a - x_a) * (y_max_a - y_a), (x_max_b - x_b) * (y_max_b - y_b)


def _shared_length(low_a: F32, high_a: F32, low_b: F32, high_b: F32) -> F32:
    length: F32 = np.minimum(high_a, high_b)
    length -= np.maximum(low_a, low_b)
    return np.maximum(length, 0, out=length)


def overlapping(boxes_a: Floats, boxes_b: Floats, pad: F32 | None = None) -> Pairs:
    """The pairs that overlap, by row of a, with their IoU. (N, 4) and (M, 4) corners in the same unit.

    pad: (N, 2) float32, the width and height added on each side of box i of a, and of each box of b when compared with it. Boxes
    that moved apart by less than their padding still overlap, by less the farther apart their centres are.
    Source: C-BIoU (Yang et al., 2023), section 3.1.
    """
    a, b = boxes_a.astype(np.float32), boxes_b.astype(np.float32)
    side = np.zeros((len(a), 4), np.float32)
    if pad is not None:
        side[:, :2], side[:, 2:] = -pad, pad
    a += side
    meet = (a + side)[:, :1] < b[:, 2]  # padding the other box too equals padding this one twice
    meet &= (a + side)[:, 2:3] > b[:, 0]
    i, j = np.divmod(np.flatnonzero(meet), np.intp(max(len(b), 1)))
    overlap = np.minimum(pair_iou(a[i], b[j] + side[i]), 1)
    return Pairs(i, j, overlap).where(overlap > 0)


def pair_iou(a: F32, b: F32) -> F32:
    """IoU of each box with its counterpart; (..., 4) corners, broadcast against each other -> (...) float32."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared: F32 = np.maximum(high - low, 0).prod(axis=-1)
    return np.asarray(shared / np.maximum(areas(a) + areas(b) - shared, _TINY), np.float32)


def areas(boxes: F32) -> F32:
    """(..., 4) corners in px -> (...) px2."""
    area: F32 = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area


def containment(boxes_a: Floats, boxes_b: Floats) -> F32:
    """The share of each box of a within each box of b. (N, 4), (M, 4) corners -> (N, M) float32 in [0, 1]; a new array."""
    shared, area_a, _ = _shared_areas(boxes_a, boxes_b)
    shared /= np.maximum(area_a, _TINY)
    return np.minimum(shared, 1, out=shared)


def assign(pairs: Pairs, tracks: int, seen: int, bonus: Bonus | None = None) -> tuple[Rows, Rows]:
    """The one-to-one pairs with the greatest sum of overlap and bonus: (K,) rows of tracks and of detections.

    tracks, seen: the number of rows on each side. A pair without a competitor is taken at once: only competing pairs cost an
    assignment problem and a bonus.
    """
    i, j = pairs.tracks, pairs.seen
    alone = (np.bincount(i, minlength=tracks)[i] == 1) & (np.bincount(j, minlength=seen)[j] == 1)
    if alone.all():
        return i, j
    competing = pairs.where(~alone)
    rows, row = _numbered(competing.tracks, tracks)
    columns, column = _numbered(competing.seen, seen)
    gain = np.zeros((len(rows), len(columns)), np.float32)
    gain[row, column] = competing.overlap if bonus is None else competing.overlap + bonus(competing)
    row, column = linear_sum_assignment(gain, maximize=True)
    real = gain[row, column] > 0
    row, column = row[real], column[real]
    return np.concatenate((i[alone], rows[row])), np.concatenate((j[alone], columns[column]))


def _numbered(values: Rows, count: int) -> tuple[Rows, Rows]:
    """The distinct `values`, all below `count`, and the index of each value among them."""
    distinct = np.flatnonzero(np.bincount(values, minlength=count))
    places = np.zeros(count, np.intp)
    places[distinct] = np.arange(len(distinct))
    return distinct, places[values]


class Pairing:
    """Matches tracks and detections in rounds; each at most once."""

    def __init__(self, tracks: int, seen: int) -> None:
        self.free_tracks = np.ones(tracks, bool)
        self.free_seen = np.ones(seen, bool)
        self._pairs: list[tuple[Rows, Rows]] = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]

    def match(self, pairs: Pairs, bonus: Bonus | None = None) -> None:
        """One round among those of `pairs` whose track and detection are still free."""
        if not len(pairs.tracks):
            return
        free = self.free_tracks[pairs.tracks] & self.free_seen[pairs.seen]
        left = pairs if free.all() else pairs.where(free)
        a, b = assign(left, len(self.free_tracks), len(self.free_seen), bonus)
        self.free_tracks[a] = self.free_seen[b] = False
        self._pairs.append((a, b))

    def pairs(self) -> tuple[Rows, Rows]:
        """(K,) indices of tracks and of their detections."""
        return np.concatenate([a for a, _ in self._pairs]), np.concatenate([b for _, b in self._pairs])
