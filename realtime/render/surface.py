"""The road surface: the drivable area as a carpet, lane lines as bright strokes."""

from __future__ import annotations

import cv2
import numpy as np

from engines.types import U8, Bools, Image
from realtime.render.pixels import Bgr, blend_colour

DRIVABLE, LANE_LINE = 1, 2

CARPET_BGR: Bgr = (120, 215, 60)
STROKE_BGR: Bgr = (150, 245, 255)
EDGE_BGR: Bgr = (25, 30, 35)
"""Around strokes, to make them visible on bright concrete, where the lines are white."""

SHARPENING = 4.0
"""How much steeper an upsampled edge becomes: at 2 it is as soft as the map is coarse, at 16 it has steps."""


def paint_carpet(image: Image, surface: U8, opacity: float) -> None:
    """Blend the drivable surface, including the part under lane lines, over the picture."""
    mask, rectangle = _smooth(np.greater(surface, 0), image)
    if mask is not None:
        y, x = rectangle
        blend_colour(image[y, x], CARPET_BGR, cv2.convertScaleAbs(mask, alpha=opacity))


def paint_lane_lines(image: Image, surface: U8, opacity: float) -> None:
    """Draw lane lines, more opaque than masks because they are thin."""
    mask, rectangle = _smooth(np.equal(surface, LANE_LINE), image)
    if mask is None:
        return
    y, x = rectangle
    strength = 1 - (1 - opacity) ** 4
    reach = max(3, round(image.shape[0] / 240) | 1)
    around = cv2.subtract(cv2.dilate(mask, np.ones((reach, reach), np.uint8)), mask)
    blend_colour(image[y, x], EDGE_BGR, cv2.convertScaleAbs(around, alpha=0.5 * strength))
    blend_colour(image[y, x], STROKE_BGR, cv2.convertScaleAbs(mask, alpha=strength))


def _smooth(where: Bools, image: Image) -> tuple[U8 | None, tuple[slice, slice]]:
    """Upsample a mask to `image`'s resolution: its part that is not empty, 0 to 255 with smooth edges, and that part's place.

    The mask is None when it is empty.
    """
    height, width = image.shape[:2]
    mask = where.view(np.uint8) * np.uint8(255)
    rows, columns = mask.shape
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return None, (slice(0, 0), slice(0, 0))
    around = 2  # cells: the reach of bilinear sampling and of the strokes' edge
    cells_x, cells_y = (max(0, x - around), min(columns, x + w + around)), (max(0, y - around), min(rows, y + h + around))
    x0, x1 = (round(edge * width / columns) for edge in cells_x)
    y0, y1 = (round(edge * height / rows) for edge in cells_y)
    if x1 <= x0 or y1 <= y0:
        return None, (slice(0, 0), slice(0, 0))
    part = mask[slice(*cells_y), slice(*cells_x)]
    how = cv2.INTER_AREA if columns > width else cv2.INTER_LINEAR
    soft = cv2.resize(part, (x1 - x0, y1 - y0), interpolation=how)
    if columns < width:
        # Steeper around one half: 4 v - 3 x 127.5, saturated.
        soft = cv2.addWeighted(soft, SHARPENING, soft, 0, -(SHARPENING - 1) * 127.5)
    return soft, (slice(y0, y1), slice(x0, x1))
