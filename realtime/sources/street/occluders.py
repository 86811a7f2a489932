"""Occluders on the synthetic street: advertising columns on the kerb and pillars between the lanes.

They belong to the background (class building). An object that passes behind one is hidden for about a second.
"""

import math
from dataclasses import dataclass

import numpy as np

from realtime.sources.street.camera import View
from realtime.sources.street.shapes import Colour, Shape, shade

_COLUMN, _PILLAR = "column", "pillar"
# Just beside the lanes and the paths of walkers, so that nobody walks through one. Kind, x and z in metres; z of the near side.
_PLACES = ((_COLUMN, 5.55, 11.0), (_PILLAR, -1.75, 9.5), (_COLUMN, -5.55, 11.5), (_PILLAR, 1.75, 10.0))
MAX_OCCLUDERS = len(_PLACES)

_COLUMN_RADIUS_M, _COLUMN_HEIGHT_M = 0.6, 3.7
_PILLAR_HALF_M, _PILLAR_HEIGHT_M = 0.7, 12.0  # higher than the picture
_CONCRETE: Colour = (148, 154, 158)
_GREEN: Colour = (62, 84, 58)
_PAPERS: tuple[Colour, ...] = ((70, 90, 205), (205, 150, 70), (90, 185, 215), (215, 215, 220), (150, 110, 160), (120, 170, 90))
_CAR_LENGTH_M = 4.2


@dataclass(frozen=True, slots=True)
class Occluder:
    """One column or pillar. Shapes are back to front."""

    x_m: float
    z_m: float
    shapes: list[Shape]

    def hides(self, x_m: float, z_m: float) -> bool:
        """Whether it is in front of an object at x and z (a car: its near end), for a camera at x = 0."""
        is_outside = x_m * self.x_m > 0 and abs(x_m) > abs(self.x_m)
        return z_m > self.z_m or (is_outside and z_m > self.z_m - _CAR_LENGTH_M)


def make_occluders(view: View, count: int, seed: int) -> list[Occluder]:
    """The first `count` occluders, far to near."""
    rng = np.random.default_rng((seed, 3))
    made = [
        Occluder(x_m, z_m, _column(view, x_m, z_m, rng) if kind == _COLUMN else _pillar(view, x_m, z_m))
        for kind, x_m, z_m in _PLACES[:count]
    ]
    return sorted(made, key=lambda occluder: -occluder.z_m)


def _column(view: View, x_m: float, z_m: float, rng: np.random.Generator) -> list[Shape]:
    """A round column covered with posters, with a cap."""
    middle_m = z_m + _COLUMN_RADIUS_M

    def ring(low_m: float, high_m: float, left: float, right: float, colour: Colour, radius_m: float = _COLUMN_RADIUS_M) -> Shape:
        """A part of the round wall between two heights and two angles (in -90..90 degrees, as seen from the front)."""
        corners = []
        for angle, height_m in ((left, low_m), (right, low_m), (right, high_m), (left, high_m)):
            x, z = radius_m * math.sin(math.radians(angle)), radius_m * math.cos(math.radians(angle))
            corners.append((x_m + x, height_m, middle_m - z))
        return Shape(view.project(*corners), colour)

    def wall(low_m: float, high_m: float, colour: Colour, radius_m: float = _COLUMN_RADIUS_M) -> list[Shape]:
        lights = [(float(left), 0.62 + 0.42 * math.cos(math.radians(left - 10))) for left in np.arange(-90.0, 90.0, 22.5)]
        return [ring(low_m, high_m, left, left + 22.5, shade(colour, light), radius_m) for left, light in lights]

    shadow = view.plane(x_m - 0.75, x_m + 0.75, (0.0, middle_m - 0.7), (0.0, middle_m + 0.7))
    shapes = [Shape(shadow, (92, 94, 96), False), *wall(0.0, 0.35, _GREEN), *wall(0.35, 3.15, (190, 205, 212))]
    for low_m, high_m in ((0.5, 1.65), (1.8, 3.0)):
        left = -85.0 + 10 * float(rng.random())
        while left < 60:
            right = min(left + 45 + 30 * float(rng.random()), 86.0)
            paper = _PAPERS[int(rng.integers(len(_PAPERS)))]
            light = 0.68 + 0.4 * math.cos(math.radians((left + right) / 2 - 10))
            headline = 0.5 if sum(paper) > 420 else 1.7
            shapes.append(ring(low_m, high_m, left, right, shade(paper, light)))
            shapes.append(ring(high_m - 0.35, high_m - 0.15, left + 6, right - 6, shade(paper, light * headline)))
            left = right + 4
    return [*shapes, *wall(3.15, 3.4, _GREEN, 0.7), *wall(3.4, _COLUMN_HEIGHT_M, shade(_GREEN, 0.8), 0.45)]


def _pillar(view: View, x_m: float, z_m: float) -> list[Shape]:
    """A concrete pillar of a bridge overhead, striped at the height of cars."""
    left, right, near, far = x_m - _PILLAR_HALF_M, x_m + _PILLAR_HALF_M, z_m, z_m + 2 * _PILLAR_HALF_M
    flank_x = right if x_m < 0 else left

    def front(low_m: float, high_m: float, from_x: float, to_x: float, colour: Colour, lean_m: float = 0.0) -> Shape:
        corners = ((from_x, low_m, near), (to_x, low_m, near), (to_x + lean_m, high_m, near), (from_x + lean_m, high_m, near))
        return Shape(view.project(*corners), colour)

    flank = ((flank_x, 0.0, near), (flank_x, 0.0, far), (flank_x, _PILLAR_HEIGHT_M, far), (flank_x, _PILLAR_HEIGHT_M, near))
    return [
        Shape(view.project(*flank), shade(_CONCRETE, 0.66)),
        front(0.0, _PILLAR_HEIGHT_M, left, right, _CONCRETE),
        *(front(height_m, height_m + 0.03, left, right, shade(_CONCRETE, 0.8)) for height_m in (2.4, 4.8, 7.2)),
        front(0.35, 1.25, left, right, (222, 224, 224)),
        *(front(0.35, 1.25, left + 0.35 * n, left + 0.35 * n + 0.175, (52, 52, 196), 0.175) for n in range(4)),
        front(0.0, 0.35, left, right, shade(_CONCRETE, 0.72)),
    ]
