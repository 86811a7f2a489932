"""Boundary F1 against the definition worked out pixel by pixel, and against cases known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engines.evaluation.scores import TOLERANCE_SHARE, boundary_f1, tolerance_px
from engines.types import VOID_CLASS

CLASSES = 3


def brute_force(truth: np.ndarray, predicted: np.ndarray, class_count: int) -> list[float]:
    """The module's definition, in loops."""
    height, width = truth.shape
    limit = TOLERANCE_SHARE * math.hypot(height, width)

    def line(label: np.ndarray, class_id: int) -> list[tuple[int, int]]:
        found = []
        for y in range(height):
            for x in range(width):
                if truth[y, x] == VOID_CLASS or label[y, x] != class_id:
                    continue
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and truth[ny, nx] != VOID_CLASS and label[ny, nx] != class_id:
                        found.append((y, x))
                        break
        return found

    def share_near(of: list[tuple[int, int]], to: list[tuple[int, int]]) -> float:
        return sum(min(math.hypot(y - v, x - u) for v, u in to) < limit for y, x in of) / len(of)

    scores = []
    for class_id in range(class_count):
        true_line, predicted_line = line(truth, class_id), line(predicted, class_id)
        if not true_line and not predicted_line:
            scores.append(math.nan)
        elif not true_line or not predicted_line:
            scores.append(0.0)
        else:
            precision, recall = share_near(predicted_line, true_line), share_near(true_line, predicted_line)
            scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return scores


MAPS = arrays.arrays(np.uint8, (9, 150), elements=st.sampled_from([0, 0, 0, 1, 2, VOID_CLASS]))


@settings(max_examples=15, deadline=None)
@given(MAPS, MAPS)
def test_boundary_f1_is_as_defined(truth: np.ndarray, predicted: np.ndarray) -> None:
    """150 pixels of width make a tolerance of 1.1: neighbours count, diagonals do not."""
    assert 1 < tolerance_px(*truth.shape) < math.sqrt(2)
    np.testing.assert_allclose(boundary_f1(truth, predicted, CLASSES), brute_force(truth, predicted, CLASSES))


def halves(edge: int) -> np.ndarray:
    label = np.zeros((300, 400), np.uint8)
    label[:, edge:] = 1
    return label


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 1.0), (4, 0.0), (-3, 1.0), (-4, 0.0)])
def test_an_edge_that_is_off_counts_up_to_the_tolerance(shift: int, expected: float) -> None:
    """500 pixels of diagonal: less than 3.75 pixels."""
    assert tolerance_px(300, 400) == pytest.approx(3.75)
    np.testing.assert_allclose(boundary_f1(halves(200), halves(200 + shift), 2), expected)


def test_half_of_an_edge() -> None:
    """Right in the upper half, far off in the lower: half of both precision and recall, but for the step across."""
    predicted = halves(200)
    predicted[150:, 100:200] = 1
    # The true edge has 300 pixels on either side. 150 and those within reach of the upper half's end are met.
    scores = boundary_f1(halves(200), predicted, 2)
    assert ((scores > 0.4) & (scores < 0.55)).all()


def test_the_rim_and_the_edge_of_void_are_not_a_boundary() -> None:
    truth = halves(200)
    truth[:, 190:210] = VOID_CLASS
    assert np.isnan(boundary_f1(truth, halves(200), 2)).all()
    assert boundary_f1(truth, halves(100), 2).tolist() == [0.0, 0.0]


def test_none_of_the_classes_makes_a_boundary_for_its_neighbours() -> None:
    predicted = halves(200)
    predicted[:, 200:] = VOID_CLASS
    np.testing.assert_allclose(boundary_f1(halves(200), predicted, 2), [1.0, 0.0])
