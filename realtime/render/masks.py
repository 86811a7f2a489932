"""Masks: objects and class maps over the picture, and what marks one of them out."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from engines.types import U8, Image, Size
from realtime.knobs import Knobs
from realtime.render.layout import Box
from realtime.render.look import Look
from realtime.render.marks import Mark, scale_to, scaled_boxes
from realtime.render.scaling import rim_px, unit
from realtime.render.surface import CARPET_BGR
from realtime.types import Result

HALO_BGR, HALO_RIM_BGR = (255, 255, 255), (20, 20, 20)
"""Around the selected object: light for dark pictures, dark for light ones; no object's colour is either."""

CALLS_PX = 4000
"""To blend one more object costs as much as so many pixels, before the first pixel."""

_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))


def paint_objects(image: Image, result: Result, marks: list[Mark], knobs: Knobs) -> None:
    """Blend each seen object's mask in its own colour, and draw its contour in the full one, crisp; as `mask_style` says."""
    height, width = image.shape[:2]
    seen = {mark.row: mark for mark in marks if mark.row is not None}
    if not seen:
        return
    label_map = result.segmentation.instances.label_map
    if label_map.shape != (height, width):
        label_map = cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST)
    colours, is_shown = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    for row, mark in seen.items():
        colours[row + 1], is_shown[row + 1] = mark.colour, 1
    # Not the marks' own boxes: a track's may be another one than its mask's. A pixel around: box and map are rounded apart.
    all_boxes = scaled_boxes(result.segmentation.instances.boxes_px, scale_to(result, Size.of(image)))
    boxes = [
        (max(0, x0 - 1), max(0, y0 - 1), min(width, x1 + 1), min(height, y1 + 1))
        for x0, y0, x1, y1 in (all_boxes[row] for row in seen)
    ]
    if knobs.mask_style != "contour":
        x0, y0, x1, y1 = _around(boxes)
        areas_px = sum(max(0, box[2] - box[0]) * max(0, box[3] - box[1]) + CALLS_PX for box in boxes)
        if areas_px > (x1 - x0) * (y1 - y0):
            _fill_at_once(image[y0:y1, x0:x1], label_map[y0:y1, x0:x1], colours, is_shown, knobs.opacity)
        else:
            _fill_each(image, label_map, list(zip(seen.values(), boxes, strict=True)), knobs.opacity)
    if knobs.mask_style != "fill":
        _contours(image, label_map, boxes, colours, is_shown)


def _fill_at_once(region: Image, labels: U8, colours: U8, is_shown: U8, opacity: float) -> None:
    """All objects through one table and one blend: less work than box by box where they are many, or large."""
    tint = cv2.applyColorMap(labels, colours.reshape(256, 1, 3))
    cv2.copyTo(cv2.addWeighted(region, 1 - opacity, tint, opacity, 0), cv2.LUT(labels, is_shown), region)


def _fill_each(image: Image, label_map: U8, marks: list[tuple[Mark, Box]], opacity: float) -> None:
    for mark, (left, top, right, bottom) in marks:
        if right <= left or bottom <= top or mark.row is None:
            continue
        region = image[top:bottom, left:right]
        mask = np.equal(label_map[top:bottom, left:right], mark.row + 1).view(np.uint8)
        blended = cv2.convertScaleAbs(region, alpha=1 - opacity)
        blue, green, red = mark.colour
        cv2.add(blended, (opacity * blue, opacity * green, opacity * red, 0), dst=blended)
        cv2.copyTo(blended, mask, region)


def _contours(image: Image, label_map: U8, boxes: list[Box], colours: U8, is_shown: U8) -> None:
    """Draw the rim of each mask, just inside. Few pixels are on one: singly they are quicker than another pass over all."""
    _, top, _, bottom = _around(boxes)
    if bottom <= top:
        return
    labels = label_map[top:bottom]
    reach = 2 * rim_px(Size.of(image)) + 1
    inner = cv2.erode(labels, cv2.getStructuringElement(cv2.MORPH_CROSS, (reach, reach)))
    rim = np.flatnonzero(np.greater(labels, inner))
    # Whole pixels of three bytes, which NumPy moves three times as fast as three numbers.
    pixels = image[top:bottom].reshape(-1).view("V3")
    labels_there = labels.reshape(-1).take(rim)
    if not is_shown.take(labels_there).all():
        rim = rim[is_shown.take(labels_there) > 0]
        labels_there = labels.reshape(-1).take(rim)
    pixels.put(rim, colours.view("V3")[:, 0].take(labels_there))


def _around(boxes: list[Box]) -> Box:
    """The smallest rectangle around all of them; empty ones count as they stand."""
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def draw_halo(image: Image, result: Result, mark: Mark) -> None:
    """A light line with a dark one around it, along the outside of the object's mask; along its box if it has none."""
    size = Size.of(image)
    width = max(2, round(3 * unit(size)))
    boxes = scaled_boxes(result.segmentation.instances.boxes_px, scale_to(result, size))
    x0, y0, x1, y1 = mark.box if mark.row is None else boxes[mark.row]
    around = 2 * width + 1
    x0, y0, x1, y1 = max(0, x0 - around), max(0, y0 - around), min(size.width, x1 + around), min(size.height, y1 + around)
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    if mark.row is not None:
        mask = _whole_mask(result.segmentation.instances.label_map, mark.row + 1, size)[y0:y1, x0:x1]
    if not cv2.countNonZero(mask):
        box = mark.box
        cv2.rectangle(mask, (box[0] - x0, box[1] - y0), (box[2] - 1 - x0, box[3] - 1 - y0), 1, cv2.FILLED)
    light = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1)))
    dark = cv2.dilate(light, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (width // 2) + 1, 2 * (width // 2) + 1)))
    region = image[y0:y1, x0:x1]
    region[np.greater(dark, light)] = HALO_RIM_BGR
    region[np.greater(light, mask)] = HALO_BGR


def _whole_mask(label_map: U8, label: int, size: Size) -> U8:
    """(H, W) uint8, 0 and 1, of one object at the canvas's resolution, without stairs where the map is coarser."""
    mask = np.equal(label_map, label).view(np.uint8)
    if Size.of(mask) == size:
        return mask
    soft = cv2.resize(mask * np.uint8(255), (size.width, size.height), interpolation=cv2.INTER_LINEAR)
    smooth: U8 = np.greater(soft, 127).view(np.uint8)
    return smooth


def paint_classes(image: Image, class_map: U8, surface: U8 | None, knobs: Knobs, look: Look) -> None:
    """Blend class colours over the whole picture. Coloured at the map's resolution, then upsampled: soft edges for free.

    surface: of a road; where it is drivable its colour takes the place of the class's, since two on top of each other are mud.
    """
    shown = look.shown(knobs.hidden_classes)
    height, width = image.shape[:2]
    mask = cv2.LUT(class_map, shown)
    colours = cv2.applyColorMap(class_map, look.class_bgr[:256].reshape(256, 1, 3))
    if surface is not None:
        if surface.shape != class_map.shape:
            surface = cv2.resize(surface, class_map.shape[::-1], interpolation=cv2.INTER_NEAREST)
        carpet = np.greater(surface, 0).view(np.uint8)
        cv2.copyTo(_carpet(*class_map.shape), carpet, colours)
        mask = cv2.bitwise_or(mask, carpet * np.uint8(255))
    is_everywhere = cv2.countNonZero(mask) == mask.size
    if class_map.shape != (height, width):
        if not is_everywhere:  # let painted colours run one pixel over the rest, or its black would darken their edges
            colours = cv2.copyTo(colours, mask, cv2.dilate(cv2.copyTo(colours, mask), _SQUARE))
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        if not is_everywhere:
            soft = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
            mask = np.greater(soft, 127).view(np.uint8)  # its edge cuts corners, where the nearest pixel's has stairs
    if is_everywhere:
        cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0, dst=image)
    else:
        cv2.copyTo(cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0), mask, image)


@lru_cache(maxsize=4)
def _carpet(height: int, width: int) -> Image:
    """(height, width, 3) of the drivable surface's colour. Kept: filling it takes longer than all that is done with it."""
    colour: Image = np.empty((height, width, 3), np.uint8)
    colour[:] = CARPET_BGR
    colour.setflags(write=False)
    return colour
