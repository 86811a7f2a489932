"""Merged detections and fragments: connected components of a class map join objects that touch and split objects all the time.

Merged: a detection fits a track and a vanished one better together than it fits the track alone. The track that the detection was
assigned to owns it. The other track is merged: it continues within the detection, unseen, until the two separate.
Fragments: detections beside a track's own detection, within the predicted box of the whole object.
All boxes are x_min, y_min, x_max, y_max in px.
"""

from collections.abc import Iterable

import numpy as np

from engines.types import F32, Bools, Rows
from realtime.tracking.common.association import areas, containment, pair_iou
from realtime.tracking.common.kalman import Motion

_BETTER = 0.1
"""Two boxes explain a detection better than one when their IoU is higher by this much."""

_APART = 0.5
"""A vanished track with more than this share of its box within the owner's is hidden behind the owner, not merged."""

_CUT_AREA = 0.85
"""A detection of at most this share of its track may be a fragment of it."""


def hull(a: F32, b: F32) -> F32:
    """The smallest boxes around both, broadcast against each other."""
    return np.concatenate((np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])), axis=-1)


def owners_of(vanished: F32, predicted: F32, detected: F32, allowed: Bools, min_inside: float) -> Rows:
    """Which of K seen tracks owns the detection that each of C vanished tracks merged into; -1: none.

    vanished: (C, 4) predicted boxes. predicted, detected: (K, 4) the predicted boxes and the detections of the seen tracks.
    allowed: (C, K) which pairs may merge.
    """
    owners = np.full(len(vanished), -1, np.intp)
    may_merge = allowed & (containment(vanished, detected) >= min_inside)
    if not may_merge.any():
        return owners
    may_merge &= containment(vanished, predicted) <= _APART
    i, j = np.nonzero(may_merge)
    gain = np.zeros(may_merge.shape, np.float32)
    gain[i, j] = pair_iou(hull(vanished[i], predicted[j]), detected[j]) - pair_iou(predicted[j], detected[j])
    best = gain.argmax(axis=1)
    better = gain[np.arange(len(vanished)), best] >= _BETTER
    owners[better] = best[better]
    return owners


def with_fragments(predicted: F32, detected: F32, loose: F32, allowed: Bools, min_inside: float) -> F32:
    """(K, 4) the detections of K tracks, joined with the fragments beside them where an object is split.

    predicted, detected: (K, 4). loose: (P, 4) detections without a track. allowed: (K, P) which pairs may be joined.
    """
    whole = detected.copy()
    is_fragment = allowed & (areas(detected) <= _CUT_AREA * areas(predicted))[:, None]
    if not is_fragment.any():
        return whole
    is_fragment &= (containment(loose, predicted) >= min_inside).T & (containment(loose, detected) < _APART).T
    for track in np.flatnonzero(is_fragment.any(axis=1)):
        fragments = loose[is_fragment[track]]
        around = np.concatenate((fragments[:, :2].min(axis=0), fragments[:, 2:].max(axis=0)))
        grown = hull(detected[track], around)
        if pair_iou(grown, predicted[track]) >= pair_iou(detected[track], predicted[track]) + _BETTER:
            whole[track] = grown
    return whole


def spread_within(motion: Motion, groups: Iterable[tuple[Rows, F32]]) -> Motion:
    """The same motion with the objects of each group, (rows, merged box), moved into its box as little as needed.

    Along the box's longer side, measured in sizes of its objects, the outermost objects reach its ends: objects side by side do
    not pass each other while the box is that long, whatever their speed was.
    """
    numbers = motion.numbers.copy()
    for rows, box in groups:
        size, centre = numbers[rows, 2:4], numbers[rows, 0:2]
        middle = (box[:2] + box[2:]) / 2
        room = np.maximum(box[2:] - box[:2] - size, 0) / 2
        inside = np.clip(centre, middle - room, middle + room)
        axis = int(np.argmax((box[2:] - box[:2]) / size.max(axis=0)))
        order = np.argsort(centre[:, axis], kind="stable")
        inside[order[0], axis] = middle[axis] - room[order[0], axis]
        inside[order[-1], axis] = middle[axis] + room[order[-1], axis]
        numbers[rows, 0:2] = inside
        numbers[rows, 6:8] = 0  # changes of size cannot be measured in a merged detection
    return Motion(numbers)
