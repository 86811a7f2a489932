"""Masks of objects on one label map: against plain references, in single and half precision."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.decoding import halves
from engines.decoding.cuts import Cuts
from engines.decoding.masks import chosen_masks, mixed_masks, paint_masks
from engines.errors import InferenceError
from engines.models.fit import Fit, fit
from engines.types import Size

Floats = npt.NDArray[np.float32]


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


def cuts_one_by_one(boxes_px: Floats, geometry: Fit, cells: Size, magnify: int) -> list[list[int]]:
    """The rows of `Cuts.table`, each worked out by itself with plain numbers."""
    cell_x, cell_y = geometry.net.width * magnify / cells.width, geometry.net.height * magnify / cells.height
    left, top = geometry.left * magnify, geometry.top * magnify
    map_width, map_height = geometry.content.width * magnify, geometry.content.height * magnify
    to_map = np.array((map_width / geometry.frame.width, map_height / geometry.frame.height) * 2, np.float32)
    rows = []
    for x0, y0, x1, y1 in np.rint(boxes_px * to_map).astype(int).tolist():
        first_x, stop_x = max(int((left + x0) / cell_x) - 1, 0), min(int((left + x1 - 1) / cell_x) + 2, cells.width)
        first_y, stop_y = max(int((top + y0) / cell_y) - 1, 0), min(int((top + y1 - 1) / cell_y) + 2, cells.height)
        from_x, from_y = round(first_x * cell_x), round(first_y * cell_y)
        size = (round(stop_x * cell_x) - from_x, round(stop_y * cell_y) - from_y)
        sampled = [first_x, first_y, stop_x - first_x, stop_y - first_y]
        rows.append([x0, y0, x1, y1, *sampled, *size, left + x0 - from_x, top + y0 - from_y])
    return rows


edge = st.integers(0, 400)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(edge, edge, st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=6),
    st.tuples(st.integers(20, 400), st.integers(20, 400)),
    st.tuples(st.integers(3, 60), st.integers(3, 60)),
    st.sampled_from(("letterbox", "letterbox_top_left", "stretch")),
    st.integers(1, 4),
)
def test_the_cuts_of_all_boxes_equal_those_of_each(
    boxes: list[tuple[int, int, int, int]], frame: tuple[int, int], cells: tuple[int, int], how: str, magnify: int
) -> None:
    geometry = fit(Size(*frame), Size(96, 64), how)
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32)
    np.clip(corners[:, 0::2], 0, frame[0], out=corners[:, 0::2])
    np.clip(corners[:, 1::2], 0, frame[1], out=corners[:, 1::2])
    corners = corners[((corners[:, 2:] - corners[:, :2]) >= 1).all(axis=1)]

    cuts = Cuts.of(corners, geometry, Size(*cells), magnify)

    wanted = np.array(cuts_one_by_one(corners, geometry, Size(*cells), magnify)).reshape(-1, 12)
    seen = cuts.visible()
    assert seen == [row for row, cut in enumerate(wanted) if cut[2] > cut[0] and cut[3] > cut[1]]
    np.testing.assert_array_equal(cuts.table[seen], wanted[seen])


@pytest.mark.parametrize("opencv_can", [True, False])
def test_masks_of_halves_are_those_of_the_same_numbers_in_single_precision(
    monkeypatch: pytest.MonkeyPatch, opencv_can: bool
) -> None:
    if not opencv_can:
        monkeypatch.setattr(halves, "_opencv_can", lambda: False)
    rng = np.random.default_rng(3)
    geometry = fit(Size(640, 360), Size(160, 160), "letterbox")
    prototypes = smooth_prototypes(rng, 8, 40, 40).astype(np.float16)
    boxes_px = np.array([(30, 20, 200, 300), (400, 100, 600, 250), (7, 9, 8, 10)], np.float32)
    coefficients, rows = rng.standard_normal((3, 8)).astype(np.float32), np.array([5, 0, 3])
    for magnify in (1, 2, 4):
        for make, numbers in ((mixed_masks, coefficients), (chosen_masks, rows)):
            given = (numbers, prototypes) if make is mixed_masks else (prototypes, numbers)
            singles = [array.astype(np.float32) if array.dtype == np.float16 else array for array in given]
            painted = make(*given, boxes_px, geometry, magnify).painted()
            assert painted.any()
            np.testing.assert_array_equal(painted, make(*singles, boxes_px, geometry, magnify).painted())


def test_halves_of_no_object_are_not_read() -> None:
    geometry = fit(Size(64, 64), Size(64, 64), "stretch")
    prototypes = np.full((2, 16, 16), np.nan, np.float16)
    assert not paint_masks(np.zeros((0, 2), np.float32), prototypes, np.zeros((0, 4), np.float32), geometry, 1).any()


def test_every_half_becomes_the_number_that_it_is() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(4, -1, 2)
    for numbers in (every, every[:, ::3], every[:0]):
        np.testing.assert_array_equal(halves.as_float32(numbers), numbers.astype(np.float32))
        assert halves.as_float32(numbers).dtype == np.float32
    singles = np.ones((2, 3), np.float32)
    assert halves.as_float32(singles) is singles
