"""Parity: compares the segmentations that two forms of a network give for the same frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from engines.decoding.postprocess import box_ious
from engines.families import DecodeSettings
from engines.plans.passport import ParityReport
from engines.types import U8, Instances, Segmentation


@dataclass(frozen=True, slots=True)
class Bar:
    """What passes: at least this share of equal labels and mean IoU of masks, at most this mean difference of opacity."""

    label_agreement: float
    mask_iou: float
    alpha_difference: float


BARS = {
    "fp32": Bar(0.995, 0.98, 0.002),
    "fp16": Bar(0.995, 0.98, 0.002),
    "bf16": Bar(0.98, 0.95, 0.01),  # eight bits of mantissa: OpenVINO's own bf16 agrees on 97.7 to 99.6 % of labels
    "int8-qdq": Bar(0.95, 0.85, 0.03),
}

SURE, SOUGHT = 0.4, 0.25
"""Scores: reference objects count from SURE on, and match candidates above SOUGHT, so scores near a threshold do not matter."""

SHOWN = 0.002
"""The share of a picture that a matte must fill for its overlap to count."""

REFERENCE_SETTINGS = DecodeSettings(score_threshold=SURE)
CANDIDATE_SETTINGS = DecodeSettings(score_threshold=SOUGHT)


def compare(
    reference: Sequence[Segmentation], candidate: Sequence[Segmentation], nan_count: int = 0, kept_fp32: tuple[str, ...] = ()
) -> ParityReport:
    """Compare frame by frame. reference, candidate: results on the same frames, decoded with the settings above."""
    agreements, differences = [], []
    ious: list[float] = []
    for wanted, found in zip(reference, candidate, strict=True):
        if wanted.class_map is not None and found.class_map is not None:
            agreements.append(_agreement(wanted.class_map, found.class_map))
        if wanted.surface is not None and found.surface is not None:
            agreements.append(_agreement(wanted.surface, found.surface))
        if wanted.alpha is not None and found.alpha is not None:
            differences.append(_difference(wanted.alpha, found.alpha))
            ious += _matte_iou(wanted.alpha, found.alpha)
        # Objects cut out of a map or matte may split by a single pixel, so the map itself is compared.
        elif wanted.class_map is None:
            ious += _mask_ious(wanted.instances, found.instances)
    return ParityReport(
        frames=len(reference),
        label_agreement=float(np.mean(agreements)) if agreements else None,
        mask_iou=float(np.mean(ious)) if ious else None,
        nan_count=nan_count,
        alpha_difference=float(np.mean(differences)) if differences else None,
        kept_fp32=kept_fp32,
    )


def shortfall(report: ParityReport, precision: str, others: str = "those of FP32") -> str:
    """Why `report` does not pass for `precision`; empty if it does. others: the results that were compared with."""
    bar = BARS[precision]
    if report.nan_count:
        return f"{report.nan_count} frames with NaN or infinite outputs"
    if report.label_agreement is not None and report.label_agreement < bar.label_agreement:
        return f"{report.label_agreement:.2%} of the labels agree with {others}, {bar.label_agreement:.1%} are required"
    if report.mask_iou is not None and report.mask_iou < bar.mask_iou:
        return f"masks overlap {others} by {report.mask_iou:.3f} (IoU), {bar.mask_iou} is required"
    if report.alpha_difference is not None and report.alpha_difference > bar.alpha_difference:
        return f"the opacity differs by {report.alpha_difference:.4f} from {others}, {bar.alpha_difference} is allowed"
    return ""


def _difference(wanted: U8, found: U8) -> float:
    """Mean absolute difference of two mattes, 0..1."""
    if wanted.shape != found.shape:
        return 1.0
    return float(cv2.norm(wanted, found, cv2.NORM_L1)) / 255 / wanted.size


def _matte_iou(wanted: U8, found: U8) -> list[float]:
    """The overlap of two mattes; none where hardly anybody is in the picture.

    The mean difference says little of a small person: losing one who fills a fiftieth of the picture changes it by 0.02.
    """
    if float((wanted > 127).mean()) < SHOWN:
        return []
    if wanted.shape != found.shape:
        return [0.0]
    return [float(np.minimum(wanted, found).sum(dtype=np.int64)) / float(np.maximum(wanted, found).sum(dtype=np.int64))]


def _agreement(wanted: U8, found: U8) -> float:
    if wanted.shape != found.shape:
        return 0.0
    return float((wanted == found).mean())


def _mask_ious(wanted: Instances, found: Instances) -> list[float]:
    """For each object of `wanted` the best IoU with an object of the same class; 0 if there is none.

    IoU of masks, or of boxes for a detector, which has no masks.
    """
    if not wanted.label_map.any():
        return _box_ious(wanted, found)
    if wanted.label_map.shape != found.label_map.shape:
        return [0.0] * len(wanted)
    ious = []
    # Both label maps in one histogram: cell (i, j) counts the pixels that are object i here and object j there.
    columns = len(found) + 1
    pairs = wanted.label_map.astype(np.int64) * columns + found.label_map
    overlaps = np.bincount(pairs.ravel(), minlength=(len(wanted) + 1) * columns).reshape(len(wanted) + 1, columns)
    areas_wanted, areas_found = overlaps.sum(axis=1), overlaps.sum(axis=0)
    for row in range(len(wanted)):
        same_class = np.flatnonzero(found.class_ids == wanted.class_ids[row]) + 1
        if areas_wanted[row + 1] == 0:
            continue  # fully hidden by other objects
        intersections = overlaps[row + 1, same_class]
        unions = areas_wanted[row + 1] + areas_found[same_class] - intersections
        ious.append(float((intersections / unions).max()) if len(same_class) else 0.0)
    return ious


def _box_ious(wanted: Instances, found: Instances) -> list[float]:
    ious = []
    for row, box in enumerate(wanted.boxes_px):
        others = found.boxes_px[found.class_ids == wanted.class_ids[row]]
        ious.append(float(box_ious(box, others).max(initial=0.0)))
    return ious
