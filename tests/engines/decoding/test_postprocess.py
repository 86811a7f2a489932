from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.decoding.postprocess import argmax_channels, centre_to_corners, components, nms, paint_masks
from engines.errors import InferenceError
from engines.models.fit import Fit, fit
from engines.types import Size

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


def full_size_masks(
    coefficients: Floats, prototypes: Floats, boxes_px: Floats, geometry: Fit, magnify: int
) -> list[npt.NDArray[np.bool_]]:
    """Every prototype upsampled over the whole input, mixed, cut to the frame and to the box: slow and plain."""
    net = (geometry.net.width * magnify, geometry.net.height * magnify)
    upsampled = np.stack([cv2.resize(plane, net, interpolation=cv2.INTER_LINEAR) for plane in prototypes])
    masks = np.einsum("nk,khw->nhw", coefficients, upsampled)
    left, top = geometry.left * magnify, geometry.top * magnify
    height, width = geometry.content.height * magnify, geometry.content.width * magnify
    masks = masks[:, top : top + height, left : left + width] > 0
    scale = np.array((width / geometry.frame.width, height / geometry.frame.height) * 2)
    rows, columns = np.indices((height, width))
    for mask, (x0, y0, x1, y1) in zip(masks, np.rint(boxes_px * scale).astype(int), strict=True):
        mask &= (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    return list(masks)


def smooth_prototypes(rng: np.random.Generator, count: int, height: int, width: int) -> Floats:
    noise = rng.standard_normal((count, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in noise])


CASES = [
    ("letterbox", Size(1280, 720), Size(320, 320), 4, 1),
    ("letterbox", Size(1280, 720), Size(320, 320), 4, 2),
    ("letterbox", Size(1280, 720), Size(320, 320), 4, 4),
    ("letterbox", Size(333, 517), Size(320, 320), 4, 2),
    ("letterbox_top_left", Size(517, 333), Size(320, 320), 4, 3),
    ("stretch", Size(641, 361), Size(320, 192), 4, 2),
    ("stretch", Size(641, 361), Size(320, 192), 8, 1),
    ("letterbox", Size(320, 320), Size(320, 320), 2, 1),
]


@pytest.mark.parametrize(("how", "frame", "net", "stride", "magnify"), CASES)
def test_masks_agree_with_a_full_size_reference(how: str, frame: Size, net: Size, stride: int, magnify: int) -> None:
    """Each object painted alone over random boxes, some at the frame's edges and corners, some a pixel wide."""
    rng = np.random.default_rng(7)
    geometry = fit(frame, net, how)
    prototypes = smooth_prototypes(rng, 8, net.height // stride, net.width // stride)
    width, height = frame.width, frame.height
    boxes = [(0, 0, width, height), (0, 0, 40, 30), (width - 37, height - 29, width, height), (0, 50, width, 90), (5, 5, 6, 200)]
    for _ in range(12):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        boxes.append((x, y, min(width, x + rng.uniform(1, width)), min(height, y + rng.uniform(1, height))))
    boxes_px = np.array(boxes, np.float32)
    coefficients = rng.standard_normal((len(boxes), 8)).astype(np.float32)

    references = full_size_masks(coefficients, prototypes, boxes_px, geometry, magnify)

    ious = []
    for row, reference in enumerate(references):
        labels = paint_masks(coefficients[row : row + 1], prototypes, boxes_px[row : row + 1], geometry, magnify)
        assert labels.shape == reference.shape
        assert labels.dtype == np.uint8
        union = ((labels == 1) | reference).sum()
        ious.append(((labels == 1) & reference).sum() / union if union else 1.0)
    assert np.mean(ious) >= 0.999
    assert min(ious) >= 0.98


@pytest.mark.parametrize("magnify", [1, 2])
@pytest.mark.parametrize("cells", [(8, 8), (12, 9), (13, 7)])
def test_no_mask_is_lost_where_a_cell_is_not_a_whole_number_of_pixels(cells: tuple[int, int], magnify: int) -> None:
    """20 network pixels to 8 cells: both ends of a crop rounded to even once left it a pixel short, and nothing was painted."""
    geometry = fit(Size(20, 20), Size(20, 20), "stretch")
    prototypes = np.ones((1, cells[1], cells[0]), np.float32)
    for x in range(0, 20):
        for width in (1, 3, 20):
            box_px = np.array([(x, x, min(20, x + width), min(20, x + width))], np.float32)
            labels = paint_masks(np.ones((1, 1), np.float32), prototypes, box_px, geometry, magnify)
            side = (min(20, x + width) - x) * magnify
            assert np.count_nonzero(labels) == side * side


def test_where_masks_overlap_the_higher_score_wins() -> None:
    geometry = fit(Size(64, 64), Size(64, 64), "stretch")
    prototypes = np.ones((1, 16, 16), np.float32)
    boxes_px = np.array([(10, 10, 40, 40), (20, 20, 60, 60), (0, 0, 64, 64)], np.float32)

    labels = paint_masks(np.ones((3, 1), np.float32), prototypes, boxes_px, geometry, 1)

    expected = np.full((64, 64), 3, np.uint8)
    expected[20:60, 20:60] = 2
    expected[10:40, 10:40] = 1
    np.testing.assert_array_equal(labels, expected)


def test_254_objects_have_254_labels() -> None:
    geometry = fit(Size(256, 64), Size(256, 64), "stretch")
    boxes_px = np.array([(i, 0, i + 1, 64) for i in range(254)], np.float32)
    labels = paint_masks(np.ones((254, 1), np.float32), np.ones((1, 16, 64), np.float32), boxes_px, geometry, 1)
    assert labels[5].tolist() == [*range(1, 255), 0, 0]


def test_no_objects_make_an_empty_map_over_the_whole_frame() -> None:
    geometry = fit(Size(1280, 720), Size(640, 640), "letterbox")
    labels = paint_masks(
        np.zeros((0, 32), np.float32), np.zeros((32, 160, 160), np.float32), np.zeros((0, 4), np.float32), geometry, 2
    )
    assert labels.shape == (720, 1280)
    assert not labels.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prototypes_that_are_not_finite_are_an_error(value: float) -> None:
    geometry = fit(Size(64, 64), Size(64, 64), "stretch")
    prototypes = np.ones((2, 16, 16), np.float32)
    prototypes[1, 8, 8] = value
    box_px = np.array([(20, 20, 50, 50)], np.float32)
    with pytest.raises(InferenceError, match="array of masks contains NaN"):
        paint_masks(np.ones((1, 2), np.float32), prototypes, box_px, geometry, 1)


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
