"""Rows of detectors: from thousands of anchors to the few boxes that are objects. Maths that families share, NumPy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.decoding.halves import as_float32
from engines.decoding.maps import not_finite
from engines.decoding.postprocess import centre_to_corners, nms
from engines.errors import InferenceError
from engines.types import F32, I32

MAX_CANDIDATES = 1000
"""Boxes that enter NMS, best first. A picture with more is noise, and NMS grows with their square."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Which rows are objects: from this score on, boxes of one class that overlap more being one, at most so many."""

    score: float
    iou: float
    count: int


@dataclass(frozen=True, slots=True)
class Detections:
    """N objects, scores falling.

    corners_net: (N, 4) float32 in network px. rows: (N,) where each stood in the output. cut_off: how many more there were.
    """

    corners_net: F32
    scores: F32
    class_ids: I32
    rows: npt.NDArray[np.intp]
    cut_off: int = 0


def read_rows(role: str, rows: F32, class_count: int, extra: int, limits: Limits, output: str) -> tuple[Detections, F32]:
    """The objects in a YOLO's output, and the (N, extra) numbers that follow each one's boxes and scores: mask coefficients.

    role: "predictions" (4 + C + extra, A): `from_class_scores`; "rows" (A, 5 + C + extra): `from_objectness`; or "detections"
    (N, 6 + extra): `from_finished`. output: its name. Raises InferenceError for another shape, or numbers that make no sense.
    """
    per_box, first, classes = {"predictions": (len(rows), 4, class_count), "rows": (rows.shape[1], 5, class_count)}.get(
        role, (rows.shape[1], 6, 0)
    )
    if per_box != first + classes + extra:
        parts = f"{first} + {classes} classes" if classes else str(first)
        raise InferenceError(f"output {output} has {per_box} numbers per box, its card says {parts} + {extra} coefficients")
    if role == "predictions":
        found = from_class_scores(rows[:4], rows[4 : 4 + classes], limits)
        return found, np.ascontiguousarray(rows[4 + classes :, found.rows].T)
    is_finished = role == "detections"
    found = from_finished(rows, class_count, limits, output) if is_finished else from_objectness(rows, class_count, limits)
    return found, np.ascontiguousarray(rows[found.rows, first + classes :])


def from_class_scores(boxes: F32, class_scores: F32, limits: Limits) -> Detections:
    """boxes: (4, A) centre, width, height in network px. class_scores: (C, A) in 0..1. Raises InferenceError for NaN."""
    best = class_scores.max(axis=0)
    check_scores(best)
    candidates = np.flatnonzero(best >= limits.score)
    if len(candidates) > MAX_CANDIDATES:
        candidates = candidates[np.argpartition(-best[candidates], MAX_CANDIDATES)[:MAX_CANDIDATES]]
    class_ids = class_scores[:, candidates].argmax(axis=0).astype(np.int32)
    return _suppressed(boxes[:, candidates].T, best[candidates], class_ids, candidates, limits)


def from_objectness(rows: F32, class_count: int, limits: Limits) -> Detections:
    """rows: (A, 5 + C or more): centre, width, height in network px, objectness, C scores in 0..1. Raises InferenceError for NaN.

    An object's score is the product of its objectness and its class's score, as YOLOv5 and YOLOX have it.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = rows.sum()  # one number that is not finite poisons it: the scores are looked at one by one only then
    if not np.isfinite(total):
        check_finite(rows[:, 4 : 5 + class_count])
    check_scores(rows[:, 4])
    candidates = np.flatnonzero(rows[:, 4] >= limits.score)  # no product is more
    class_scores = rows[candidates, 5 : 5 + class_count]
    class_ids = class_scores.argmax(axis=1).astype(np.int32)
    best = class_scores[np.arange(len(candidates)), class_ids]
    check_scores(best)
    scores = best * rows[candidates, 4]
    sure = np.flatnonzero(scores >= limits.score)
    if len(sure) > MAX_CANDIDATES:
        sure = sure[np.argpartition(-scores[sure], MAX_CANDIDATES)[:MAX_CANDIDATES]]
    return _suppressed(rows[candidates[sure], :4], scores[sure], class_ids[sure], candidates[sure], limits)


def _suppressed(boxes: F32, scores: F32, class_ids: I32, rows: npt.NDArray[np.intp], limits: Limits) -> Detections:
    """After NMS. boxes: (N, 4) centre, width, height in network px."""
    corners = centre_to_corners(boxes)
    check_finite(corners)
    kept, cut_off = nms(corners, scores, class_ids, limits.iou, limits.count)
    return Detections(corners[kept], scores[kept], class_ids[kept], rows[kept], cut_off)


def from_finished(rows: F32, class_count: int, limits: Limits, output: str) -> Detections:
    """rows: (N, 6 or more): corners in network px, score, class id; NMS is done. Raises InferenceError for a strange class id.

    output: what to call the rows in an error.
    """
    check_scores(rows[:, 4])
    order = np.argsort(-rows[:, 4], kind="stable")
    sure = order[rows[order, 4] >= limits.score]
    order = sure[: limits.count]
    chosen = rows[order]
    class_ids = as_class_ids(chosen[:, 5], class_count, output)
    return Detections(
        np.ascontiguousarray(chosen[:, :4]), np.ascontiguousarray(chosen[:, 4]), class_ids, order, len(sure) - len(order)
    )


def as_class_ids(numbers: F32, class_count: int, output: str) -> I32:
    """As integers. Raises InferenceError for one without a name in the card."""
    strange = numbers[~((numbers >= 0) & (numbers < class_count))]
    if len(strange):
        raise InferenceError(f"output {output} has class id {strange[0]:g}, its card {class_count} classes", "Correct `classes`")
    return numbers.astype(np.int32)


def check_scores(scores: F32) -> None:
    """Every score, not only those above the threshold: a NaN compares false, and would go unnoticed. Raises InferenceError."""
    check_finite(scores)
    if len(scores) and scores.max() > 1.01:  # half precision rounds, by less than that
        raise InferenceError(f"the network gave the score {scores.max():g}, above 1", "Export it with the sigmoid inside")


def check_finite(*arrays: F32) -> None:
    """Raises InferenceError for NaN and infinity."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise not_finite("the network's output")


def floats(output: npt.NDArray[np.generic], name: str, axes: int) -> F32:
    """The first (only) batch entry as float32. Raises InferenceError for another number of axes or a bigger batch."""
    return as_float32(only_entry(output, name, axes))


def only_entry(output: npt.NDArray[np.generic], name: str, axes: int) -> npt.NDArray[Any]:
    """The first (only) batch entry, in the type it came in. Raises what `floats` raises."""
    if output.ndim != axes or output.shape[0] != 1:
        raise InferenceError(f"output {name} is {output.shape}, not a batch of one with {axes} axes")
    return np.asarray(output[0])
