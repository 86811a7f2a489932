"""Tiles: the parts of a picture that objects cover, as rectangles that do not overlap. What is drawn pixel by pixel is drawn in
them: the rest of the picture costs nothing, and what is worked out on the way stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from realtime.render.layout import Box

ROWS_PX = 240
"""Height of a tile: lower ones follow the objects' shapes more closely, but each costs a few calls."""

GAP_PX = 32
"""Tiles side by side that are closer become one: painting so much of nothing costs less than those calls."""


class Tile(NamedTuple):
    """A rectangle of the picture. owner: the number of the only box that reaches into it, None where there are several."""

    box: Box
    owner: int | None


def tiles(boxes: Sequence[Box]) -> Iterator[Tile]:
    """Rectangles that cover all of the boxes (x_min, y_min, x_max, y_max; none negative) and, together, no pixel twice.

    Empty boxes have no tile.
    """
    strips: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        if x1 > x0 and y1 > y0:
            for strip in range(y0 // ROWS_PX, -(-y1 // ROWS_PX)):
                strips.setdefault(strip, []).append((x0, y0, x1, y1, number))
    for strip, crossing in strips.items():
        top, bottom = strip * ROWS_PX, (strip + 1) * ROWS_PX
        crossing.sort()
        owner: int | None
        left, first, right, last, owner = crossing[0]
        for x0, y0, x1, y1, number in crossing[1:]:
            if x0 > right + GAP_PX:
                yield Tile((left, max(first, top), right, min(last, bottom)), owner)
                left, first, right, last, owner = x0, y0, x1, y1, number
            else:
                right, first, last, owner = max(right, x1), min(first, y0), max(last, y1), None
        yield Tile((left, max(first, top), right, min(last, bottom)), owner)
