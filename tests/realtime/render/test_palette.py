"""Colours: told apart side by side, and the same in every run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.models.card import InputSpec, ModelCard
from engines.models.coco import COCO_CLASSES
from realtime.render.palette import bgr_table, class_colours

FIRST_CLASS_COLOURS = ((114, 217, 115), (247, 85, 132), (110, 232, 255))


def card(classes: tuple[str, ...], palette: dict[str, str] | None = None) -> ModelCard:
    image = InputSpec("image", (64, 48), "nhwc", "uint8", "rgb", "stretch")
    return ModelCard("any", "semantic", image, {"labels": "labels"}, classes, palette=palette or {})


def lab(bgr: np.ndarray) -> np.ndarray:
    """(N, 3) CIE L*a*b* of (N, 3) uint8 BGR."""
    return cv2.cvtColor(bgr.reshape(1, -1, 3).astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[0]


def test_colours_are_the_same_in_every_run() -> None:
    """Frozen values: a recording of today and one of tomorrow look alike."""
    assert class_colours(card(("a", "b", "c"))) == FIRST_CLASS_COLOURS


def test_a_class_keeps_its_colour_whatever_classes_follow() -> None:
    assert class_colours(card(COCO_CLASSES))[:5] == class_colours(card(COCO_CLASSES[:5]))


def test_the_cards_own_colours_win() -> None:
    colours = class_colours(card(("road", "car"), {"car": "#0a64fF"}))
    assert colours[1] == (10, 100, 255)
    assert colours[0] == class_colours(card(("road", "car")))[0]


def test_neighbouring_classes_of_coco_differ() -> None:
    colours = lab(bgr_table(class_colours(card(COCO_CLASSES))))
    assert np.linalg.norm(np.diff(colours, axis=0), axis=1).min() > 20


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_table_has_a_row_per_colour_in_bgr(count: int) -> None:
    table = bgr_table([(1, 2, 3)] * count)
    assert table.shape == (count, 3)
    assert table.dtype == np.uint8
    assert (table == (3, 2, 1)).all()
