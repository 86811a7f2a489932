"""Intersection over union against cases worked out by hand, and how label sets map onto each other."""

from __future__ import annotations

import numpy as np
import pytest

from engines.training.data import DataSet, Sample
from engines.training.evaluate import score_set
from engines.training.label_sets import class_table, merge_matrix
from engines.training.recipe import SetSettings
from engines.training.scores import class_iou, confusion, mean_iou

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


def test_prediction_of_none_of_the_classes_is_a_miss_and_nobody_s_find() -> None:
    counts = confusion(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 255, 1, 255]], np.uint8), 2)
    np.testing.assert_allclose(class_iou(counts), [0.5, 0.5])


def test_ambiguous_class_is_shared_among_the_set_classes_that_cover_it() -> None:
    expected = [[0, 0, 0, 1, 0.5], [0, 0, 1, 0, 0.5], [0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(merge_matrix(COARSE, MODEL_CLASSES), np.array(expected, np.float32))


def test_class_table_takes_the_first_cover_and_void_where_there_is_none() -> None:
    assert class_table(COARSE, MODEL_CLASSES)[:6].tolist() == [255, 2, 1, 0, 0, 255]


def test_score_goes_through_the_input_size_and_back() -> None:
    """A predictor that sees only left and right, at another size and aspect than the labels, is right on all of them."""
    label = np.repeat(np.array([[0, 1]], np.uint8), 40, axis=1).repeat(30, axis=0)
    image = np.repeat((label * 200)[..., None], 3, axis=2)
    settings = SetSettings("halves", ("sky", "road"))
    seen_px = []

    def predict(frame: np.ndarray) -> np.ndarray:
        seen_px.append((frame.shape[1], frame.shape[0]))
        return (frame[..., 0] > 100).astype(np.uint8)

    score = score_set(predict, DataSet(settings, (), (Sample("a", image, label),)), MODEL_CLASSES, (160, 96))
    assert seen_px == [(160, 96)]
    assert score.iou == {"sky": 100.0, "road": 100.0}
    assert (score.miou, score.images) == (100.0, 1)
