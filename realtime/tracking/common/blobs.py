"""Objects that melt into one detection, and objects cut into pieces: what connected components of a class map do all the time.

Merged: a detection fits a track and one that vanished better together than it fits the track alone. The one it was given to, the
host, keeps it; the other one is its guest: it goes on within the detection, unseen, and is found again when they part.
Pieces: detections beside a track's own one, within the place where the whole of it should be.
All boxes are x_min, y_min, x_max, y_max in px.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engines.types import F32
from realtime.tracking.common.association import Mask, Rows, areas, containment, pair_iou
from realtime.tracking.common.kalman import Motion

_BETTER = 0.1
"""By so much must the IoU rise for two boxes to count as a better explanation than one."""

_APART = 0.5
"""A vanished track is more than this much of itself outside of the host when they melt; else it is hidden, not merged."""

_MERGED_AREA = 1.25
"""A detection this many times as large as its track is not the track alone."""

_CUT_AREA = 0.85
"""A detection less than this part of its track may be a piece of it."""


def hull(a: F32, b: F32) -> F32:
    """The smallest boxes around both, broadcast against each other."""
    return np.concatenate((np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])), axis=-1)


def hosts_of(vanished: F32, predicted: F32, detected: F32, allowed: Mask, least_inside: float) -> Rows:
    """Which of K seen tracks melted with each of C vanished ones, -1: none.

    vanished: (C, 4) where those should be. predicted, detected: (K, 4) where the seen ones should be, and what they were given.
    allowed: (C, K) which may melt at all.
    """
    hosts = np.full(len(vanished), -1, np.intp)
    may_melt = allowed & (containment(vanished, detected) >= least_inside)
    if not may_melt.any():
        return hosts
    may_melt &= containment(vanished, predicted) <= _APART
    i, j = np.nonzero(may_melt)
    gain = np.zeros(may_melt.shape, np.float32)
    gain[i, j] = pair_iou(hull(vanished[i], predicted[j]), detected[j]) - pair_iou(predicted[j], detected[j])
    best = gain.argmax(axis=1)
    better = gain[np.arange(len(vanished)), best] >= _BETTER
    hosts[better] = best[better]
    return hosts


def is_merged(predicted: F32, detected: F32) -> Mask:
    """(K,) whether what each host was given is clearly larger than itself."""
    larger: Mask = areas(detected) >= _MERGED_AREA * areas(predicted)
    return larger


def pieces_of(predicted: F32, detected: F32, loose: F32, allowed: Mask, least_inside: float) -> F32:
    """(K, 4) what K tracks were given, grown over the pieces beside it where they are cut.

    predicted, detected: (K, 4). loose: (P, 4) detections that belong to nobody so far. allowed: (K, P).
    """
    whole = detected.copy()
    is_piece = allowed & (areas(detected) <= _CUT_AREA * areas(predicted))[:, None]
    if not is_piece.any():
        return whole
    is_piece &= (containment(loose, predicted) >= least_inside).T & (containment(loose, detected) < _APART).T
    for track in np.flatnonzero(is_piece.any(axis=1)):
        pieces = loose[is_piece[track]]
        around = np.concatenate((pieces[:, :2].min(axis=0), pieces[:, 2:].max(axis=0)))
        grown = hull(detected[track], around)
        if pair_iou(grown, predicted[track]) >= pair_iou(detected[track], predicted[track]) + _BETTER:
            whole[track] = grown
    return whole


def settled(motion: Motion, blobs: Iterable[tuple[Rows, F32]]) -> Motion:
    """The same with the objects of each blob, (rows, box), moved into its box as little as needed.

    Along the blob's longer side, in lengths of what it holds, the outermost objects reach its ends: those who stand side by side
    do not pass each other as long as it is that long, whatever their speed was.
    """
    numbers = motion.numbers.copy()
    for rows, box in blobs:
        size, centre = numbers[rows, 2:4], numbers[rows, 0:2]
        middle = (box[:2] + box[2:]) / 2
        room = np.maximum(box[2:] - box[:2] - size, 0) / 2
        inside = np.clip(centre, middle - room, middle + room)
        axis = int(np.argmax((box[2:] - box[:2]) / size.max(axis=0)))
        order = np.argsort(centre[:, axis], kind="stable")
        inside[order[0], axis] = middle[axis] - room[order[0], axis]
        inside[order[-1], axis] = middle[axis] + room[order[-1], axis]
        numbers[rows, 0:2] = inside
        numbers[rows, 6:8] = 0  # how sizes change cannot be seen within a blob
    return Motion(numbers)
