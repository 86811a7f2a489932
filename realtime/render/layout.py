"""Layout: where labels stand, so that none covers another or leaves the picture. Whole numbers in, whole numbers out.

Each label tries a few places around its box, best first; then some farther off, tied to the box by a leader line; and when none
is free it is left out. Who comes first in the list chooses first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engines.types import Size

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in canvas pixels."""

Places = Mapping[int, int]
"""Track id → the number of the place, counted from the best, where its label stood last."""

LARGEST_SHARE = 1 / 3
"""Of the picture that labels may cover: more would be a page of text, not a picture with labels."""

ROOMY = 5
"""A label stands inside its box only if that is so many times as high as the label: or it would hide the object."""

FIRST_LED = 7
"""The places from this number on are apart from the box, and need a leader line."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A label to be placed. key: of the track, or None for what has no past. width, height: of the label, in pixels."""

    key: int | None
    box: Box
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Spot:
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
    room = _Room(canvas, max(2, wishes[0].height // 5))
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
    margin = height // 2
    if kept is not None:
        for place, x, y in _places(wish, canvas):
            if place > kept:
                break
            spare = margin if place < kept else 0
            if room.is_free(x - spare, y - spare, width + 2 * spare, height + 2 * spare):
                return _spot(wish, place, x, y)
    for place, x, y in _places(wish, canvas):
        if room.is_free(x, y, width, height):
            return _spot(wish, place, x, y)
    return None


def _places(wish: Wish, canvas: Size) -> Iterator[tuple[int, int, int]]:
    """Number, x and y of the places that lie in the picture, best first: on the box, under it, in it, beside it, farther off."""
    x0, y0, x1, y1 = wish.box
    width, height = wish.width, wish.height
    right, bottom = canvas.width - width, canvas.height - height
    left, flush_right = min(max(0, x0), right), min(max(0, x1 - width), right)
    if 0 <= y0 - height <= bottom:
        yield 0, left, y0 - height
        yield 1, flush_right, y0 - height
    if 0 <= y1 <= bottom:
        yield 2, left, y1
        yield 3, flush_right, y1
    top = max(0, y0)
    if top + ROOMY * height <= y1 and top <= bottom:
        yield 4, left, top
    if top <= min(bottom, y1):
        if x1 <= right:
            yield 5, max(0, x1), top
        if x0 >= width:
            yield 6, min(x0 - width, right), top
    yield from _led_places(wish, right, bottom)


def _led_places(wish: Wish, right: int, bottom: int) -> Iterator[tuple[int, int, int]]:
    x0, y0, x1, _ = wish.box
    middle = (x0 + x1 - wish.width) // 2
    place = FIRST_LED
    for rise in (2, 3, 4, 5):
        y = y0 - rise * wish.height - rise * wish.height // 4
        for x in (middle, middle - wish.width * 2 // 3, middle + wish.width * 2 // 3):
            if 0 <= y <= bottom and 0 <= x <= right:
                yield place, x, y
            place += 1


def _spot(wish: Wish, place: int, x: int, y: int) -> Spot:
    if place < FIRST_LED:
        return Spot(x, y, place)
    foot = ((wish.box[0] + wish.box[2]) // 2, wish.box[1])
    return Spot(x, y, place, ((min(max(foot[0], x), x + wish.width - 1), y + wish.height), foot))


class _Room:
    """Which parts of the picture are taken, in cells of a few pixels: a whole number for each row of them, a bit for each cell.

    A look at a label's place costs a microsecond however many labels there are.
    """

    def __init__(self, canvas: Size, cell_px: int) -> None:
        self._cell_px = cell_px
        self._rows = [0] * (canvas.height // cell_px + 1)

    def is_free(self, x: int, y: int, width: int, height: int) -> bool:
        first, last, bits = self._cells(x, y, width, height)
        for taken in self._rows[first:last]:  # noqa: SIM110 - a generator would take half as long again
            if taken & bits:
                return False
        return True

    def take(self, x: int, y: int, width: int, height: int) -> None:
        first, last, bits = self._cells(x, y, width, height)
        for row in range(first, last):
            self._rows[row] |= bits

    def _cells(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int]:
        """First and last (exclusive) row of the cells that a rectangle touches, and the bits of its columns."""
        cell_px = self._cell_px
        left = x // cell_px if x > 0 else 0
        bits = ((1 << ((x + width - 1) // cell_px - left + 1)) - 1) << left
        return (y // cell_px if y > 0 else 0), (y + height - 1) // cell_px + 1, bits
