"""Annotations over the picture: trails, boxes and labels."""

from collections.abc import Sequence

import cv2
import numpy as np

from engines.types import I32, Image, Size
from realtime.render.layout import Places, Wish, lay_out
from realtime.render.look import stroke_px, text_px
from realtime.render.marks import Mark
from realtime.render.text import label, percent_label

TRAIL_PIECES = 6
"""Maximum number of straight pieces, of one colour each, in a trail. Bends and steps cannot be seen; all 64 points of all trails
would cost as much as the masks."""

PIECE_STROKES = 4
"""Minimum length of a piece, in stroke widths. Shorter ones are joined in twos, threes or all together: no visible difference."""

OLDEST = 0.1
"""Opacity of a trail at its old end."""

_STOPS = 2 * TRAIL_PIECES + 1
"""Points of a trail that are used: the ends of the shortest pieces, and their middles."""

_ALONG = np.linspace(0, 1, _STOPS)
_OPACITY = np.linspace(OLDEST, 1, _STOPS - 2, dtype=np.float32)[:, None]
"""Of a piece, by its middle: any stop but the first and the last."""


def draw_trails(image: Image, marks: Sequence[Mark]) -> None:
    """Draw lines that fade into the picture towards their old end, and become thinner."""
    trails = [(mark.trail, mark.colour) for mark in marks if mark.trail is not None]
    if not trails:
        return
    width = stroke_px(Size.of(image))
    stops = _stops([trail for trail, _ in trails])
    colours = np.array([colour for _, colour in trails], np.float32)[:, None]
    edge = image.shape[1] - 1, image.shape[0] - 1
    columns, rows = np.minimum(np.maximum(stops[:, 1:-1], 0), edge).transpose(2, 0, 1)
    under = image[rows, columns].astype(np.float32)  # at the nearest edge for points outside
    shades = (under + (colours - under) * _OPACITY).astype(np.uint8)
    lengths = np.abs(stops[:, 1:] - stops[:, :-1]).max(axis=2).sum(axis=1)
    # Flat lists: a thousand small ones per picture would keep Python's garbage collector busy.
    flat, flat_shades = stops.ravel().tolist(), shades.ravel().tolist()
    for trail, length in enumerate(lengths.tolist()):
        if length <= width:
            continue  # hidden by the box
        half = _half_piece(length, PIECE_STROKES * width)
        for middle in range(half, _STOPS, 2 * half):
            at, shade = 2 * (trail * _STOPS + middle), 3 * (trail * (_STOPS - 2) + middle - 1)
            start, end = flat[at - 2 * half : at - 2 * half + 2], flat[at + 2 * half : at + 2 * half + 2]
            is_recent = middle > _STOPS * 2 // 3
            if start != end:
                _line(image, start, end, flat_shades[shade : shade + 3], width if is_recent else 1)


def _half_piece(length_px: int, least_px: int) -> int:
    """Number of stops from a piece's end to its middle: the smallest that gives pieces of `least_px`, or one whole piece."""
    return next((half for half in (1, 2, 3) if length_px * half >= least_px * TRAIL_PIECES), TRAIL_PIECES)


def _line(image: Image, start: list[int], end: list[int], colour: list[int], width: int) -> None:
    """Draw thin lines side by side: one thick antialiased line takes more than three times as long as a thin one."""
    if width == 1:
        cv2.line(image, start, end, colour, 1, cv2.LINE_AA)
        return
    is_flat = abs(end[0] - start[0]) > abs(end[1] - start[1])
    for aside in range(-(width // 2), (width + 1) // 2):
        across, down = (0, aside) if is_flat else (aside, 0)
        cv2.line(image, (start[0] + across, start[1] + down), (end[0] + across, end[1] + down), colour, 1, cv2.LINE_AA)


def _stops(trails: list[I32]) -> I32:
    """(N, _STOPS, 2) points of each trail, evenly spread, both ends included."""
    counts = np.array([len(trail) for trail in trails])[:, None]
    picks = ((counts - 1) * _ALONG + 0.5).astype(np.intp) + (np.cumsum(counts, axis=0) - counts)
    return np.asarray(np.concatenate(trails).take(picks, axis=0), np.int32)


def draw_boxes(image: Image, marks: Sequence[Mark]) -> None:
    """Draw each object's box; thin where the object is not seen in this frame."""
    width = stroke_px(Size.of(image))
    for mark in marks:
        x0, y0, x1, y1 = mark.box
        # One-pixel rectangles inside each other: OpenCV draws a thick one as four thick lines, at three times the cost.
        for inset in range(width if mark.row is not None else 1):
            if x1 - 1 - inset < x0 + inset or y1 - 1 - inset < y0 + inset:
                break
            cv2.rectangle(image, (x0 + inset, y0 + inset), (x1 - 1 - inset, y1 - 1 - inset), mark.colour, 1)


def draw_labels(image: Image, marks: Sequence[Mark], before: Places) -> Places:
    """Draw names and scores where there is room. Returns the places of tracks' labels, for `before` of the next picture.

    The selected object is placed first, then the nearest, which are those that reach lowest in the picture.
    """
    size = Size.of(image)
    letters_px = text_px(size)
    named = sorted((mark for mark in marks if mark.name), key=lambda mark: (not mark.is_selected, -mark.box[3], mark.key or 0))
    patches = [_patches(mark, letters_px) for mark in named]
    sizes = [(sum(patch.shape[1] for patch in parts), parts[0].shape[0]) for parts in patches]
    wishes = [Wish(mark.key, mark.box, *size_px) for mark, size_px in zip(named, sizes, strict=True)]
    spots = lay_out(wishes, size, before)
    placed = [(mark, parts, spot) for mark, parts, spot in zip(named, patches, spots, strict=True) if spot is not None]
    for mark, _, spot in placed:  # all leaders before the first label, so that none crosses a label
        if spot.leader is not None:
            cv2.line(image, *spot.leader, mark.colour, 1, cv2.LINE_AA)
    for _, parts, spot in placed:
        x = spot.x
        for patch in parts:
            height, width = patch.shape[:2]
            image[spot.y : spot.y + height, x : x + width] = patch
            x += width
    return {mark.key: spot.place for mark, _, spot in placed if mark.key is not None}


def _patches(mark: Mark, letters_px: int) -> tuple[Image, ...]:
    name = label(mark.name, letters_px, mark.colour)
    return (name,) if mark.percent is None else (name, percent_label(mark.percent, letters_px, mark.colour))
