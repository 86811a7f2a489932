"""Masks of objects, pixel by pixel: compared with painting each over the whole picture in turn."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation
from realtime.knobs import Knobs, MaskStyle
from realtime.render import Look, compose
from realtime.render.masks import ROWS_PX
from realtime.types import Frame, Result

INPUT = InputSpec("image", (64, 48), "nchw", "float32", "rgb", "stretch")
CARD = ModelCard("objects", "yolo_seg", INPUT, {"predictions": "p", "prototypes": "q"}, ("person", "bicycle", "car", "dog"))
ONLY_MASKS = Knobs(opacity=0.4, boxes=False, labels=False, trails=False, threshold=0.25)
WIDTH, HEIGHT = 300, ROWS_PX + 60
OBJECT = st.tuples(st.integers(-20, WIDTH), st.integers(-20, HEIGHT), st.integers(1, 200), st.integers(1, 250))


def scene(*ellipses: tuple[int, int, int, int]) -> Instances:
    """Ellipses (x, y, width, height), the first on top. Boxes in fractions of a pixel, like a network's."""
    label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    for row, (x, y, width, height) in reversed(list(enumerate(ellipses))):
        cv2.ellipse(label_map, ((x + width / 2, y + height / 2), (width, height), 0), row + 1, cv2.FILLED)
    boxes = [cv2.boundingRect((label_map == row + 1).astype(np.uint8)) for row in range(len(ellipses))]
    corners = np.array([(x + 0.4, y + 0.4, x + max(1, w - 0.6), y + max(1, h - 0.6)) for x, y, w, h in boxes], np.float32)
    scores = np.linspace(0.9, 0.1, len(ellipses)).astype(np.float32)
    return Instances(corners.reshape(-1, 4), scores, np.arange(len(ellipses), dtype=np.int32) % 4, label_map)


def frame() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def drawn(seen: Instances, knobs: Knobs = ONLY_MASKS) -> np.ndarray:
    return compose(Result(Frame(frame(), 0, 0.0, 0), Segmentation(seen), None), knobs, Look(CARD)).image


def expected(seen: Instances, style: MaskStyle) -> np.ndarray:
    """The definition: a rim pixel has a lower row, or no shown object, among its four neighbours."""
    image, look = frame().astype(float), Look(CARD)
    shown = [row for row in range(len(seen)) if seen.scores[row] >= ONLY_MASKS.threshold]
    owners = np.where(np.isin(seen.label_map, [row + 1 for row in shown]), seen.label_map, 0)
    edged = np.pad(owners, 1, constant_values=255)
    lowest = np.min([edged[:-2, 1:-1], edged[2:, 1:-1], edged[1:-1, :-2], edged[1:-1, 2:]], axis=0)
    for row in shown:
        colour = look.class_bgr[seen.class_ids[row]].astype(float)
        own = owners == row + 1
        if style != "contour":
            image[own] = 0.6 * image[own] + 0.4 * colour
        if style != "fill":
            image[own & (lowest < owners)] = colour
    return image


@pytest.mark.parametrize("style", ["both", "contour", "fill"])
@given(st.lists(OBJECT, min_size=1, max_size=12))
@hypothesis_settings(max_examples=25, deadline=None)
def test_objects_are_painted_exact_to_the_pixel(style: MaskStyle, ellipses: list[tuple[int, int, int, int]]) -> None:
    seen = scene(*ellipses)
    image = drawn(seen, replace(ONLY_MASKS, mask_style=style))
    assert np.abs(image - expected(seen, style)).max() <= 1


def test_a_contour_is_closed_where_its_box_ends() -> None:
    """Boxes end in fractions of a pixel: the mask's last row and column can be outside the rounded box."""
    seen = scene((60, 40, 120, 90))
    x, y, width, height = cv2.boundingRect((seen.label_map == 1).astype(np.uint8))
    image = drawn(seen)
    colour = Look(CARD).class_bgr[0]
    for rows, columns in (((y, y + height - 1), slice(None)), (slice(None), (x, x + width - 1))):
        edge = np.zeros_like(seen.label_map, bool)
        edge[rows, columns] = True
        assert (image[edge & (seen.label_map == 1)] == colour).all()


def test_an_object_in_several_tiles_has_no_seam() -> None:
    seen = scene((20, 10, 200, HEIGHT - 30))
    inner = cv2.erode(seen.label_map, np.ones((5, 5), np.uint8)) > 0
    plain = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    image = compose(Result(Frame(plain, 0, 0.0, 0), Segmentation(seen), None), ONLY_MASKS, Look(CARD)).image
    assert len(np.unique(image[inner], axis=0)) == 1


def test_a_mask_outside_its_box_does_not_take_another_objects_colour() -> None:
    """Some networks do not crop masks to boxes: a neighbour's pixels in an object's tile keep the neighbour's colour."""
    seen = scene((50, 40, 80, 80), (220, 40, 80, 80))
    seen.label_map[60:70, 40:300][seen.label_map[60:70, 40:300] == 0] = 2  # an arm of the second, across the first's tile
    image, untouched, look = drawn(seen), frame(), Look(CARD)
    arm = (slice(62, 68), slice(50, 130))
    is_arm = seen.label_map[arm] == 2
    tinted = 0.6 * untouched[arm] + 0.4 * look.class_bgr[0].astype(float)
    assert is_arm.any()
    assert (np.abs(image[arm].astype(float) - tinted)[is_arm].max(axis=1) > 1).any(), "not in the first's colour"


def test_a_hidden_class_can_have_any_id() -> None:
    """A class map holds 255 classes, a model of objects may have a thousand."""
    names = tuple(f"thing {number}" for number in range(300))
    many = ModelCard("many", "yolo_seg", INPUT, {"predictions": "p", "prototypes": "q"}, names)
    shown = Look(many).shown(frozenset({3, 299}))
    assert (shown[3], shown[4]) == (0, 255)
