"""Which classes of a data set correspond to which classes of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.datasets.settings import SetSettings
from engines.types import F32, U8, VOID_CLASS


def merge_matrix(settings: SetSettings, model_classes: Sequence[str]) -> F32:
    """(set classes, model classes) float32: the probability that a pixel of this model class has this set class.

    A model class that several set classes cover is shared evenly among them, so each covered column sums to 1: with whole
    shares, predicting the ambiguous class everywhere would cost nothing. A model class that none covers has a column of zeros.
    """
    merge = np.zeros((len(settings.classes), len(model_classes)), np.float32)
    for row, name in enumerate(settings.classes):
        for target in settings.means.get(name, (name,)):
            merge[row, model_classes.index(target)] = 1
    return np.asarray(merge / np.maximum(1, merge.sum(axis=0)), np.float32)


def class_table(settings: SetSettings, model_classes: Sequence[str]) -> U8:
    """(256,) uint8 look-up from a model's class to the set's class; 255 where the set has no such class.

    Where several set classes cover one model class, the first of them is taken, which can only lower the score.
    """
    merge = merge_matrix(settings, model_classes)
    table = np.full(256, VOID_CLASS, np.uint8)
    for column in range(len(model_classes)):
        if merge[:, column].any():
            table[column] = int(merge[:, column].argmax())
    return table


def truth_table(settings: SetSettings, model_classes: Sequence[str]) -> U8:
    """(256,) uint8 look-up from a set's class to the one model class it covers; 255 where it covers none, or several."""
    merge = merge_matrix(settings, model_classes) > 0
    table = np.full(256, VOID_CLASS, np.uint8)
    for row, covered in enumerate(merge):
        if covered.sum() == 1:
            table[row] = int(covered.argmax())
    return table
