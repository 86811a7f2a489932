"""Layout: places labels so that none covers another or leaves the picture. Integers in, integers out.

Each label tries a few places around its box, best first, then some further away with a leader line to the box. A label with no
free place is left out. Labels are placed in the order of the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from engines.types import Size

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in canvas pixels."""

Places = Mapping[int, int]
"""Track id → number of its label's last place, counted from the best."""

LARGEST_SHARE = 1 / 3
"""Maximum share of the picture that labels may cover: more would hide the picture."""

ROOMY = 5
"""A label is placed inside its box only if the box is this many times as high, or it would hide the object."""

GAP = 12
"""The gap between labels side by side is this fraction of their height: 2 pixels at 720p."""

FIRST_LED = 7
"""Places from this number on are away from the box, and need a leader line."""


class Wish(NamedTuple):
    """A label to place. key: the track's id, or None without a track. width, height: of the label, in pixels."""

    key: int | None
    box: Box
    width: int
    height: int


class Spot(NamedTuple):
    """Position of a label's top left corner. place: its number. leader: start and end of the line to its box, if any."""

    x: int
    y: int
    place: int
    leader: tuple[tuple[int, int], tuple[int, int]] | None = None


def lay_out(wishes: Sequence[Wish], canvas: Size, before: Places) -> list[Spot | None]:
    """A spot for each wish, or None where none is free.

    A label keeps the place it had `before` while that is free and no better place is free with room to spare. So labels do not
    jump back and forth while the distance of two boxes changes by a pixel.
    """
    if not wishes:
        return []
    heights = [wish.height for wish in wishes]
    room = _Room(canvas, max(1, min(heights)), max(heights))
    left_px = canvas.width * canvas.height * LARGEST_SHARE
    spots: list[Spot | None] = []
    for wish in wishes:
        spot = None
        if wish.width * wish.height <= left_px and wish.width <= canvas.width and wish.height <= canvas.height:
            spot = _find(wish, canvas, room, None if wish.key is None else before.get(wish.key))
        if spot is not None:
            left_px -= wish.width * wish.height
            room.take(spot.x, spot.y, wish.width, wish.height)
        spots.append(spot)
    return spots


def _find(wish: Wish, canvas: Size, room: _Room, kept: int | None) -> Spot | None:
    width, height = wish.width, wish.height
    if kept is not None:
        spare = height // 2
        for place, x, y in _places(wish, canvas):
            if place >= kept:
                if place == kept and room.is_free(x, y, width, height):
                    return _spot(wish, place, x, y)
                break
            if room.is_free(x - spare, y - spare, width + 2 * spare, height + 2 * spare):
                return _spot(wish, place, x, y)
    for place, x, y in _places(wish, canvas):
        if room.is_free(x, y, width, height):
            return _spot(wish, place, x, y)
    return None


def _places(wish: Wish, canvas: Size) -> Iterator[tuple[int, int, int]]:
    """Number, x and y of all places inside the picture, best first: on, under, in and beside the box, then further away."""
    (x0, y0, x1, y1), width, height = wish.box, wish.width, wish.height
    right, bottom = canvas.width - width, canvas.height - height
    above, top = y0 - height, y0 if y0 > 0 else 0
    left = _within(x0, right)
    if 0 <= above <= bottom:
        yield 0, left, above
        yield 1, _within(x1 - width, right), above
    if 0 <= y1 <= bottom:
        yield 2, left, y1
        yield 3, _within(x1 - width, right), y1
    if top + ROOMY * height <= y1 and top <= bottom:
        yield 4, left, top
    if top <= y1 and top <= bottom:
        if x1 <= right:
            yield 5, x1 if x1 > 0 else 0, top
        if x0 >= width:
            yield 6, min(x0 - width, right), top
    middle, aside = (x0 + x1 - width) // 2, width * 2 // 3
    columns = [(column, x) for column, x in enumerate((middle, middle - aside, middle + aside)) if 0 <= x <= right]
    for rise in range(4):
        y = y0 - (rise + 2) * height * 5 // 4
        if 0 <= y <= bottom:
            for column, x in columns:
                yield FIRST_LED + 3 * rise + column, x, y


def _within(x: int, right: int) -> int:
    """x, limited to 0..`right`."""
    return 0 if x < 0 else min(x, right)


def _spot(wish: Wish, place: int, x: int, y: int) -> Spot:
    if place < FIRST_LED:
        return Spot(x, y, place)
    foot = ((wish.box[0] + wish.box[2]) // 2, wish.box[1])
    return Spot(x, y, place, ((min(max(foot[0], x), x + wish.width - 1), y + wish.height), foot))


class _Room:
    """The parts of the picture that are taken: one integer per few rows of pixels, one bit per column.

    Checking a place takes less than a microsecond, whatever the number of labels.
    """

    def __init__(self, canvas: Size, lowest_px: int, highest_px: int) -> None:
        """lowest_px, highest_px: heights of labels. Places are at most `highest_px` outside of the picture."""
        self._outside = highest_px
        self._rows_px = max(1, lowest_px // 6)
        self._rows = [0] * ((canvas.height + 2 * highest_px) // self._rows_px + 1)
        self._step = lowest_px // self._rows_px  # checking every so many rows finds all labels

    def is_free(self, x: int, y: int, width: int, height: int) -> bool:
        top = y + self._outside
        last, bits = (top + height - 1) // self._rows_px, ((1 << width) - 1) << (x + self._outside)
        if self._rows[last] & bits:
            return False
        for taken in self._rows[top // self._rows_px : last : self._step]:  # noqa: SIM110 - a generator takes 1.5 times as long
            if taken & bits:
                return False
        return True

    def take(self, x: int, y: int, width: int, height: int) -> None:
        """Mark a label's place, and a thin gap beside it, as taken."""
        top, gap = y + self._outside, height // GAP
        bits = ((1 << (width + 2 * gap)) - 1) << (x - gap + self._outside)
        for row in range(top // self._rows_px, (top + height - 1) // self._rows_px + 1):
            self._rows[row] |= bits
