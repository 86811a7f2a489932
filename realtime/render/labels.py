"""Labels over the picture: names and scores of objects, the nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import cv2

from engines.types import Image, Size
from realtime.render.layout import Places, Wish, lay_out
from realtime.render.marks import Mark
from realtime.render.scaling import text_px
from realtime.text import label, percent_label

NOWHERE: Places = MappingProxyType({})
"""No label has stood anywhere yet."""


def draw_labels(image: Image, marks: Sequence[Mark], before: Places) -> Places:
    """Draw the labels that find room. Returns where those of tracks stand, for the next picture's `before`.

    The selected object chooses first, then those that are nearest: that reach lowest in the picture.
    """
    size = Size.of(image)
    letters_px = text_px(size)
    named = sorted((mark for mark in marks if mark.name), key=_urgency)
    patches = [_patches(mark, letters_px) for mark in named]
    wishes = [
        Wish(mark.key, mark.box, sum(patch.shape[1] for patch in parts), parts[0].shape[0])
        for mark, parts in zip(named, patches, strict=True)
    ]
    spots = lay_out(wishes, size, before)
    for mark, spot in zip(named, spots, strict=True):
        if spot is not None and spot.leader is not None:
            cv2.line(image, *spot.leader, mark.colour, 1, cv2.LINE_AA)
    for parts, spot in zip(patches, spots, strict=True):
        if spot is not None:
            x = spot.x
            for patch in parts:
                height, width = patch.shape[:2]
                image[spot.y : spot.y + height, x : x + width] = patch
                x += width
    return {mark.key: spot.place for mark, spot in zip(named, spots, strict=True) if spot is not None and mark.key is not None}


def _urgency(mark: Mark) -> tuple[bool, int, int]:
    return not mark.is_selected, -mark.box[3], mark.key or 0


def _patches(mark: Mark, letters_px: int) -> tuple[Image, ...]:
    name = label(mark.name, letters_px, mark.colour)
    return (name,) if mark.percent is None else (name, percent_label(mark.percent, letters_px, mark.colour))
