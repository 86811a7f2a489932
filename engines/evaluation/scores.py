"""Scores from a confusion matrix: intersection over union, accuracies."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from engines.types import F64, I64, U8, VOID_CLASS

Confusion: TypeAlias = I64
"""(classes, classes) int64 pixel counts: row = truth, column = prediction."""


def confusion(truth: U8, predicted: U8, class_count: int) -> Confusion:
    """Count the pixels of two (H, W) uint8 maps of one size; truth 255 is left out.

    A prediction of `class_count` or more counts as "none of these": a miss of the true class, and a false positive of no class.
    It is counted in an extra last column, so the result is (class_count, class_count + 1).
    """
    known = truth != VOID_CLASS
    columns = class_count + 1
    pairs = truth[known].astype(np.int64) * columns + np.minimum(predicted[known], class_count)
    return np.bincount(pairs, minlength=class_count * columns).reshape(class_count, columns)


def class_iou(counts: Confusion) -> F64:
    """(classes,) float64 in 0..1: hits over the union of truth and prediction; NaN where a class occurs in neither."""
    square = counts[:, : len(counts)]
    hits = np.diag(square).astype(np.float64)
    union = counts.sum(axis=1) + square.sum(axis=0) - hits
    iou: F64 = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    return iou


def mean_iou(counts: Confusion) -> float:
    """Mean over the classes that occur, in percent: the field's mIoU. NaN when nothing was counted."""
    iou = class_iou(counts)
    return float(100 * iou[~np.isnan(iou)].mean()) if not np.isnan(iou).all() else float("nan")


def class_accuracy(counts: Confusion) -> F64:
    """(classes,) float64 in 0..1: the share of each class's true pixels that were found; NaN where it has none."""
    there = counts.sum(axis=1)
    hits = np.diag(counts[:, : len(counts)]).astype(np.float64)
    accuracy: F64 = np.divide(hits, there, out=np.full(len(hits), np.nan), where=there > 0)
    return accuracy


def pixel_accuracy(counts: Confusion) -> float:
    """The share of all counted pixels that are right, 0..1; NaN when nothing was counted."""
    total = int(counts.sum())
    return float(np.trace(counts[:, : len(counts)]) / total) if total else float("nan")
