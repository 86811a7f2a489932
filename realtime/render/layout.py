"""Layout: where labels stand, so that none covers another or leaves the picture. Whole numbers in, whole numbers out.

Each label tries a few places around its box, best first; then some farther off, tied to the box by a leader line; and when none
is free it is left out. Who comes first in the list chooses first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from engines.types import Size

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in canvas pixels."""

Places = Mapping[int, int]
"""Track id → the number of the place, counted from the best, where its label stood last."""

LARGEST_SHARE = 1 / 3
"""Of the picture that labels may cover: more would be a page of text, not a picture with labels."""

ROOMY = 5
"""A label stands inside its box only if that is so many times as high as the label: or it would hide the object."""

GAP = 12
"""Labels side by side are apart by the GAP-th part of their height: 2 pixels at 720p."""

FIRST_LED = 7
"""The places from this number on are apart from the box, and need a leader line."""


class Wish(NamedTuple):
    """A label to be placed. key: of the track, or None for what has no past. width, height: of the label, in pixels."""

    key: int | None
    box: Box
    width: int
    height: int


class Spot(NamedTuple):
    """Where a label stands: its top left corner. place: its number. leader: where a line to its box begins and ends, if any."""

    x: int
    y: int
    place: int
    leader: tuple[tuple[int, int], tuple[int, int]] | None = None


def lay_out(wishes: Sequence[Wish], canvas: Size, before: Places) -> list[Spot | None]:
    """A spot for each wish, or None where none is free.

    A label keeps the place it had `before`, as long as that is free and no better one is free with room to spare: so that labels
    do not hop to and fro when two boxes touch and part by a pixel.
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
    """Number, x and y of the places that lie in the picture, best first: on the box, under it, in it, beside it, farther off."""
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
    """x, but neither below 0 nor beyond `right`."""
    return 0 if x < 0 else min(x, right)


def _spot(wish: Wish, place: int, x: int, y: int) -> Spot:
    if place < FIRST_LED:
        return Spot(x, y, place)
    foot = ((wish.box[0] + wish.box[2]) // 2, wish.box[1])
    return Spot(x, y, place, ((min(max(foot[0], x), x + wish.width - 1), y + wish.height), foot))


class _Room:
    """Which parts of the picture are taken: a whole number for every few rows of pixels, a bit for each column.

    A look at a label's place costs less than a microsecond, however many labels there are.
    """

    def __init__(self, canvas: Size, lowest_px: int, highest_px: int) -> None:
        """lowest_px, highest_px: of the labels. No look reaches farther out of the picture than the highest is high."""
        self._outside = highest_px
        self._rows_px = max(1, lowest_px // 6)
        self._rows = [0] * ((canvas.height + 2 * highest_px) // self._rows_px + 1)
        self._step = lowest_px // self._rows_px  # a look at every so many finds all that is taken

    def is_free(self, x: int, y: int, width: int, height: int) -> bool:
        top = y + self._outside
        last, bits = (top + height - 1) // self._rows_px, ((1 << width) - 1) << (x + self._outside)
        if self._rows[last] & bits:
            return False
        for taken in self._rows[top // self._rows_px : last : self._step]:  # noqa: SIM110 - a generator takes half as long again
            if taken & bits:
                return False
        return True

    def take(self, x: int, y: int, width: int, height: int) -> None:
        """A label's place, and a thin gap beside it."""
        top, gap = y + self._outside, height // GAP
        bits = ((1 << (width + 2 * gap)) - 1) << (x - gap + self._outside)
        for row in range(top // self._rows_px, (top + height - 1) // self._rows_px + 1):
            self._rows[row] |= bits
