"""Tiles cover every box, no pixel twice, and nothing of an empty picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from realtime.render.layout import Box
from realtime.render.masks import GAP_PX, ROWS_PX, tiles

EDGE = st.integers(0, 600)
BOXES = st.lists(st.tuples(EDGE, EDGE, EDGE, EDGE), max_size=25)


def painted(boxes: list[Box]) -> np.ndarray:
    """(600, 600) number of boxes that cover each pixel."""
    count = np.zeros((600, 600), np.uint8)
    for x0, y0, x1, y1 in boxes:
        count[y0:y1, x0:x1] += 1
    return count


@given(BOXES)
@hypothesis_settings(max_examples=50, deadline=None)
def test_tiles_cover_every_box_and_no_pixel_twice(boxes: list[Box]) -> None:
    found = list(tiles(boxes))
    covered = painted([tile.box for tile in found])
    assert covered.max(initial=0) <= 1
    assert (covered[painted(boxes) > 0] == 1).all()
    for (x0, y0, x1, y1), _ in found:
        assert x0 < x1
        assert 0 < y1 - y0 <= ROWS_PX


@given(BOXES)
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_tile_with_an_owner_contains_no_other_box(boxes: list[Box]) -> None:
    for (x0, y0, x1, y1), owner in tiles(boxes):
        for number, box in enumerate(boxes):
            if owner is not None and number != owner:
                assert not painted([box])[y0:y1, x0:x1].any()


def test_boxes_far_apart_have_tiles_of_their_own() -> None:
    near, far = (0, 0, 50, 40), (50 + GAP_PX + 1, 10, 200, 60)
    assert list(tiles([far, near])) == [(near, 1), (far, 0)]
    assert list(tiles([near, (50 + GAP_PX, 10, 200, 60)])) == [((0, 0, 200, 60), None)]


def test_a_high_box_is_split_into_rows_of_tiles() -> None:
    assert [tile.box for tile in tiles([(5, ROWS_PX - 1, 9, ROWS_PX + 1)])] == [
        (5, ROWS_PX - 1, 9, ROWS_PX),
        (5, ROWS_PX, 9, ROWS_PX + 1),
    ]


def test_empty_boxes_have_no_tile() -> None:
    assert list(tiles([])) == []
    assert list(tiles([(10, 10, 10, 50), (30, 20, 50, 20), (60, 50, 40, 20)])) == []
