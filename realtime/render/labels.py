"""Labels over the picture: names and scores of objects, the nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import cv2

from engines.types import Image, Size
from realtime.render.layout import Places, Wish, lay_out
from realtime.render.marks import Mark
from realtime.render.scaling import text_px
from realtime.render.text import label, percent_label

NOWHERE: Places = MappingProxyType({})
"""No label has stood anywhere yet."""


def draw_labels(image: Image, marks: Sequence[Mark], before: Places) -> Places:
    """Draw the labels that find room. Returns where those of tracks stand, for the next picture's `before`.

    The selected object chooses first, then those that are nearest: that reach lowest in the picture.
    """
    size = Size.of(image)
    letters_px = text_px(size)
    named = sorted((mark for mark in marks if mark.name), key=_urgency)
    chips = [_chips(mark, letters_px) for mark in named]
    wishes = [
        Wish(mark.key, mark.box, sum(chip.shape[1] for chip in parts), parts[0].shape[0])
        for mark, parts in zip(named, chips, strict=True)
    ]
    placed = [
        (mark, parts, spot)
        for mark, parts, spot in zip(named, chips, lay_out(wishes, size, before), strict=True)
        if spot is not None
    ]
    for mark, _, spot in placed:  # all of them before the first label, so that none crosses one out
        if spot.leader is not None:
            cv2.line(image, *spot.leader, mark.colour, 1, cv2.LINE_AA)
    for _, parts, spot in placed:
        x = spot.x
        for chip in parts:
            height, width = chip.shape[:2]
            image[spot.y : spot.y + height, x : x + width] = chip
            x += width
    return {mark.key: spot.place for mark, _, spot in placed if mark.key is not None}


def _urgency(mark: Mark) -> tuple[bool, int, int]:
    return not mark.is_selected, -mark.box[3], mark.key or 0


def _chips(mark: Mark, letters_px: int) -> tuple[Image, ...]:
    name = label(mark.name, letters_px, mark.colour)
    return (name,) if mark.percent is None else (name, percent_label(mark.percent, letters_px, mark.colour))
