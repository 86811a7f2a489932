"""Masks: objects and class maps over the picture, through one look-up table and one blend whatever the number of objects."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from engines.types import U8, Image, Size
from realtime.knobs import Knobs
from realtime.render.look import Look
from realtime.render.marks import Mark, scale_to, scaled_boxes
from realtime.render.surface import CARPET_BGR
from realtime.types import Result

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))


def paint_objects(image: Image, result: Result, marks: list[Mark], opacity: float) -> None:
    """Blend each seen object's mask in its own colour, with a crisp edge, box by box: the cost grows with the area of objects."""
    height, width = image.shape[:2]
    instances = result.segmentation.instances
    boxes = scaled_boxes(instances.boxes_px, scale_to(result, Size.of(image)))
    label_map = instances.label_map
    if label_map.shape != (height, width):
        label_map = cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST)
    inner_map = cv2.erode(label_map, _CROSS)
    for mark in marks:
        if mark.row is None:
            continue
        # A pixel around the box: its corners and the map's are rounded apart.
        x0, y0, x1, y1 = boxes[mark.row]  # not the mark's: a track's own box may be another one
        x0, y0, x1, y1 = max(0, x0 - 1), max(0, y0 - 1), min(width, x1 + 1), min(height, y1 + 1)
        if x1 <= x0 or y1 <= y0:
            continue
        mask = np.equal(label_map[y0:y1, x0:x1], mark.row + 1).view(np.uint8)
        inner = np.equal(inner_map[y0:y1, x0:x1], mark.row + 1).view(np.uint8)
        region = image[y0:y1, x0:x1]
        colour = np.empty(region.shape, np.uint8)
        colour.reshape(y1 - y0, -1)[:] = _row_of(mark.colour, width)[: 3 * (x1 - x0)]
        blended = cv2.addWeighted(region, 1 - opacity, colour, opacity, 0)
        # Pure colour, then the blend over all but the rim: what stays is a crisp edge.
        cv2.copyTo(colour, mask, region)
        cv2.copyTo(blended, inner, region)


@lru_cache(maxsize=256)
def _row_of(colour: tuple[int, int, int], width: int) -> U8:
    """(3 * width,) uint8: one row of pixels of that colour, to be copied into the rows of a rectangle."""
    return np.tile(np.array(colour, np.uint8), width)


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
        cv2.copyTo(np.full(colours.shape, CARPET_BGR, np.uint8), carpet, colours)
        mask = cv2.bitwise_or(mask, carpet)
    is_everywhere = cv2.countNonZero(mask) == mask.size
    if class_map.shape != (height, width):
        if not is_everywhere:  # let painted colours run one pixel over the rest, or its black would darken their edges
            colours = cv2.copyTo(colours, mask, cv2.dilate(cv2.copyTo(colours, mask), _SQUARE))
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        if not is_everywhere:
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    if is_everywhere:
        cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0, dst=image)
    else:
        cv2.copyTo(cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0), mask, image)
