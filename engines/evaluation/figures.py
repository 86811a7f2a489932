"""A model's scores on one set: the values that `run.py evaluate` prints, draws and writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.datasets.truth import Truth
from engines.evaluation.mapping import ClassMapping
from engines.evaluation.objects import ObjectFigures
from engines.evaluation.scores import Confusion
from engines.types import F64, U8


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """Scores over pixels. Shares in 0..1; of each class, NaN where it does not occur or is unknown to the model.

    counts: (classes, classes + 1) int64 pixels, row = truth, column = prediction, the last one "none of these".
    miou, class_accuracy, boundary_f1: means over the classes that the model knows and that occur.
    pixel_accuracy: over the pixels of the classes that the model knows.
    miou_all: over all classes of the set that occur; unknown ones count as 0.
    """

    counts: Confusion
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
class Latency:
    """Median milliseconds per image."""

    preprocess_ms: float
    inference_ms: float
    decode_ms: float


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
    """All scores; None for what the set has no labels for, or the model does not predict. worst: the worst case first."""

    mapping: ClassMapping
    images: int
    latency: Latency
    pixels: PixelFigures | None
    objects: ObjectFigures | None
    surface: SurfaceFigures | None
    worst: tuple[Case, ...]


def mean_of(values: F64) -> float:
    """The mean without NaN values; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
