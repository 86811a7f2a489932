"""Trails have their full length, whatever the number of strokes, and are thin and faint at the old end."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.render.annotations import draw_trails
from realtime.render.marks import Mark

COLOUR = (30, 220, 90)


def drawn(*points: tuple[int, int], width: int = 1280, height: int = 720) -> np.ndarray:
    image = np.full((height, width, 3), 100, np.uint8)
    draw_trails(image, [Mark(0, (0, 0, 1, 1), COLOUR, "", trail=np.array(points, np.int32))])
    return image


def touched(image: np.ndarray) -> np.ndarray:
    return (image != 100).any(axis=2)


@pytest.mark.parametrize("length", [6, 12, 20, 40, 90, 400, 1200])
@pytest.mark.parametrize("count", [2, 5, 24, 64])
def test_a_trail_reaches_from_end_to_end_without_a_gap(length: int, count: int) -> None:
    xs = np.linspace(40, 40 + length, count).round().astype(int).tolist()
    columns = np.flatnonzero(touched(drawn(*((x, 300) for x in xs))).any(axis=0))
    assert columns.min() in range(38, 42)
    assert columns.max() in range(39 + length, 42 + length)
    assert (np.diff(columns) == 1).all()


@pytest.mark.parametrize("length", [60, 300])
def test_a_trail_becomes_stronger_and_thicker_towards_its_object(length: int) -> None:
    image = drawn(*((40 + length * i // 30, 300) for i in range(31)))
    thirds = [slice(42 + length * i // 3, 38 + length * (i + 1) // 3) for i in range(3)]
    strength = [np.abs(image[:, third].astype(int) - 100).max() for third in thirds]
    assert strength == sorted(set(strength))
    rows = [int(touched(image)[:, third].any(axis=1).sum()) for third in thirds]
    assert rows[0] < rows[2]


def test_an_object_that_has_not_moved_has_no_trail() -> None:
    assert not touched(drawn(*((200, 200),) * 30)).any()
    assert not touched(drawn((200, 200), (201, 200), (200, 201))).any()


def test_a_bend_is_followed() -> None:
    image = touched(drawn(*((100 + 4 * i, 300) for i in range(30)), *((216, 300 + 4 * i) for i in range(30))))
    for x, y in ((110, 300), (160, 300), (216, 340), (216, 400)):
        assert image[y - 8 : y + 9, x - 8 : x + 9].any()


def test_a_trail_can_leave_the_picture() -> None:
    image = drawn((-16_000, 300), (100, 300), (16_000, -9_000))
    assert touched(image).any()


def test_trails_drawn_together_look_like_each_drawn_alone() -> None:
    trails = [
        [(50 + step * i, 100 + 80 * row) for i in range(count)]
        for row, (step, count) in enumerate(((1, 2), (1, 64), (3, 9), (12, 40)))
    ]
    together = np.full((720, 1280, 3), 100, np.uint8)
    draw_trails(together, [Mark(0, (0, 0, 1, 1), COLOUR, "", trail=np.array(points, np.int32)) for points in trails])
    alone = [drawn(*points) for points in trails]
    for row, image in enumerate(alone):
        band = slice(60 + 80 * row, 140 + 80 * row)
        assert np.array_equal(together[band], image[band])
