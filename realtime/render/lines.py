"""Lines over the picture: trails and boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

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
    thin = max(1, width // 2)  # thin ones, with soft edges, are drawn in a third of the time
    points = np.stack([points for points, _ in trails])
    opacity = np.linspace(OLDEST, 1, TRAIL_PIECES, dtype=np.float32)[:, None]
    colours = np.array([colour for _, colour in trails], np.float32)[:, None]
    shades = (_under(image, points) * (1 - opacity) + colours * opacity).tolist()
    for corners, colour_of_piece in zip(points.tolist(), shades, strict=True):
        start = corners[0]
        for piece, (end, colour) in enumerate(zip(corners[1:], colour_of_piece, strict=True)):
            if end != start:
                thickness = width if piece >= TRAIL_PIECES - 2 else thin
                cv2.line(image, start, end, colour, thickness, cv2.LINE_AA)
            start = end


def _pieces(trail: I32) -> I32:
    """(TRAIL_PIECES + 1, 2) of the trail's points, evenly spread, its ends among them."""
    picked: I32 = trail[np.linspace(0, len(trail) - 1, TRAIL_PIECES + 1).round().astype(np.intp)]
    return picked


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
