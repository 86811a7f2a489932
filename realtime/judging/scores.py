"""How well tracks follow true tracks: counted by TrackEval, the evaluator of MOTChallenge, and put into plain figures.

HOTA (Luiten et al., 2021) is the mean over 19 overlaps from 0.05 to 0.95; CLEAR's MOTA (Bernardin and Stiefelhagen, 2008) and
IDF1 (Ristani et al., 2016) take an overlap of 0.5 for a hit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from engines.errors import EvaluationError
from engines.types import F64, I64
from realtime.judging.files import TrackLines

DISTRACTORS = (2, 7, 8, 12)
"""MOTChallenge's person on a vehicle, static person, distractor, reflection: who finds one is neither right nor wrong.
Source: MOT16 (Milan et al., 2016), section 4.2."""

HIT_IOU = 0.5

Counts = dict[str, dict[str, Any]]
"""Of one clip, by the name of the metric: TrackEval's own dictionary."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One clip's figures, or several clips' together. Shares lie in 0..1 (MOTA also below); NaN where there is nothing to say.

    hota, det_a, ass_a, loc_a: all of it; how well objects are found; how long they keep their id; how tightly boxes fit.
    idf1, idp, idr: share of boxes that have the one right id all clip long; idp of those found, idr of the true ones.
    switches: how often a true object got another id. fragments: how often it was lost and found again.
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
    """A class by the number that stands for it in the ground truth, and by its number in the result."""

    truth: int
    result: int


def count(truth: TrackLines, result: TrackLines, frames: I64, classes: Sequence[ClassPair]) -> Counts:
    """Compare two files on those frames, (F,) int64, rising. Raises EvaluationError where TrackEval is not installed.

    Lines of other classes do not count, nor true ones that are marked as not to be scored; where both files tell classes, an
    object is only ever found by one of its own class.
    """
    hota, clear, identity = _metrics()
    kept_truth, kept_result = _of_frames(truth, frames), _of_frames(result, frames)
    data = _data(kept_truth, kept_result, frames, classes)
    facts = {key: data[key] for key in ("num_gt_dets", "num_tracker_dets", "num_gt_ids", "num_tracker_ids", "num_timesteps")}
    return {
        "HOTA": hota.eval_sequence(data),
        "CLEAR": clear.eval_sequence(data),
        "Identity": identity.eval_sequence(data),
        "sizes": facts,
    }


def combined(clips: Sequence[Counts]) -> Counts:
    """All clips' counts as one: boxes of each weigh the same, an id is never shared by two clips."""
    hota, clear, identity = _metrics()
    named = {str(number): clip for number, clip in enumerate(clips)}
    sums = {
        metric.get_name(): metric.combine_sequences({key: clip[metric.get_name()] for key, clip in named.items()})
        for metric in (hota, clear, identity)
    }
    return {**sums, "sizes": {key: sum(clip["sizes"][key] for clip in clips) for key in clips[0]["sizes"]}}


def figures(counts: Counts) -> Figures:
    """Counts as figures."""
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
        raise EvaluationError(
            f"tracks are scored by TrackEval, which is not installed ({error}): pip install -e '.[evaluate]'"
        ) from None
    quiet = {"PRINT_CONFIG": False}
    return HOTA(), CLEAR({**quiet}), Identity({**quiet})


def _of_frames(lines: TrackLines, frames: I64) -> TrackLines:
    return lines.take(np.isin(lines.frames, frames))


def _data(truth: TrackLines, result: TrackLines, frames: I64, classes: Sequence[ClassPair]) -> dict[str, Any]:
    """What TrackEval's metrics take: ids from 0 without gaps, and overlaps, frame by frame."""
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


def _roles(truth: TrackLines, classes: Sequence[ClassPair]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which true lines are scored, and which are MOTChallenge's distractors. Both (N,)."""
    counted = truth.values != 0
    if truth.classes is None:
        return counted, np.zeros_like(counted)
    wanted = [pair.truth for pair in classes]
    return counted & np.isin(truth.classes, wanted), np.isin(truth.classes, [code for code in DISTRACTORS if code not in wanted])


def _translated(found: I64 | None, classes: Sequence[ClassPair]) -> I64 | None:
    """Classes of the result in the ground truth's numbers."""
    if found is None:
        return None
    names = {pair.result: pair.truth for pair in classes}
    return np.array([names[code] for code in found.tolist()], np.int64)


def _rows_by_frame(lines: TrackLines, frames: I64) -> list[I64]:
    """The rows of each frame; a list as long as `frames`."""
    order = np.argsort(lines.frames, kind="stable")
    ends = np.searchsorted(lines.frames[order], (frames, frames + 1))
    return [order[begin:end] for begin, end in ends.T.tolist()]


def _overlap(true_px: F64, found_px: F64) -> F64:
    """(T, 4) and (F, 4) x, y, width, height in px -> (T, F) intersection over union."""
    low = np.maximum(true_px[:, None, :2], found_px[:, :2])
    high = np.minimum(true_px[:, None, :2] + true_px[:, None, 2:], found_px[:, :2] + found_px[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    return np.asarray(shared / (true_px[:, 2:].prod(axis=1)[:, None] + found_px[:, 2:].prod(axis=1) - shared))


def _hits_distractor(overlap: F64, distracting: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(F,) which found boxes belong to a distractor, when each true box takes its best one."""
    hit = np.zeros(overlap.shape[1], bool)
    if distracting.any():
        good = np.where(overlap >= HIT_IOU, overlap, 0)
        rows, columns = linear_sum_assignment(good, maximize=True)
        hit[columns[(good[rows, columns] > 0) & distracting[rows]]] = True
    return hit


def _numbered(ids: list[I64]) -> tuple[int, list[I64]]:
    """How many ids there are, and the same lists with ids from 0 without gaps."""
    known = np.unique(np.concatenate(ids)) if ids else np.zeros(0, np.int64)
    return len(known), [np.searchsorted(known, part) for part in ids]
