"""Scores on held-out images during training: images are fitted to the input as frames are, and labels mapped back.

`run.py evaluate` scores a finished model on any backend (engines/evaluation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from engines.datasets.folder import DataSet, Sample
from engines.evaluation.mapping import class_table, truth_table
from engines.evaluation.scores import class_iou, confusion, mean_iou
from engines.models.card import InputSpec
from engines.models.fit import InputFiller
from engines.training.recipe import Recipe
from engines.types import I64, U8

Predictor: TypeAlias = Callable[[U8], U8]
"""(H, W, 3) uint8 BGR of the model's input size to (H, W) uint8 class ids."""

IDENTITY = np.arange(256, dtype=np.uint8)


class SetScore(NamedTuple):
    """The scores of a model on one set, in percent. iou lacks classes that do not occur."""

    name: str
    images: int
    miou: float
    iou: dict[str, float]


def score_set(predict: Predictor, data_set: DataSet, recipe: Recipe, samples: Iterable[Sample] | None = None) -> SetScore:
    """Score `predict` on the set's held-out images, or on `samples`, at the size of their labels.

    It is scored in the set's classes; in the model's where the model has fewer, since it cannot distinguish the set's.
    """
    names, table, truth = data_set.settings.classes, class_table(data_set.settings, recipe.classes), IDENTITY
    if len(recipe.classes) < len(names):
        names, table, truth = recipe.classes, IDENTITY, truth_table(data_set.settings, recipe.classes)
    counts: I64 = np.zeros((len(names), len(names) + 1), np.int64)
    chosen = list(data_set.held_out if samples is None else samples)
    for sample in chosen:
        counts += confusion(truth[sample.label], table[predict_frame(predict, sample.image, recipe.input)], len(names))
    iou = {name: float(100 * value) for name, value in zip(names, class_iou(counts), strict=True) if not np.isnan(value)}
    return SetScore(data_set.settings.name, len(chosen), mean_iou(counts), iou)


def predict_frame(predict: Predictor, image: U8, spec: InputSpec) -> U8:
    """(H, W, 3) uint8 BGR of any size to (H, W) uint8 class ids: fitted to the input, labels cut and resized back."""
    tensor, geometry = InputFiller(spec)(image)
    labels = np.ascontiguousarray(geometry.cut(predict(np.asarray(tensor[0], np.uint8))))
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
