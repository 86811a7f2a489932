"""Areas over the picture: masks of objects, class maps, the road surface, and the halo of the selected object."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from engines.types import U8, Bools, Image, Size
from realtime.knobs import Knobs
from realtime.render.layout import Box
from realtime.render.look import Look, rim_px, unit
from realtime.render.marks import Mark, scale_to, scaled_boxes
from realtime.render.pixels import Bgr, blend_colour, occupied, plain, scaled
from realtime.types import Result

HALO_BGR, HALO_RIM_BGR = (255, 255, 255), (20, 20, 20)
"""Around the selected object: light for dark pictures, dark for light ones; no object has either colour."""

ROWS_PX = 240
"""Height of a tile: lower tiles follow the objects' shapes more closely, but each costs a few calls."""

GAP_PX = 32
"""Tiles side by side that are closer than this become one: painting the gap costs less than those calls."""

LANE_LINE = 2
"""Of a surface map, where 1 is drivable."""

CARPET_BGR: Bgr = (120, 215, 60)
STROKE_BGR: Bgr = (150, 245, 255)
EDGE_BGR: Bgr = (25, 30, 35)
"""Around lane lines, to make them visible on bright concrete, where they are white."""

SHARPENING = 4.0
"""How much steeper an upsampled edge becomes: at 2 it is as soft as the map is coarse, at 16 it has steps."""

COARSE, COARSE_EDGE = 2, 0.33
"""A map whose cells are at least so many pixels wide is blurred by a cell first, or a diagonal line would be a staircase. Its
edges, half as steep, are sharpened three times as much, and lie at this share instead of a half: of a diagonal line that is one
cell wide, blurring leaves 0.375."""


class Tile(NamedTuple):
    """A rectangle of the picture. owner: index of the only box that reaches into it, None if there are several."""

    box: Box
    owner: int | None


def tiles(boxes: Sequence[Box]) -> Iterator[Tile]:
    """Rectangles that cover all boxes (no coordinate is negative) and do not overlap. Empty boxes have no tile.

    Painting only these saves the time for the rest of the picture, and keeps temporary arrays small.
    """
    strips: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        if x1 > x0 and y1 > y0:
            for strip in range(y0 // ROWS_PX, -(-y1 // ROWS_PX)):
                strips.setdefault(strip, []).append((x0, y0, x1, y1, index))
    for strip, crossing in strips.items():
        top, bottom = strip * ROWS_PX, (strip + 1) * ROWS_PX
        crossing.sort()
        owner: int | None
        left, first, right, last, owner = crossing[0]
        for x0, y0, x1, y1, index in crossing[1:]:
            if x0 > right + GAP_PX:
                yield Tile((left, max(first, top), right, min(last, bottom)), owner)
                left, first, right, last, owner = x0, y0, x1, y1, index
            else:
                right, first, last, owner = max(right, x1), min(first, y0), max(last, y1), None
        yield Tile((left, max(first, top), right, min(last, bottom)), owner)


def paint_objects(image: Image, result: Result, marks: list[Mark], knobs: Knobs) -> None:
    """Blend each object's mask in its colour, and draw its contour in the full colour, sharp, as `mask_style` says."""
    instances, size = result.segmentation.instances, Size.of(image)
    seen_marks = [mark for mark in marks if mark.row is not None]
    if not seen_marks:
        return
    rows = np.array([mark.row for mark in seen_marks])
    labels, label_map = rows + 1, instances.label_map
    if Size.of(label_map) != size:
        label_map = scaled(label_map, size, cv2.INTER_NEAREST)
    colours, kept = np.zeros((256, 1, 3), np.uint8), np.zeros(256, np.uint8)
    colours[labels, 0] = [mark.colour for mark in seen_marks]
    kept[labels] = labels
    rim = rim_px(size)
    # Not the marks' boxes: a track's box can differ from its mask's. Rounding separates box and map by up to a pixel.
    boxes = scaled_boxes(instances.boxes_px[rows], scale_to(result, size))
    for (x0, y0, x1, y1), owner in tiles([_grown(box, rim + 1, size) for box in boxes]):
        top = max(0, y0 - rim)  # neighbours decide what is rim, also those in another tile
        seen, inside = label_map[top : y1 + rim, x0:x1], slice(y0 - top, y1 - top)
        if owner is not None:
            seen = np.equal(seen, labels[owner]).view(np.uint8)
            tint = plain(seen_marks[owner].colour, Size(x1 - x0, y1 - y0))
        else:
            seen = seen if len(rows) == len(instances) else cv2.LUT(seen, kept)
            tint = cv2.applyColorMap(seen[inside], colours)
        _paint_tile(image[y0:y1, x0:x1], tint, seen, inside, rim, knobs)


def _paint_tile(region: Image, tint: Image, seen: U8, inside: slice, rim: int, knobs: Knobs) -> None:
    """Paint `region` in place. seen: the object of each pixel, 0 for none; the region is its rows `inside`."""
    if knobs.mask_style != "contour":
        cv2.copyTo(cv2.addWeighted(region, 1 - knobs.opacity, tint, knobs.opacity, 0), seen[inside], region)
    if knobs.mask_style != "fill":
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (2 * rim + 1, 2 * rim + 1))
        is_rim = np.greater(seen, cv2.erode(seen, cross))[inside]
        cv2.copyTo(tint, is_rim.view(np.uint8), region)


def _grown(box: Box, by_px: int, size: Size) -> Box:
    """The box grown by `by_px` on each side, cut off at the picture's edges."""
    x0, y0, x1, y1 = box
    return max(0, x0 - by_px), max(0, y0 - by_px), min(size.width, x1 + by_px), min(size.height, y1 + by_px)


def draw_halo(image: Image, result: Result, mark: Mark) -> None:
    """Draw a light line with a dark one around it, outside the object's mask, or its box if it has no mask."""
    instances, size = result.segmentation.instances, Size.of(image)
    width = max(2, round(3 * unit(size)))
    box = mark.box
    if mark.row is not None:
        (box,) = scaled_boxes(instances.boxes_px[mark.row : mark.row + 1], scale_to(result, size))
    x0, y0, x1, y1 = _grown(box, 2 * width + 1, size)
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    if mark.row is not None:
        mask = _mask_in((x0, y0, x1, y1), instances.label_map, mark.row + 1, size)
    if not cv2.countNonZero(mask):
        cv2.rectangle(mask, (mark.box[0] - x0, mark.box[1] - y0), (mark.box[2] - 1 - x0, mark.box[3] - 1 - y0), 1, cv2.FILLED)
    light = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1)))
    dark = cv2.dilate(light, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (width // 2) + 1, 2 * (width // 2) + 1)))
    region = image[y0:y1, x0:x1]
    cv2.copyTo(plain(HALO_RIM_BGR, Size.of(mask)), np.greater(dark, light).view(np.uint8), region)
    cv2.copyTo(plain(HALO_BGR, Size.of(mask)), np.greater(light, mask).view(np.uint8), region)


def _mask_in(box: Box, label_map: U8, label: int, size: Size) -> U8:
    """(h, w) uint8, 0 and 1: one object's mask within a box of the canvas, with smooth edges where the map is coarser."""
    x0, y0, x1, y1 = box
    if Size.of(label_map) == size:
        return np.equal(label_map[y0:y1, x0:x1], label).view(np.uint8)
    opaque = np.equal(label_map, label).view(np.uint8) * np.uint8(255)
    return np.greater(scaled(opaque, size, cv2.INTER_LINEAR)[y0:y1, x0:x1], 127).view(np.uint8)


def paint_classes(image: Image, class_map: U8, surface: U8 | None, knobs: Knobs, look: Look) -> None:
    """Blend class colours over the whole picture. Coloured at the map's resolution, then upsampled, which softens edges.

    surface: of the road. Its colour replaces the class's where it is drivable, since two layers of colour look muddy.
    """
    size = Size.of(image)
    mask = cv2.LUT(class_map, look.shown(knobs.hidden_classes))
    colours = cv2.applyColorMap(class_map, look.class_bgr[:256].reshape(256, 1, 3))
    if surface is not None:
        if surface.shape != class_map.shape:
            surface = scaled(surface, Size.of(class_map), cv2.INTER_NEAREST)
        carpet = np.greater(surface, 0).view(np.uint8)
        cv2.copyTo(plain(CARPET_BGR, Size.of(class_map)), carpet, colours)
        mask = cv2.bitwise_or(mask, carpet * np.uint8(255))
    is_everywhere = cv2.countNonZero(mask) == mask.size
    if Size.of(class_map) != size:
        if not is_everywhere:  # extend painted colours by one pixel, or the black of the rest would darken their edges
            colours = cv2.copyTo(colours, mask, cv2.dilate(cv2.copyTo(colours, mask), np.ones((3, 3), np.uint8)))
        colours = scaled(colours, size, cv2.INTER_LINEAR)
        if not is_everywhere:  # interpolated, since the nearest pixel's edge has steps
            mask = np.greater(scaled(mask, size, cv2.INTER_LINEAR), 127).view(np.uint8)
    if is_everywhere:
        cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0, dst=image)
    else:
        cv2.copyTo(cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0), mask, image)


def paint_carpet(image: Image, surface: U8, opacity: float) -> None:
    """Blend the drivable surface, including the part under lane lines, over the picture."""
    if (part := _smooth(np.greater(surface, 0), image)) is not None:
        mask, region = part
        blend_colour(region, CARPET_BGR, cv2.convertScaleAbs(mask, alpha=opacity))


def paint_lane_lines(image: Image, surface: U8, opacity: float) -> None:
    """Draw lane lines, more opaque than masks because they are thin."""
    if (part := _smooth(np.equal(surface, LANE_LINE), image)) is not None:
        mask, region = part
        strength = 1 - (1 - opacity) ** 4
        reach = max(3, round(image.shape[0] / 240) | 1)
        solid = np.greater(mask, 0).view(np.uint8) * np.uint8(
            255
        )  # or the edge beside a half covered pixel would be half as dark
        around = cv2.subtract(cv2.dilate(solid, np.ones((reach, reach), np.uint8)), mask)
        blend_colour(region, EDGE_BGR, cv2.convertScaleAbs(around, alpha=0.5 * strength))
        blend_colour(region, STROKE_BGR, cv2.convertScaleAbs(mask, alpha=strength))


def _smooth(where: Bools, image: Image) -> tuple[U8, Image] | None:
    """Upsample a mask to `image`'s resolution: its part that is not empty, 0 to 255 with smooth edges, and `image` there.

    None when the mask is empty.
    """
    mask, columns, width = where.view(np.uint8) * np.uint8(255), where.shape[1], image.shape[1]
    parts = occupied(mask, 2, Size.of(image))  # 2: the reach of bilinear sampling and of the strokes' edge
    if parts is None:
        return None
    cells, place = parts
    part, edge, steeper = mask[cells], 0.5, SHARPENING
    if columns * COARSE <= width:
        part, edge, steeper = cv2.GaussianBlur(part, (3, 3), 0), COARSE_EDGE, 3 * SHARPENING
    soft = scaled(part, Size.of(image[place]), cv2.INTER_AREA if columns > width else cv2.INTER_LINEAR)
    if columns < width:  # steeper around the edge, which becomes one half: saturated
        soft = cv2.addWeighted(soft, steeper, soft, 0, (0.5 - steeper * edge) * 255)
    return soft, image[place]
