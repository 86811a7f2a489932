"""Mattes: a soft foreground, refined along the picture's edges, painted in each object's colour or before another background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.types import F32, U8, Image, Size
from realtime.knobs import Knobs
from realtime.render.backgrounds import Background
from realtime.render.look import Look, rim_px
from realtime.render.marks import Mark
from realtime.render.pixels import Bgr, blend_colour, blend_picture, colour_of, occupied, scaled, shrunk
from realtime.types import Result

GUIDE_PX = 320
"""Approximate longer side of the grid on which edges are found; a cell is a whole number of canvas pixels wide. The refined edges
are as sharp as the canvas."""

RADIUS = 3
"""Of the windows on that grid, and so the distance by which an edge can be corrected: 12 pixels at 720p."""

LEAST_CONTRAST = 0.002
"""Minimum variance of brightness (0..1) of an edge in a window; below, the matte is smoothed. Noise has 1e-4."""

HAZE = 0.1
"""Opacity that the filter spreads around an edge. HAZE to 1 - HAZE is stretched to 0..1 to remove it."""

FAINT = 5
"""Opacities up to this one count as 0: networks rarely give exactly 0."""

RIM_OPACITY = 0.85
"""Of the contour, drawn where the matte becomes more than half opaque: one pixel wide, wider without an area."""

NOWHERE = slice(0), slice(0)


@dataclass(frozen=True, slots=True)
class Matte:
    """The foreground of a canvas: `alpha` (h, w) uint8 in a rectangle; outside there is none.

    place: rows and columns of that rectangle on the canvas. cells: on the grid used for refining.
    """

    alpha: U8
    place: tuple[slice, slice]
    cells: tuple[slice, slice]

    @classmethod
    def nothing(cls) -> Matte:
        """No foreground anywhere."""
        return cls(np.zeros((0, 0), np.uint8), NOWHERE, NOWHERE)

    @classmethod
    def over(cls, image: Image, alpha: U8) -> Matte:
        """Refine `alpha` (Ha, Wa) uint8, which covers all of `image`, to its resolution and edges.

        A guided filter: in each window opacity is a linear function of brightness. These functions are upsampled, not their
        values. Source: Fast Guided Filter (He and Sun, 2015).
        """
        size = Size.of(image)
        guide = _guide_size(size)
        interpolation = cv2.INTER_AREA if alpha.shape[1] >= 2 * guide.width else cv2.INTER_LINEAR
        coarse = alpha if Size.of(alpha) == guide else scaled(alpha, guide, interpolation)
        parts = occupied(np.greater(coarse, FAINT).view(np.uint8), 2 * RADIUS + 1, size)  # with the windows around it
        if parts is None:
            return cls.nothing()
        cells, place = parts
        grey = cv2.cvtColor(image[place], cv2.COLOR_BGR2GRAY)
        slope, offset = _linear(shrunk(grey, Size.of(coarse[cells])), coarse[cells])
        slope, offset = (cv2.resize(part, grey.shape[::-1], interpolation=cv2.INTER_LINEAR) for part in (slope, offset))
        refined = cv2.add(cv2.multiply(slope, grey, dtype=cv2.CV_32F), offset, dtype=cv2.CV_8U)  # rounds and saturates
        return cls(refined, place, cells)


def replace_background(image: Image, matte: Matte, background: Background) -> None:
    """Put `background` behind the matte, in place."""
    foreground = np.zeros(image.shape[:2], np.uint8)
    foreground[matte.place] = matte.alpha
    blend_picture(image, background.behind(image, foreground), cv2.bitwise_not(foreground))


def paint_matte(image: Image, matte: Matte, result: Result, marks: list[Mark], knobs: Knobs, look: Look) -> None:
    """Blend each object's colour, or the class's, over the foreground, with a sharp thin contour."""
    if not matte.alpha.size:
        return
    region, weight = image[matte.place], _weight(matte.alpha, knobs, 2 * rim_px(Size.of(image)))
    colours = _row_colours(result, marks, knobs, look)
    if len(set(colours)) <= 1:
        if colours[0] is not None:
            blend_colour(region, colours[0], weight)
        return
    owners = _owners(result.segmentation.instances.label_map, _guide_size(Size.of(image)))[matte.cells]
    table, shown = np.zeros((256, 1, 3), np.uint8), np.zeros(256, np.uint8)
    for row, colour in enumerate(colours):
        if colour is not None:
            table[row + 1], shown[row + 1] = colour, 255
    size = weight.shape[::-1]
    if None in colours:
        weight = cv2.min(weight, cv2.resize(cv2.LUT(owners, shown), size, interpolation=cv2.INTER_LINEAR))
    # The black of hidden objects does not darken their neighbours' edges: it has weight 0 where it would begin.
    blend_picture(region, cv2.resize(cv2.applyColorMap(owners, table), size), weight)


def _weight(alpha: U8, knobs: Knobs, contour_px: int) -> U8:
    """Weight of the colour at each pixel: over the area, along its contour, or both, as `mask_style` says."""
    area: U8 = cv2.convertScaleAbs(alpha, alpha=knobs.opacity)
    if knobs.mask_style == "fill":
        return area
    is_alone = knobs.mask_style == "contour"
    side = 2 * (contour_px if is_alone else 1) + 1
    # Compared by NumPy, since OpenCV takes a 1x1 array for a scalar.
    solid = np.greater(alpha, 127).view(np.uint8)
    rim = cv2.subtract(solid, cv2.erode(solid, cv2.getStructuringElement(cv2.MORPH_CROSS, (side, side))))
    rim_opacity = max(knobs.opacity, RIM_OPACITY * min(1.0, 4 * knobs.opacity))  # low opacities fade it, too
    contour: U8 = cv2.convertScaleAbs(rim, alpha=255 * rim_opacity)
    return contour if is_alone else cv2.max(area, contour)


def _row_colours(result: Result, marks: list[Mark], knobs: Knobs, look: Look) -> list[Bgr | None]:
    """Colour of each object's matte, None if hidden; without objects one colour, the class's."""
    instances = result.segmentation.instances
    if not len(instances):
        return [None if look.matte_class in knobs.hidden_classes else colour_of(look.class_bgr[look.matte_class])]
    marked = {mark.row: mark.colour for mark in marks}
    colours: list[Bgr | None] = []
    for row, (score, class_id) in enumerate(zip(instances.scores.tolist(), instances.class_ids.tolist(), strict=True)):
        if row in marked:
            colours.append(marked[row])
        elif score < knobs.threshold or class_id in knobs.hidden_classes:
            colours.append(None)
        else:  # not confirmed as a track yet, but painted, or the matte would flicker
            colours.append(colour_of(look.class_bgr[class_id]))
    return colours


def _owners(label_map: U8, grid: Size) -> U8:
    """(h, w) uint8 on `grid`: i + 1 of the nearest object i, since soft edges extend beyond the objects' pixels."""
    labels = scaled(label_map, grid, cv2.INTER_NEAREST)
    if not cv2.countNonZero(labels):
        return labels
    background = np.equal(labels, 0).view(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(background, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    # `nearest` numbers the objects' pixels: look up the object of each number, then of each pixel.
    of_number = np.zeros(int(nearest.max()) + 1, np.uint8)
    of_number[nearest[labels > 0]] = labels[labels > 0]
    return np.asarray(np.take(of_number, nearest, axis=0), np.uint8)


def _guide_size(canvas: Size) -> Size:
    times = max(1, round(max(canvas.width, canvas.height) / GUIDE_PX))
    return Size(max(1, round(canvas.width / times)), max(1, round(canvas.height / times)))


def _linear(grey: U8, alpha: U8) -> tuple[F32, F32]:
    """Slope and offset, both (h, w), of alpha (0..255, haze removed) over brightness (0..255) around each pixel."""
    brightness: F32 = grey.astype(np.float32) * np.float32(1 / 255)
    opacity: F32 = alpha.astype(np.float32) * np.float32(1 / 255)

    def mean(values: F32) -> F32:
        averaged: F32 = cv2.boxFilter(values, -1, (2 * RADIUS + 1, 2 * RADIUS + 1), borderType=cv2.BORDER_REFLECT)
        return averaged

    mean_brightness, mean_opacity = mean(brightness), mean(opacity)
    variance: F32 = mean(brightness * brightness) - mean_brightness * mean_brightness
    covariance: F32 = mean(brightness * opacity) - mean_brightness * mean_opacity
    slope: F32 = covariance / (variance + np.float32(LEAST_CONTRAST))
    offset: F32 = mean_opacity - slope * mean_brightness
    stretch = np.float32(1 / (1 - 2 * HAZE))
    return mean(slope) * stretch, (mean(offset) - np.float32(HAZE)) * (255 * stretch)
