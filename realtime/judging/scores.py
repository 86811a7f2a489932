"""Scores of tracks against ground truth, by TrackEval, the evaluator of MOTChallenge.

HOTA (Luiten et al., 2021) is a mean over 19 IoU thresholds from 0.05 to 0.95; CLEAR's MOTA (Bernardin and Stiefelhagen, 2008) and
IDF1 (Ristani et al., 2016) count an IoU of 0.5 as a hit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from engines.errors import EvaluationError
from engines.types import F64, I64, Bools
from realtime.judging.files import TrackRows

DISTRACTORS = (2, 7, 8, 12)
"""MOTChallenge's person on a vehicle, static person, distractor, reflection: detections of them are neither right nor wrong.
Source: MOT16 (Milan et al., 2016), section 4.2."""

HIT_IOU = 0.5

Counts = dict[str, dict[str, Any]]
"""Of one clip: TrackEval's own dictionary of each metric, by name."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The scores of one clip, or of several together. Shares are in 0..1 (MOTA also below); NaN where undefined.

    hota, det_a, ass_a, loc_a: HOTA, and its detection, association and localisation accuracy.
    idf1, idp, idr: F1, precision and recall of boxes with the one right id over the whole clip.
    switches: how often a true object got another id. fragments: how often it was lost and found again. false_alarms: false
    positives.
    """

    hota: float
    det_a: float
    ass_a: float
    loc_a: float
    idf1: float
    idp: float
    idr: float
    mota: float
    switches: int
    fragments: int
    misses: int
    false_alarms: int
    frames: int
    true_boxes: int
    found_boxes: int
    true_ids: int
    found_ids: int


@dataclass(frozen=True, slots=True)
class ClassPair:
    """A class: its number in the ground truth, and in the result."""

    truth: int
    result: int


def count(truth: TrackRows, result: TrackRows, frames: I64, classes: Sequence[ClassPair]) -> Counts:
    """Compare two files on these frames, (F,) int64, rising. Raises EvaluationError where TrackEval is not installed.

    Rows of other classes do not count, nor ground truth marked as not scored. Where both files have classes, objects match only
    within their class.
    """
    metrics = _metrics()
    kept_truth, kept_result = (rows.take(np.isin(rows.frames, frames)) for rows in (truth, result))
    data = _data(kept_truth, kept_result, frames, classes)
    sizes = {key: data[key] for key in ("num_gt_dets", "num_tracker_dets", "num_gt_ids", "num_tracker_ids", "num_timesteps")}
    return {**{metric.get_name(): metric.eval_sequence(data) for metric in metrics}, "sizes": sizes}


def combined(clips: Sequence[Counts]) -> Counts:
    """All clips' counts as one: all boxes weigh the same, ids of different clips are different."""
    named = {str(number): clip for number, clip in enumerate(clips)}
    sums = {
        metric.get_name(): metric.combine_sequences({key: clip[metric.get_name()] for key, clip in named.items()})
        for metric in _metrics()
    }
    return {**sums, "sizes": {key: sum(clip["sizes"][key] for clip in clips) for key in clips[0]["sizes"]}}


def figures(counts: Counts) -> Figures:
    """The scores of these counts."""
    hota, clear, identity, sizes = counts["HOTA"], counts["CLEAR"], counts["Identity"], counts["sizes"]
    is_seen = sizes["num_gt_dets"] > 0
    hits = np.asarray(hota["HOTA_TP"])

    def share(value: Any) -> float:
        return float(np.mean(value)) if is_seen else math.nan

    return Figures(
        hota=share(hota["HOTA"]),
        det_a=share(hota["DetA"]),
        ass_a=share(hota["AssA"]),
        loc_a=share(hota["LocA"]) if hits.sum() else math.nan,
        idf1=share(identity["IDF1"]),
        idp=share(identity["IDP"]),
        idr=share(identity["IDR"]),
        mota=share(clear["MOTA"]),
        switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
        misses=int(clear["CLR_FN"]),
        false_alarms=int(clear["CLR_FP"]),
        frames=int(sizes["num_timesteps"]),
        true_boxes=int(sizes["num_gt_dets"]),
        found_boxes=int(sizes["num_tracker_dets"]),
        true_ids=int(sizes["num_gt_ids"]),
        found_ids=int(sizes["num_tracker_ids"]),
    )


def _metrics() -> tuple[Any, Any, Any]:
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        what = f"TrackEval, which scores tracks, is not installed ({error})"
        raise EvaluationError(what, "Install it: pip install -e '.[evaluate]'") from None
    return HOTA(), CLEAR({"PRINT_CONFIG": False}), Identity({"PRINT_CONFIG": False})


def _data(truth: TrackRows, result: TrackRows, frames: I64, classes: Sequence[ClassPair]) -> dict[str, Any]:
    """The input of TrackEval's metrics: ids from 0 without gaps, and IoUs, frame by frame."""
    counted, distracting = _roles(truth, classes)
    if result.classes is not None:
        result = result.take(np.isin(result.classes, [pair.result for pair in classes]))
    result_classes = _translated(result.classes, classes)
    truth_rows, result_rows = _rows_by_frame(truth, frames), _rows_by_frame(result, frames)
    true_ids, found_ids, overlaps = [], [], []
    for rows, found in zip(truth_rows, result_rows, strict=True):
        overlap = _overlap(truth.boxes_px[rows], result.boxes_px[found])
        stays = ~_hits_distractor(overlap, distracting[rows])
        found, overlap = found[stays], overlap[:, stays]
        is_true = counted[rows]
        rows, overlap = rows[is_true], overlap[is_true]
        if truth.classes is not None and result_classes is not None:
            overlap = overlap * (truth.classes[rows][:, None] == result_classes[found])
        true_ids.append(truth.ids[rows])
        found_ids.append(result.ids[found])
        overlaps.append(overlap)
    true_count, true_ids = _numbered(true_ids)
    found_count, found_ids = _numbered(found_ids)
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": true_count,
        "num_tracker_ids": found_count,
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, found_ids)),
        "gt_ids": true_ids,
        "tracker_ids": found_ids,
        "similarity_scores": overlaps,
    }


def _roles(truth: TrackRows, classes: Sequence[ClassPair]) -> tuple[Bools, Bools]:
    """Which rows of the ground truth are scored, and which are MOTChallenge's distractors. Both (N,)."""
    counted = truth.values != 0
    if truth.classes is None:
        return counted, np.zeros_like(counted)
    wanted = [pair.truth for pair in classes]
    return counted & np.isin(truth.classes, wanted), np.isin(truth.classes, [code for code in DISTRACTORS if code not in wanted])


def _translated(found: I64 | None, classes: Sequence[ClassPair]) -> I64 | None:
    """Classes of the result, with the ground truth's numbers."""
    if found is None:
        return None
    names = {pair.result: pair.truth for pair in classes}
    return np.array([names[code] for code in found.tolist()], np.int64)


def _rows_by_frame(rows: TrackRows, frames: I64) -> list[I64]:
    """The indices of the rows of each frame; a list as long as `frames`."""
    order = np.argsort(rows.frames, kind="stable")
    ends = np.searchsorted(rows.frames[order], (frames, frames + 1))
    return [order[begin:end] for begin, end in ends.T.tolist()]


def _overlap(true_px: F64, found_px: F64) -> F64:
    """(T, 4) and (F, 4) x, y, width, height in px -> (T, F) intersection over union."""
    low = np.maximum(true_px[:, None, :2], found_px[:, :2])
    high = np.minimum(true_px[:, None, :2] + true_px[:, None, 2:], found_px[:, :2] + found_px[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    return np.asarray(shared / (true_px[:, 2:].prod(axis=1)[:, None] + found_px[:, 2:].prod(axis=1) - shared))


def _hits_distractor(overlap: F64, distracting: Bools) -> Bools:
    """(F,) which detections match a distractor, in the best assignment to true boxes."""
    hit = np.zeros(overlap.shape[1], bool)
    if distracting.any():
        good = np.where(overlap >= HIT_IOU, overlap, 0)
        rows, columns = linear_sum_assignment(good, maximize=True)
        hit[columns[(good[rows, columns] > 0) & distracting[rows]]] = True
    return hit


def _numbered(ids: list[I64]) -> tuple[int, list[I64]]:
    """The number of ids, and the same lists with ids from 0 without gaps."""
    known = np.unique(np.concatenate(ids)) if ids else np.zeros(0, np.int64)
    return len(known), [np.searchsorted(known, part) for part in ids]
