"""Colours of classes and track ids: different side by side, for every kind of eye, and the same in every run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.models.card import InputSpec, ModelCard
from engines.models.coco import COCO_CLASSES
from realtime.render.palette import ID_COLOURS, bgr_table, class_colours, id_colours

FIRST_CLASS_COLOURS = ((114, 217, 115), (247, 85, 132), (110, 232, 255))

EYES = {
    "normal": np.eye(3),
    # Machado, Oliveira, Fernandes (2009), severity 1: the published matrices, over linear red, green, blue.
    "protanope": np.array(((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))),
    "deuteranope": np.array(((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))),
}
LEAST_DIFFERENCE = {5: 18, 10: 12, 20: 8}
"""Minimum CIE76 distance by how far apart two ids are at most; about 2 can just be seen, 10 at a glance. 20 covers all ids."""

FIRST_BGR = [[49, 227, 240], [251, 96, 121], [170, 237, 194]]


def card(classes: tuple[str, ...], palette: dict[str, str] | None = None) -> ModelCard:
    image = InputSpec("image", (64, 48), "nhwc", "uint8", "rgb", "stretch")
    return ModelCard("any", "semantic", image, {"labels": "labels"}, classes, palette=palette or {})


def lab(bgr: np.ndarray) -> np.ndarray:
    """(N, 3) CIE L*a*b* of (N, 3) uint8 BGR."""
    return cv2.cvtColor(bgr.reshape(1, -1, 3).astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[0]


def test_class_colours_are_the_same_in_every_run() -> None:
    """Frozen values: recordings made at different times look alike."""
    assert class_colours(card(("a", "b", "c"))) == FIRST_CLASS_COLOURS


def test_a_class_keeps_its_colour_whatever_classes_follow() -> None:
    assert class_colours(card(COCO_CLASSES))[:5] == class_colours(card(COCO_CLASSES[:5]))


def test_the_cards_palette_comes_first() -> None:
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


def as_seen(eye: np.ndarray) -> np.ndarray:
    """(N, 3) L*a*b* of all id colours for this kind of eye."""
    rgb = id_colours()[:, ::-1] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ eye.T, 0, 1)
    gamma = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(gamma[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize("name", EYES)
def test_ids_close_to_each_other_differ_clearly_for_every_kind_of_eye(name: str) -> None:
    lab = as_seen(EYES[name])
    differences = [np.linalg.norm(lab - np.roll(lab, step, axis=0), axis=1).min() for step in range(1, 21)]
    for apart, least in LEAST_DIFFERENCE.items():
        assert min(differences[:apart]) > least, "also where colours repeat"


def test_id_colours_are_different_and_bright_enough_for_dark_video() -> None:
    colours = id_colours()
    assert colours.shape == (ID_COLOURS, 3)
    assert colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours.tolist()}) == ID_COLOURS
    assert as_seen(EYES["normal"])[:, 0].min() > 36


def test_id_colours_are_the_same_in_every_run() -> None:
    assert id_colours()[:3].tolist() == FIRST_BGR
