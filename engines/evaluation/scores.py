"""A model's scores on one set, which `run.py evaluate` prints, draws and writes; and scores from a confusion matrix."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from engines.datasets.truth import Truth
from engines.evaluation.mapping import ClassMapping
from engines.evaluation.objects import ObjectFigures
from engines.types import F64, I64, U8, VOID_CLASS, Bools

TOLERANCE_SHARE = 0.0075
"""Of the diagonal, as in the source of `boundary_f1`."""


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """Scores over pixels. Shares in 0..1; of each class, NaN where it does not occur or is unknown to the model.

    counts: (classes, classes + 1) int64 pixels, row = truth, column = prediction, the last one "none of these".
    miou, class_accuracy, boundary_f1: means over the classes that the model knows and that occur.
    pixel_accuracy: over the pixels of the classes that the model knows.
    miou_all: over all classes of the set that occur; unknown ones count as 0.
    """

    counts: I64
    iou: F64
    accuracy: F64
    boundary: F64
    miou: float
    miou_all: float
    pixel_accuracy: float
    class_accuracy: float
    boundary_f1: float
    tolerance_px: float


@dataclass(frozen=True, slots=True)
class SurfaceFigures:
    """IoU over all pixels of all images, 0..1; NaN where the class does not occur. images: the number with such a label."""

    drivable_iou: float
    lane_iou: float
    images: int


@dataclass(frozen=True, slots=True)
class Case:
    """An image with low scores. figure: its mean IoU, or F1 of its objects, 0..1.

    truth, predicted: (H, W) uint8 class ids to show, 255 none. iou: of each class; empty for objects.
    """

    image: Truth
    truth: U8
    predicted: U8
    figure: float
    iou: F64


@dataclass(frozen=True, slots=True)
class SetFigures:
    """All scores; None for what the set has no labels for, or the model does not predict.

    latency_ms: median per image, by stage. worst: the worst case first.
    """

    mapping: ClassMapping
    images: int
    latency_ms: Mapping[str, float]
    pixels: PixelFigures | None
    objects: ObjectFigures | None
    surface: SurfaceFigures | None
    worst: tuple[Case, ...]


def confusion(truth: U8, predicted: U8, class_count: int) -> I64:
    """Confusion matrix of two (H, W) uint8 maps of one size, in pixels: row = truth, column = prediction. Truth 255 is left out.

    A prediction of `class_count` or more counts as "none of these": a miss of the true class, and a false positive of no class.
    It is counted in an extra last column, so the result is (class_count, class_count + 1).
    """
    known = truth != VOID_CLASS
    columns = class_count + 1
    pairs = truth[known].astype(np.int64) * columns + np.minimum(predicted[known], class_count)
    return np.bincount(pairs, minlength=class_count * columns).reshape(class_count, columns)


def class_iou(counts: I64) -> F64:
    """(classes,) float64 in 0..1: hits over the union of truth and prediction; NaN where a class occurs in neither."""
    square = counts[:, : len(counts)]
    hits = np.diag(square).astype(np.float64)
    union = counts.sum(axis=1) + square.sum(axis=0) - hits
    iou: F64 = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    return iou


def mean_iou(counts: I64) -> float:
    """Mean over the classes that occur, in percent: the field's mIoU. NaN when nothing was counted."""
    return 100 * mean_of(class_iou(counts))


def class_accuracy(counts: I64) -> F64:
    """(classes,) float64 in 0..1: the share of each class's true pixels that were found; NaN where it has none."""
    there = counts.sum(axis=1)
    hits = np.diag(counts[:, : len(counts)]).astype(np.float64)
    accuracy: F64 = np.divide(hits, there, out=np.full(len(hits), np.nan), where=there > 0)
    return accuracy


def pixel_accuracy(counts: I64) -> float:
    """The share of all counted pixels that are right, 0..1; NaN when nothing was counted."""
    total = int(counts.sum())
    return float(np.trace(counts[:, : len(counts)]) / total) if total else float("nan")


def mean_of(values: F64) -> float:
    """The mean without NaN values; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def tolerance_px(height: int, width: int) -> float:
    """The allowed distance between boundaries, in pixels, for a label of this size."""
    return float(TOLERANCE_SHARE * np.hypot(height, width))


def boundary(label_map: U8, known: Bools) -> Bools:
    """(H, W) bool: known pixels with a known neighbour (left, right, above, below) of another class.

    The rim of the picture is not a boundary, nor is the edge of void: the class beyond is unknown.
    """
    edge = np.zeros(label_map.shape, bool)
    across = (label_map[:, 1:] != label_map[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (label_map[1:] != label_map[:-1]) & known[1:] & known[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def boundary_f1(truth: U8, predicted: U8, class_count: int) -> F64:
    """The accuracy of outlines in one image: IoU hardly reflects it on large regions, and exaggerates it on thin ones.

    Of each class, with B its true boundary and P the predicted one, F1 = 2 precision recall / (precision + recall):
        precision = share of P less than `tolerance_px` away from B
        recall    = share of B less than `tolerance_px` away from P
    A class's score is the mean over the images where it has a boundary, true or predicted. Source: Csurka, Larlus, Perronnin,
    "What is a good evaluation measure for semantic segmentation?", BMVC 2013, section 2.2.

    Returns (classes,) float64 in 0..1; NaN for a class without a boundary in either map. truth: (H, W) uint8; void, 255, is
    left out of both maps. predicted: (H, W) uint8; class_count or more is not a class.
    """
    known = truth != VOID_CLASS
    true_edge, predicted_edge = boundary(truth, known), boundary(predicted, known)
    limit = tolerance_px(*truth.shape)
    scores = np.full(class_count, np.nan)
    for class_id in range(class_count):
        true_line, predicted_line = true_edge & (truth == class_id), predicted_edge & (predicted == class_id)
        there, found = int(true_line.sum()), int(predicted_line.sum())
        if there and found:
            precision = _share_near(predicted_line, true_line, limit)
            recall = _share_near(true_line, predicted_line, limit)
            scores[class_id] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        elif there or found:
            scores[class_id] = 0.0
    return scores


def _share_near(line: Bools, other: Bools, limit_px: float) -> float:
    """The share of `line` less than `limit_px` away from `other`; neither is empty."""
    distance_px = cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((np.asarray(distance_px)[line] < limit_px).mean())
