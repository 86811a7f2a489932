"""Which detection belongs to which object: overlaps, and the best one-to-one assignment above a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from engines.types import F32

Rows: TypeAlias = npt.NDArray[np.intp]
Boxes: TypeAlias = npt.NDArray[np.floating]
Bonus: TypeAlias = Callable[[Rows, Rows], F32]
"""(K,) rows and (K,) columns -> (K,) float32, 0 or more."""

Mask: TypeAlias = npt.NDArray[np.bool_]

_TINY = np.float32(1e-12)
"""Boxes without area share nothing of nothing: 0 / _TINY is 0."""


def iou_matrix(boxes_a: Boxes, boxes_b: Boxes, pad: F32 | None = None) -> F32:
    """Intersection over union of each pair. (N, 4) and (M, 4) corners in the same unit -> (N, M) float32 in [0, 1]; a new array.

    pad: (N, 2) float32, the width and height added on each side of box i of a, and of each box of b when compared with it. Two
    boxes that moved apart by less than their padding still overlap, the less the farther their centres lie from each other,
    where plain boxes would not overlap at all. Boxes without area overlap nothing.
    Source: C-BIoU (Yang et al., 2023), section 3.1.
    """
    x_a, y_a, x_max_a, y_max_a = boxes_a.astype(np.float32).T[:, :, None]
    x_b, y_b, x_max_b, y_max_b = boxes_b.astype(np.float32).T[:, None, :]
    wider, higher = np.zeros((2, len(boxes_a), 1), np.float32) if pad is None else 2 * pad.T[:, :, None]
    # both boxes of a pair are padded alike, so the padding moves out of minimum and maximum
    shared = _shared_length(x_a, x_max_a, x_b, x_max_b, wider)
    shared *= _shared_length(y_a, y_max_a, y_b, y_max_b, higher)
    union: F32 = (x_max_b - x_b + wider) * (y_max_b - y_b + higher)
    union += (x_max_a - x_a + wider) * (y_max_a - y_a + higher)
    union -= shared
    shared /= np.maximum(union, _TINY, out=union)
    return np.minimum(shared, 1, out=shared)


def _shared_length(low_a: F32, high_a: F32, low_b: F32, high_b: F32, padding: F32 | np.float32) -> F32:
    length: F32 = np.minimum(high_a, high_b)
    length -= np.maximum(low_a, low_b)
    length += padding
    return np.maximum(length, 0, out=length)


def containment(boxes_a: Boxes, boxes_b: Boxes) -> F32:
    """The share of each box of a that lies in each box of b. (N, 4), (M, 4) corners -> (N, M) float32 in [0, 1]; a new array."""
    x_a, y_a, x_max_a, y_max_a = boxes_a.astype(np.float32).T[:, :, None]
    x_b, y_b, x_max_b, y_max_b = boxes_b.astype(np.float32).T[:, None, :]
    none = np.float32(0)
    shared: F32 = _shared_length(x_a, x_max_a, x_b, x_max_b, none)
    shared *= _shared_length(y_a, y_max_a, y_b, y_max_b, none)
    shared /= np.maximum((x_max_a - x_a) * (y_max_a - y_a), _TINY)
    return np.minimum(shared, 1, out=shared)


def assign(similarity: F32, gate: float, bonus: Bonus | None = None) -> tuple[Rows, Rows]:
    """The one-to-one pairs with the greatest sum of similarity and bonus, none with a similarity below `gate` (> 0).

    similarity: (N, M), higher is more alike. bonus: what else speaks for pairs that compete; not asked about others.
    Returns (K,) row and (K,) column indices.
    A pair that excludes no other is taken at once; only crowds, where rows compete for columns, cost an assignment problem.
    """
    allowed = similarity >= gate
    if not allowed.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    per_row, per_column = allowed.sum(axis=1), allowed.sum(axis=0)
    rows, columns = np.nonzero(allowed)
    alone = (per_row[rows] == 1) & (per_column[columns] == 1)
    if alone.all():
        return rows, columns
    per_row[rows[alone]] = per_column[columns[alone]] = 0
    crowd_rows, crowd_columns = np.flatnonzero(per_row), np.flatnonzero(per_column)
    crowd = np.ix_(crowd_rows, crowd_columns)
    gain = np.where(allowed[crowd], similarity[crowd], 0)
    if bonus is not None:
        i, j = np.nonzero(gain)
        gain[i, j] += bonus(crowd_rows[i], crowd_columns[j])
    i, j = linear_sum_assignment(gain, maximize=True)
    real = gain[i, j] > 0
    return (
        np.concatenate((rows[alone], crowd_rows[i[real]])),
        np.concatenate((columns[alone], crowd_columns[j[real]])),
    )


class Pairing:
    """Tracks and detections that find each other in rounds; each at most once."""

    def __init__(self, tracks: int, detections: int) -> None:
        self.free_tracks = np.ones(tracks, bool)
        self.free_seen = np.ones(detections, bool)
        self._pairs: list[tuple[Rows, Rows]] = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]

    def match(self, tracks: Mask, detections: Mask, overlap: F32, gate: float, bonus: Bonus) -> None:
        """One round among those that are still free. tracks: (N,), detections: (M,) bool; overlap: (N, M)."""
        i, j = self.free(tracks, detections)
        if len(i) and len(j):
            self.take(i, j, overlap[np.ix_(i, j)], gate, lambda rows, columns: bonus(i[rows], j[columns]))

    def free(self, tracks: Mask, detections: Mask) -> tuple[Rows, Rows]:
        """The indices of those of `tracks` (N,) and `detections` (M,) that are still free."""
        return np.flatnonzero(self.free_tracks & tracks), np.flatnonzero(self.free_seen & detections)

    def take(self, i: Rows, j: Rows, overlap: F32, gate: float, bonus: Bonus | None = None) -> None:
        """One round among the tracks `i` and the detections `j`, all free. overlap: (len(i), len(j))."""
        a, b = assign(overlap, gate, bonus)
        self.free_tracks[i[a]] = self.free_seen[j[b]] = False
        self._pairs.append((i[a], j[b]))

    def pairs(self) -> tuple[Rows, Rows]:
        """(K,) indices of tracks and of their detections."""
        return np.concatenate([a for a, _ in self._pairs]), np.concatenate([b for _, b in self._pairs])
