"""Smaller pictures: no detail is lost and nothing is shifted, whatever the factor."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.render.pixels import shrunk


@pytest.mark.parametrize("size", [(1920, 1080), (1919, 1079), (1500, 1000), (2560, 1440), (3840, 2160), (641, 359), (640, 1280)])
@pytest.mark.parametrize("width", [640, 320])
def test_a_smooth_picture_is_reduced_as_by_averaging(size: tuple[int, int], width: int) -> None:
    columns, rows = size
    wave = 127 + 60 * np.sin(np.arange(columns) * 40 / columns)[None] + 60 * np.cos(np.arange(rows) * 30 / rows)[:, None]
    image = np.repeat(wave.astype(np.uint8)[..., None], 3, axis=2)
    target = Size.of(image).fitted_to_width(width)
    small = shrunk(image, target)
    assert Size.of(small) == target
    averaged = cv2.resize(image, (target.width, target.height), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - averaged.astype(int)).max() <= 3


@pytest.mark.parametrize("columns", [640, 800, 960, 1024, 1030, 1100, 1270, 1280, 1920, 2560])
def test_a_line_of_one_pixel_is_never_lost(columns: int) -> None:
    """At any position: or a moving line would flicker."""
    for x in range(0, columns, 7):
        image = np.zeros((2, columns, 3), np.uint8)
        image[:, x] = 255
        assert shrunk(image, Size(640, 1))[0, :, 0].sum() >= 0.5 * 255 * 640 / columns, "at least half of its brightness"


def test_a_picture_of_the_right_size_is_returned_itself() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    assert shrunk(image, Size(30, 20)) is image
