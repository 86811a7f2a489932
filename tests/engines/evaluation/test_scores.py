"""Intersection over union against cases worked out by hand, and how label sets map onto each other."""

from __future__ import annotations

import numpy as np
import pytest

from engines.datasets.settings import SetSettings
from engines.evaluation.mapping import class_table, merge_matrix
from engines.evaluation.scores import class_accuracy, class_iou, confusion, mean_iou, pixel_accuracy

MODEL_CLASSES = ("sky", "road", "car", "pedestrian", "bicyclist")
COARSE = SetSettings("coarse", ("living", "vehicle", "ground"), means={
    "living": ("pedestrian", "bicyclist"), "vehicle": ("car", "bicyclist"), "ground": ("road",),
})  # fmt: skip


def test_iou_of_a_case_worked_out_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, 2, 255]], np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 0, 1, 0]], np.uint8)
    counts = confusion(truth, predicted, 4)
    np.testing.assert_array_equal(counts[:, :4], [[2, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    # 0: 2 hits of 3 + 3 - 2; 1: 2 hits of 3 + 4 - 2; 2: never found; 3: occurs nowhere.
    np.testing.assert_allclose(class_iou(counts), [2 / 4, 2 / 5, 0, np.nan])
    assert mean_iou(counts) == pytest.approx(100 * (2 / 4 + 2 / 5 + 0) / 3)
    np.testing.assert_allclose(class_accuracy(counts), [2 / 3, 2 / 3, 0, np.nan])
    assert pixel_accuracy(counts) == pytest.approx(4 / 7)


def test_prediction_of_none_of_the_classes_is_a_miss_and_no_class_s_false_positive() -> None:
    counts = confusion(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 255, 1, 255]], np.uint8), 2)
    np.testing.assert_allclose(class_iou(counts), [0.5, 0.5])
    assert pixel_accuracy(counts) == 0.5
    assert np.isnan(pixel_accuracy(np.zeros((2, 3), np.int64)))


def test_ambiguous_class_is_shared_among_the_set_classes_that_cover_it() -> None:
    expected = [[0, 0, 0, 1, 0.5], [0, 0, 1, 0, 0.5], [0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(merge_matrix(COARSE, MODEL_CLASSES), np.array(expected, np.float32))


def test_class_table_takes_the_first_cover_and_void_where_there_is_none() -> None:
    assert class_table(COARSE, MODEL_CLASSES)[:6].tolist() == [255, 2, 1, 0, 0, 255]
