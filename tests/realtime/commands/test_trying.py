"""What `models add` tries a new model on, and the legend below the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.models.card import ModelCard, card_from_dict
from engines.models.class_sets import class_set
from engines.types import Instances, Segmentation, Size
from realtime.commands.common.trying import is_for_streets, legend_of, trial_frames
from realtime.render.masks import CARPET_BGR, STROKE_BGR
from realtime.reports.sheets import GAP_PX, LEGEND_PX, patches_in_lines

IMAGE = {"tensor": "i", "size_px": [64, 64], "layout": "nchw", "dtype": "uint8", "channels": "rgb", "fit": "stretch"}


def card(classes: Any, **facts: Any) -> ModelCard:
    known = {"name": "m", "family": "semantic", "outputs": {"labels": "o"}, "input": IMAGE}
    return card_from_dict({**known, "classes": list(classes), **facts}, "card")


def names_of(word: str) -> tuple[str, ...]:
    found = class_set(word)
    assert found is not None
    return found.names


@pytest.mark.parametrize(("word", "is_street"), [("cityscapes", True), ("camvid", True), ("coco", False), ("voc", False)])
def test_a_street_s_classes_are_tried_on_streets(word: str, is_street: bool) -> None:
    assert is_for_streets(card(names_of(word))) == is_street


def test_frames_suit_the_model() -> None:
    street = trial_frames(card(["drivable", "lane line"], outputs={"drivable": "d", "lane": "l"}), None)
    people = trial_frames(card(["person"]), None)
    assert [frame.shape[:2] for frame in street] == [(272, 640)] * 2 + [(720, 1280)] * 2
    assert [frame.shape[:2] for frame in people] == [(144, 176)] * 2 + [(272, 640)] * 2


def test_the_legend_names_what_was_painted() -> None:
    nothing = Instances.none(Size(4, 4))
    found = legend_of([Segmentation(nothing, np.array([[2, 255]], np.uint8))], card(["a", "b", "c"], palette={"c": "#102030"}))
    assert found == [("c", (0x30, 0x20, 0x10))]
    surface = np.zeros((4, 4), np.uint8)
    of_road = card(["drivable", "lane line"], outputs={"drivable": "d", "lane": "l"})
    seen = Segmentation(nothing, np.zeros((4, 4), np.uint8), surface=surface)
    assert legend_of([seen], of_road) == [("drivable", CARPET_BGR), ("lane line", STROKE_BGR)]
    assert [name for name, _ in legend_of([seen], card(["sky", "car"]))] == ["sky", "drivable", "lane line"]


@pytest.mark.parametrize("width", [40, 300, 1280])
def test_no_word_of_a_legend_is_clipped(width: int) -> None:
    entries = [(name, (200, 30, 90)) for name in ("road", "a class with a name of many words", "lane line")]
    strip = patches_in_lines(entries, width)
    alone = patches_in_lines(entries[1:2], 1)
    assert strip.shape[1] == max(width, alone.shape[1])
    coloured = (strip == (200, 30, 90)).all(axis=2)
    assert not coloured[:, -GAP_PX:].any(), "nothing reaches the edge"
    lines = 1 if width == 1280 else 3 if width == 40 else 2
    assert strip.shape[0] >= lines * LEGEND_PX
