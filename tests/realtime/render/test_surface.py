"""The road surface: a carpet instead of the class below it, lane lines as bright strokes over everything but boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.render.masks import CARPET_BGR, STROKE_BGR
from realtime.types import Frame, Result

INPUT = InputSpec("image", (64, 48), "nhwc", "uint8", "rgb", "stretch")
STREET = ModelCard(
    "street", "semantic", INPUT, {"labels": "labels"}, ("road", "sky"), palette={"road": "#804080", "sky": "#4682b4"}
)
ONLY_MASKS = Knobs(opacity=0.5, boxes=False, labels=False, trails=False)
WIDTH, HEIGHT = 640, 360


def street(grid: tuple[int, int] = (160, 90)) -> np.ndarray:
    """The lower half is drivable between two thirds of the width; one line, two cells wide, down its middle."""
    columns, rows = grid
    surface = np.zeros((rows, columns), np.uint8)
    surface[rows // 2 :, columns // 6 : columns * 5 // 6] = 1
    surface[rows // 2 :, columns // 2 - 1 : columns // 2 + 1] = 2
    return surface


def drawn(
    surface: np.ndarray | None, class_map: np.ndarray | None = None, knobs: Knobs = ONLY_MASKS, value: int = 100
) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    segmentation = Segmentation(Instances.none(Size(64, 48)), class_map, surface=surface)
    return compose(Result(Frame(image, 0, 0.0, 0), segmentation, None), knobs, Look(STREET)).image


def mixed(colour: tuple[int, int, int], share: float = 0.5, under: float = 100) -> np.ndarray:
    return (1 - share) * under + share * np.array(colour, float)


def test_the_drivable_surface_is_a_carpet_and_nothing_else_changes() -> None:
    image = drawn(street())
    assert np.abs(image[200:350, 120:300] - mixed(CARPET_BGR)).max() <= 1
    assert (image[:176] == 100).all()
    assert (image[:, :100] == 100).all()
    assert (image[:, 545:] == 100).all()


def test_lane_lines_are_bright_strokes_with_a_dark_edge() -> None:
    for value in (20, 100, 250):
        image = drawn(street(), value=value)
        stroke = image[200:350, 319:321].astype(float)
        assert np.abs(stroke - np.array(STROKE_BGR)).max() < 30, "nearly opaque, on any road"
        beside = image[270, 300:340].astype(int).sum(axis=1)
        carpet = mixed(CARPET_BGR, under=value).sum()
        assert beside.min() < carpet - 60, "an edge darker than the road"
    width_px = (np.abs(drawn(street())[270].astype(float) - np.array(STROKE_BGR)).max(axis=1) < 60).sum()
    assert 6 <= width_px <= 10, "two cells of four pixels, and blurring's share"


def test_the_carpet_replaces_the_class_below() -> None:
    class_map = np.zeros((90, 160), np.uint8)
    class_map[:45] = 1
    image = drawn(street(), class_map)
    assert np.abs(image[200:350, 120:300] - mixed(CARPET_BGR)).max() <= 1, "the same as without a class map"
    assert np.abs(image[200:350, :90] - mixed((128, 64, 128))).max() <= 1
    assert np.abs(image[:170] - mixed((180, 130, 70))).max() <= 1
    finer = drawn(street((320, 180)), class_map)
    assert np.abs(finer[200:350, 120:300] - mixed(CARPET_BGR)).max() <= 1, "whatever the two resolutions"


def test_the_surface_is_drawn_where_its_class_is_hidden() -> None:
    hidden = replace(ONLY_MASKS, hidden_classes=frozenset({0, 1}))
    image = drawn(street(), np.zeros((90, 160), np.uint8), hidden)
    assert np.abs(image[200:350, 120:300] - mixed(CARPET_BGR)).max() <= 1
    assert (image[:170] == 100).all()
    assert (image[:, :100] == 100).all()


def test_the_masks_knob_and_opacity_zero_turn_it_off() -> None:
    for knobs in (replace(ONLY_MASKS, masks=False), replace(ONLY_MASKS, opacity=0.0)):
        assert (drawn(street(), np.zeros((90, 160), np.uint8), knobs) == 100).all()


def test_boxes_are_drawn_over_it() -> None:
    seen = Instances(
        np.array(((200, 150, 420, 330),), np.float32),
        np.array((0.9,), np.float32),
        np.zeros(1, np.int32),
        np.zeros((48, 64), np.uint8),
    )
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    segmentation = Segmentation(seen, surface=street())
    canvas = compose(Result(Frame(image, 0, 0.0, 0), segmentation, None), replace(ONLY_MASKS, boxes=True), Look(STREET)).image
    assert (canvas[329, 200:420] == Look(STREET).class_bgr[0]).all(), "the lower side of the box, across the line"


def test_any_grid_can_be_drawn() -> None:
    for grid in ((1, 1), (2, 90), (160, 1), (2000, 1000), (641, 359)):
        for value in (1, 2):
            surface = np.full(grid[::-1], value, np.uint8)
            image = drawn(surface)
            assert (image != 100).any(axis=2).all()
        assert (drawn(np.zeros(grid[::-1], np.uint8)) == 100).all()
    class_map = np.zeros((48, 64), np.uint8)
    assert drawn(np.zeros((7, 5), np.uint8), class_map).shape == (HEIGHT, WIDTH, 3)


def test_a_diagonal_line_on_a_coarse_map_has_no_steps() -> None:
    surface = np.zeros((48, 64), np.uint8)
    for row in range(4, 44):
        column = row * 7 // 10
        surface[row, column : column + 2] = 2
    image = drawn(surface)
    stroke = np.abs(image.astype(int) - np.array(STROKE_BGR)).max(axis=2) < 60
    assert stroke[80:280].any(axis=1).all()  # no end of the line
    left_px, rows = stroke[80:280].argmax(axis=1), np.arange(200)
    off_px = left_px - np.polyval(np.polyfit(rows, left_px, 1), rows)
    assert off_px.std() < 1.6, "about a straight line; 2.3 where cells are only enlarged"
