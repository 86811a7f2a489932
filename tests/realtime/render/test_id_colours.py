"""Colours of track ids: told apart by every eye, and the same in every run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from realtime.render.id_colours import ID_COLOURS, id_colours

EYES = {
    "normal": np.eye(3),
    # Machado, Oliveira, Fernandes (2009), severity 1: the published matrices, over linear red, green, blue.
    "protanope": np.array(((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))),
    "deuteranope": np.array(((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))),
}
LEAST_DIFFERENCE = {5: 18, 10: 12, 20: 8}
"""CIE76 between any two ids no farther apart than that; some 2 can just be seen, 10 at a glance. 20 apart is all of them."""


FIRST_BGR = [[97, 73, 144], [49, 227, 240], [251, 96, 121]]


def as_seen(eye: np.ndarray) -> np.ndarray:
    """(N, 3) L*a*b* of all id colours, as this eye sees them."""
    rgb = id_colours()[:, ::-1] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ eye.T, 0, 1)
    gamma = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(gamma[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize("name", EYES)
def test_ids_that_live_together_differ_clearly_to_every_eye(name: str) -> None:
    lab = as_seen(EYES[name])
    differences = [np.linalg.norm(lab - np.roll(lab, step, axis=0), axis=1).min() for step in range(1, 21)]
    for apart, least in LEAST_DIFFERENCE.items():
        assert min(differences[:apart]) > least, "where colours repeat, too"


def test_all_are_different_and_bright_enough_for_dark_video() -> None:
    colours = id_colours()
    assert colours.shape == (ID_COLOURS, 3)
    assert colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours.tolist()}) == ID_COLOURS
    assert as_seen(EYES["normal"])[:, 0].min() > 36


def test_colours_are_the_same_in_every_run() -> None:
    """Frozen values: a recording of today and one of tomorrow look alike."""
    assert id_colours()[:3].tolist() == FIRST_BGR
