"""Labels are placed whole, without overlap, in the order given, and at the same place from picture to picture."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.types import Size
from realtime.render.layout import FIRST_LED, LARGEST_SHARE, Spot, Wish, lay_out

HD = Size(1280, 720)
ORIGIN = st.integers(-300, 1400)
SIDE, LABEL = (
    st.tuples(st.integers(1, 600), st.integers(1, 500)),
    st.tuples(st.integers(20, 160), st.sampled_from([20, 20, 20, 7, 33])),
)
WISHES = st.lists(st.tuples(ORIGIN, ORIGIN, SIDE, LABEL), max_size=40)


def wish(x: int, y: int, width: int = 60, height: int = 120, label: tuple[int, int] = (90, 20), key: int | None = None) -> Wish:
    return Wish(key, (x, y, x + width, y + height), *label)


def rectangle(of: Wish, spot: Spot) -> tuple[int, int, int, int]:
    return spot.x, spot.y, spot.x + of.width, spot.y + of.height


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@given(WISHES, st.sampled_from([(1280, 720), (320, 180), (100, 40), (17, 240)]), st.booleans())
@hypothesis_settings(max_examples=150, deadline=None)
def test_labels_are_in_the_picture_and_do_not_overlap_wherever_their_boxes_are(
    boxes: list[tuple[int, int, tuple[int, int], tuple[int, int]]], size: tuple[int, int], again: bool
) -> None:
    wishes = [wish(x, y, *side, label, key) for key, (x, y, side, label) in enumerate(boxes)]
    before = {}
    spots = lay_out(wishes, Size(*size), before)
    if again:
        before = {key: spot.place for key, spot in enumerate(spots) if spot is not None}
        spots = lay_out(wishes, Size(*size), before)
    placed = [rectangle(of, spot) for of, spot in zip(wishes, spots, strict=True) if spot is not None]
    for x0, y0, x1, y1 in placed:
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]
    assert not any(overlap(a, b) for a, b in itertools.combinations(placed, 2))
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in placed) <= size[0] * size[1] * LARGEST_SHARE


def test_a_single_label_is_on_top_of_its_box() -> None:
    (spot,) = lay_out([wish(500, 300)], HD, {})
    assert spot == Spot(500, 280, 0)


def test_at_the_upper_edge_a_label_is_elsewhere_but_next_to_its_box() -> None:
    for box in (wish(500, 5), wish(500, 5, 300, 700), wish(0, 0, 1280, 720), wish(1250, 0, 30, 720)):
        (spot,) = lay_out([box], HD, {})
        assert spot is not None
        assert spot.leader is None
        x0, y0, x1, y1 = rectangle(box, spot)
        touching = (x0 - 1, y0 - 1, x1 + 1, y1 + 1)
        assert overlap(touching, box.box)


def test_the_first_label_gets_the_best_place() -> None:
    first, second = lay_out([wish(500, 300), wish(510, 300)], HD, {})
    assert first == Spot(500, 280, 0)
    assert second is not None
    assert second.place > 0


def test_in_a_crowd_labels_have_leader_lines_or_are_left_out() -> None:
    crowd = [wish(600 + x * 8, 400 + y * 5, 16, 30) for y in range(6) for x in range(6)]
    spots = lay_out(crowd, HD, {})
    led = [(of, spot) for of, spot in zip(crowd, spots, strict=True) if spot is not None and spot.leader is not None]
    assert led
    assert None in spots
    for of, spot in led:
        assert spot.leader is not None
        start, end = spot.leader
        x0, _, x1, y1 = rectangle(of, spot)
        assert x0 <= start[0] < x1
        assert start[1] == y1
        assert of.box[0] <= end[0] <= of.box[2]
        assert end[1] == of.box[1]
        assert spot.place >= FIRST_LED


def test_labels_do_not_jump_while_boxes_move_by_a_pixel() -> None:
    """Two boxes whose labels touch in every second picture."""
    hops = {True: 0, False: 0}
    for remembers in hops:
        before: dict[int, int] = {}
        places = []
        for step in range(40):
            near, far = wish(500, 300, key=1), wish(500 + 90 + (step % 2) * 6 - 3, 300, key=2)
            spots = lay_out([near, far], HD, before if remembers else {})
            before = {key: spot.place for key, spot in zip((1, 2), spots, strict=True) if spot is not None}
            places.append(before[2])
        hops[remembers] = sum(a != b for a, b in itertools.pairwise(places))
    assert hops[False] > 10, "without memory they jump"
    assert hops[True] <= 1


def test_a_label_returns_to_its_best_place_when_there_is_room_to_spare() -> None:
    before = {2: 3}
    (spot,) = lay_out([wish(500, 300, key=2)], HD, before)
    assert spot is not None
    assert spot.place == 0


@pytest.mark.parametrize("count", [0, 1])
def test_no_label_or_one_too_large_is_accepted(count: int) -> None:
    assert len(lay_out([wish(5, 5)] * count, Size(1, 1), {})) == count
