"""Cars and people as coloured convex polygons in perspective: fast to draw, detailed enough to look right."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from engines.types import F32
from realtime.sources.street.camera import View

Colour = tuple[int, int, int]

_GLASS: Colour = (84, 70, 58)
_TYRE: Colour = (28, 28, 28)
_SHADOW: Colour = (62, 62, 64)
_SKIN: Colour = (150, 180, 220)
_TROUSERS: Colour = (92, 62, 48)
_HAIR: Colour = (40, 50, 66)
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), 1)

_CAR_HALF_WIDTH_M, _CAR_LENGTH_M = 0.9, 4.2


class Shape(NamedTuple):
    """One convex polygon. points_px: (K, 2) float32. colour: BGR. is_solid: False for a shadow, not part of the object."""

    points_px: F32
    colour: Colour
    is_solid: bool = True


def shade(colour: Colour, factor: float) -> Colour:
    """A lighter (> 1) or darker (< 1) colour."""
    blue, green, red = (min(255, round(channel * factor)) for channel in colour)
    return blue, green, red


def car_shapes(view: View, x_m: float, z_m: float, colour: Colour, *, shows_front: bool) -> list[Shape]:
    """A car whose near end is at `z_m`, back to front."""
    near, far = z_m, z_m + _CAR_LENGTH_M

    def plane(half_m: float, low: tuple[float, float], high: tuple[float, float]) -> F32:
        return view.plane(x_m - half_m, x_m + half_m, low, high)

    body = _box(view, x_m, _CAR_HALF_WIDTH_M, 0.22, 0.85, near, far)
    cabin = _box(view, x_m, 0.72, 0.85, 1.42, near + 0.7, far - 1.2)
    glass_far = 0.25 if shows_front else 0.0
    light: Colour = (225, 245, 255) if shows_front else (50, 40, 215)
    shapes = [
        Shape(plane(1.0, (0.0, near - 0.15), (0.0, far + 0.1)), _SHADOW, False),
        *(
            Shape(_box(view, x_m + side * 0.72, 0.13, 0.0, 0.45, z - 0.15, z + 0.4), _TYRE)
            for z in (far - 0.8, near + 0.45)
            for side in (-1, 1)
        ),
        Shape(body, shade(colour, 0.72)),
        Shape(plane(_CAR_HALF_WIDTH_M, (0.85, near), (0.85, far)), shade(colour, 1.12)),
        Shape(plane(_CAR_HALF_WIDTH_M, (0.22, near), (0.85, near)), colour),
        Shape(cabin, _GLASS),
        Shape(plane(0.66, (0.9, near + 0.74), (1.38, near + 1.05 + glass_far)), shade(_GLASS, 1.5)),
        Shape(plane(0.72, (1.42, near + 0.7), (1.42, far - 1.2)), shade(colour, 1.22)),
        Shape(plane(0.9, (0.24, near - 0.01), (0.38, near - 0.01)), shade(colour, 0.5)),
        Shape(plane(0.26, (0.42, near - 0.01), (0.54, near - 0.01)), (235, 238, 240)),
    ]
    lights = [view.plane(x_m + side * 0.52, x_m + side * 0.86, (0.58, near), (0.74, near)) for side in (-1, 1)]
    return shapes + [Shape(points_px, light) for points_px in lights]


def person_shapes(view: View, x_m: float, z_m: float, colour: Colour, *, stride: float) -> list[Shape]:
    """A walking person, back to front. stride: the distance walked, in paces."""
    swing_m = 0.26 * math.sin(2 * math.pi * stride)

    def limb(top_x: float, top_y: float, foot_x: float, foot_y: float, half_m: float) -> F32:
        return view.project(
            (x_m + top_x - half_m, top_y, z_m),
            (x_m + top_x + half_m, top_y, z_m),
            (x_m + foot_x + half_m * 0.7, foot_y, z_m),
            (x_m + foot_x - half_m * 0.7, foot_y, z_m),
        )

    centre, crown = view.project((x_m, 1.58, z_m), (x_m, 1.73, z_m))
    radius_px = float(centre[1] - crown[1])
    return [
        Shape(view.plane(x_m - 0.35, x_m + 0.35, (0, z_m - 0.2), (0, z_m + 0.3)), _SHADOW, False),
        Shape(limb(0.06, 0.85, -swing_m, 0.0, 0.1), shade(_TROUSERS, 0.75)),
        Shape(limb(-0.06, 0.85, swing_m, 0.0, 0.1), _TROUSERS),
        Shape(limb(0.19, 1.38, 0.2 + swing_m, 0.8, 0.06), shade(colour, 0.75)),
        Shape(limb(0.0, 1.42, 0.0, 0.78, 0.22), colour),
        Shape(limb(-0.19, 1.38, -0.2 - swing_m, 0.8, 0.06), shade(colour, 0.88)),
        Shape(limb(0.0, 1.5, 0.0, 1.38, 0.06), _SKIN),
        Shape((centre + _CIRCLE * radius_px * (0.8, 1.0)).astype(np.float32), _HAIR),
        Shape((centre + (0, radius_px * 0.22) + _CIRCLE * radius_px * (0.66, 0.72)).astype(np.float32), _SKIN),
    ]


def _box(view: View, x_m: float, half_m: float, low_m: float, high_m: float, near_m: float, far_m: float) -> F32:
    """The outline (convex hull) of a cuboid."""
    corners = [(x, y, z) for x in (x_m - half_m, x_m + half_m) for y in (low_m, high_m) for z in (near_m, far_m)]
    return np.asarray(cv2.convexHull(view.project(*corners)), np.float32).reshape(-1, 2)
