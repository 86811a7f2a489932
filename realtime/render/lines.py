"""Lines over the picture: trails and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import F32, I32, Image, Size
from realtime.render.marks import Mark
from realtime.render.scaling import stroke_px

TRAIL_PIECES = 6
"""A trail is drawn in so many straight pieces, each of one colour: no bend or step of them is seen, and all 64 points of all
trails would cost as much as the masks."""

OLDEST = 0.1
"""How opaque a trail is at its old end."""


def draw_trails(image: Image, marks: Sequence[Mark]) -> None:
    """Lines that fade towards their old end, into what the picture has there, and become thinner."""
    trails = [(_pieces(mark.trail), mark.colour) for mark in marks if mark.trail is not None]
    if not trails:
        return
    width = stroke_px(Size.of(image))
    points = np.stack([points for points, _ in trails])
    opacity = np.linspace(OLDEST, 1, TRAIL_PIECES, dtype=np.float32)[:, None]
    colours = np.array([colour for _, colour in trails], np.float32)[:, None]
    shades = (_under(image, points) * (1 - opacity) + colours * opacity).tolist()
    for corners, colour_of_piece in zip(points.tolist(), shades, strict=True):
        start = corners[0]
        for piece, (end, colour) in enumerate(zip(corners[1:], colour_of_piece, strict=True)):
            if end != start:
                _line(image, start, end, colour, width if piece >= TRAIL_PIECES - 2 else 1)
            start = end


def _line(image: Image, start: list[int], end: list[int], colour: list[float], width: int) -> None:
    """As thin ones side by side: a thick one with soft edges takes more than three times as long as a thin one."""
    lies = abs(end[0] - start[0]) > abs(end[1] - start[1])
    for aside in range(-(width // 2), (width + 1) // 2):
        across, down = (0, aside) if lies else (aside, 0)
        cv2.line(image, (start[0] + across, start[1] + down), (end[0] + across, end[1] + down), colour, 1, cv2.LINE_AA)


def _pieces(trail: I32) -> I32:
    """(TRAIL_PIECES + 1, 2) of the trail's points, evenly spread, its ends among them."""
    picked: I32 = trail[_picks(len(trail))]
    return picked


@lru_cache(maxsize=128)
def _picks(count: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, count - 1, TRAIL_PIECES + 1).round().astype(np.intp)


def _under(image: Image, points: I32) -> F32:
    """(N, pieces, 3) float32: the picture's colour in the middle of each piece, at the rim for what lies outside."""
    middles = (points[:, :-1] + points[:, 1:]) // 2
    rows = middles[..., 1].clip(0, image.shape[0] - 1)
    columns = middles[..., 0].clip(0, image.shape[1] - 1)
    under: F32 = image[rows, columns].astype(np.float32)
    return under


def draw_boxes(image: Image, marks: Sequence[Mark]) -> None:
    width = stroke_px(Size.of(image))
    for mark in marks:
        x0, y0, x1, y1 = mark.box
        # One-pixel rectangles inside each other: a thick one is drawn as four thick lines, at three times the cost.
        for inset in range(width if mark.row is not None else 1):
            if x1 - 1 - inset < x0 + inset or y1 - 1 - inset < y0 + inset:
                break
            cv2.rectangle(image, (x0 + inset, y0 + inset), (x1 - 1 - inset, y1 - 1 - inset), mark.colour, 1)
