from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.decoding.postprocess import argmax_channels, centre_to_corners, components, nms

Floats = npt.NDArray[np.float32]


def naive_nms(boxes: Floats, scores: Floats, classes: npt.NDArray[np.int32], threshold: float, max_count: int) -> list[int]:
    """Best first; each is kept unless a kept one of its class overlaps it by more than the threshold."""

    def iou(a: Floats, b: Floats) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        overlap = max(width, 0) * max(height, 0)
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
        return float(overlap / union) if union > 0 else 0.0

    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(classes[i] != classes[j] or iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept[:max_count]


# Whole numbers, so that an overlap that is exactly the threshold is exactly that in both.
corner = st.integers(0, 24)
box = st.tuples(corner, corner, st.integers(0, 12), st.integers(0, 12)).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
candidate = st.tuples(box, st.integers(1, 20), st.integers(0, 2))


@settings(deadline=None, max_examples=150)
@given(st.lists(candidate, max_size=25), st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]), st.integers(1, 30))
def test_nms_agrees_with_the_naive_one(
    candidates: list[tuple[tuple[int, int, int, int], int, int]], threshold: float, max_count: int
) -> None:
    boxes = np.array([c[0] for c in candidates], np.float32).reshape(-1, 4)
    scores = np.array([c[1] for c in candidates], np.float32) / 20
    classes = np.array([c[2] for c in candidates], np.int32)

    kept, cut_off = nms(boxes, scores, classes, threshold, max_count)

    everything = naive_nms(boxes, scores, classes, threshold, len(boxes))
    assert (kept.tolist(), cut_off) == (everything[:max_count], max(0, len(everything) - max_count))


def test_nms_of_nothing_is_nothing() -> None:
    kept, _ = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), 0.5, 10)
    assert kept.shape == (0,)
    assert np.zeros(5)[kept].shape == (0,)


def test_nms_survives_boxes_too_big_for_an_area() -> None:
    boxes = np.array([(0, 0, 1e30, 1e30), (0, 0, 1e30, 1e30), (0, 0, 10, 10)], np.float32)
    kept, _ = nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32), 0.5, 10)
    assert set(kept.tolist()) >= {0, 2}


def test_nms_keeps_two_classes_in_one_place() -> None:
    boxes = np.array([(0, 0, 10, 10)] * 3, np.float32)
    scores = np.array([0.5, 0.9, 0.8], np.float32)
    assert nms(boxes, scores, np.array([0, 0, 1], np.int32), 0.5, 10)[0].tolist() == [1, 2]


def test_nms_stops_at_max_count_with_the_best() -> None:
    boxes = np.array([(20 * i, 0, 20 * i + 10, 10) for i in range(9)], np.float32)
    scores = np.linspace(0.1, 0.9, 9, dtype=np.float32)
    kept, cut_off = nms(boxes, scores, np.zeros(9, np.int32), 0.5, 3)
    assert (kept.tolist(), cut_off) == ([8, 7, 6], 6)


def test_centre_to_corners() -> None:
    assert centre_to_corners(np.array([(10, 20, 4, 6)], np.float32)).tolist() == [[8, 17, 12, 23]]
    assert centre_to_corners(np.zeros((0, 4), np.float32)).shape == (0, 4)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 255), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_argmax_agrees_with_numpy_also_in_ties(channels: int, height: int, width: int, seed: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 3, (channels, height, width)) if coarse else rng.standard_normal((channels, height, width))
    logits = values.astype(np.float32)
    before = logits.copy()

    labels = argmax_channels(logits)

    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, logits.argmax(axis=0))
    np.testing.assert_array_equal(logits, before)


def test_components_are_found_with_their_rectangle_and_specks_left_out() -> None:
    class_map = np.zeros((40, 60), np.uint8)
    class_map[5:15, 10:30] = 2
    class_map[5:7, 10:12] = 0  # a corner missing: the mask is not the rectangle
    class_map[20:22, 40:43] = 2  # 6 pixels: a speck
    class_map[30:40, 50:60] = 3
    class_map[0, 0] = 1  # a class that is not asked for

    found = list(components(class_map, (3, 2), min_area=7))

    assert [(class_id, rectangle) for class_id, _, rectangle in found] == [(3, (50, 30, 10, 10)), (2, (10, 5, 20, 10))]
    expected = np.full((10, 20), 255, np.uint8)
    expected[:2, :2] = 0
    np.testing.assert_array_equal(found[1][1], expected)
    assert found[1][1].dtype == np.uint8


def test_components_hang_together_over_corners_but_not_over_classes() -> None:
    class_map = np.zeros((20, 20), np.uint8)
    class_map[:10, :10] = 1
    class_map[10:, 10:] = 1
    class_map[:10, 10:] = 2
    assert [(c, r) for c, _, r in components(class_map, (1, 2), 1)] == [(1, (0, 0, 20, 20)), (2, (10, 0, 10, 10))]


def test_components_of_noise_are_not_walked_one_by_one() -> None:
    """A hundred thousand specks, more than 16 bits count, and one object among them."""
    class_map = np.zeros((1200, 1200), np.uint8)
    class_map[::2, ::2] = 1
    class_map[1100:1150, 1100:1150] = 1
    found = list(components(class_map, (1,), 100))
    assert len(found) == 1
    x, y, width, height = found[0][2]
    assert (x, y, x + width, y + height) == (1100, 1100, 1151, 1151)
    assert np.count_nonzero(found[0][1]) == 2500 + 51


def test_things_that_touch_are_cut_where_they_are_thin() -> None:
    """Two cars joined by a strip of what the network took for car: two objects, and no pixel of them lost."""
    class_map = np.zeros((60, 120), np.uint8)
    class_map[10:40, 10:50] = class_map[14:44, 70:110] = 1
    class_map[24:32, 50:70] = 1
    found = list(components(class_map, (1,), 20))
    assert sorted(rectangle[0] for _, _, rectangle in found) == [10, pytest.approx(60, abs=2)]
    assert sum(np.count_nonzero(mask) for _, mask, _ in found) == np.count_nonzero(class_map)


@pytest.mark.parametrize("shape", ["car", "bus", "person"])
def test_one_thing_is_not_cut(shape: str) -> None:
    class_map = np.zeros((80, 160), np.uint8)
    if shape == "car":  # a cabin on a body
        class_map[30:60, 20:110], class_map[14:30, 40:85] = 1, 1
    elif shape == "bus":
        class_map[10:60, 10:150] = 1
    else:
        class_map[5:75, 60:85] = 1
    assert len(list(components(class_map, (1,), 20))) == 1
