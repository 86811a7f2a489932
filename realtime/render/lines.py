"""Lines and words over the picture: trails, boxes, labels."""

from __future__ import annotations

from collections.abc import Iterable

import cv2

from engines.types import Image
from realtime.render.marks import Box, Mark
from realtime.text import label


def _stroke_px(image: Image) -> int:
    return max(1, round(int(image.shape[0]) / 360))


def draw_trails(image: Image, marks: Iterable[Mark]) -> None:
    for mark in marks:
        if mark.trail is not None:
            cv2.polylines(image, [mark.trail.reshape(-1, 1, 2)], False, mark.colour, _stroke_px(image), cv2.LINE_AA)


def draw_boxes(image: Image, marks: Iterable[Mark]) -> None:
    stroke_px = _stroke_px(image)
    for mark in marks:
        x0, y0, x1, y1 = mark.box
        # One-pixel rectangles inside each other: a thick one is drawn as four thick lines, at three times the cost.
        for inset in range(stroke_px if mark.row is not None else 1):
            if x1 - 1 - inset < x0 + inset or y1 - 1 - inset < y0 + inset:
                break
            cv2.rectangle(image, (x0 + inset, y0 + inset), (x1 - 1 - inset, y1 - 1 - inset), mark.colour, 1)


def draw_labels(image: Image, marks: Iterable[Mark]) -> None:
    """Each label stands on its box or, where it would cover another, inside or below it; never over the picture's edge."""
    height, width = image.shape[:2]
    size_px = max(11, round(height / 45))
    placed: list[Box] = []
    for mark in marks:
        if not mark.text:
            continue
        patch = label(mark.text, size_px, mark.colour)[:height, :width]
        box = _label_box(mark.box, patch.shape[1], patch.shape[0], width, height, placed)
        placed.append(box)
        image[box[1] : box[3], box[0] : box[2]] = patch


def _label_box(of: Box, label_width: int, label_height: int, width: int, height: int, placed: list[Box]) -> Box:
    """Where a label goes: the first free one of three places, or the first of them when none is free."""
    x0, y0, _, y1 = of
    left = min(max(0, x0), width - label_width)
    above = y0 - label_height if y0 >= label_height else y0
    boxes = []
    for top in (above, y0 + 1, y1):
        top = min(max(0, top), height - label_height)
        box = (left, top, left + label_width, top + label_height)
        if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in placed):
            return box
        boxes.append(box)
    return boxes[0]
