"""The static part of the synthetic street: sky, houses, trees, pavement, road and its markings."""

import cv2
import numpy as np

from engines.types import F32, U8, Image
from realtime.sources.street.camera import View

BACKGROUND_CLASSES = ("road", "sidewalk", "building", "vegetation", "sky")
_ROAD, _SIDEWALK, _BUILDING, _VEGETATION, _SKY = range(len(BACKGROUND_CLASSES))

_FAR_M = 400.0
_ROAD_HALF_M, _PAVEMENT_HALF_M = 5.5, 8.5
_WALLS = ((148, 170, 190), (130, 140, 165), (165, 172, 178), (120, 150, 178), (150, 150, 150))


def paint_background(view: View, rng: np.random.Generator) -> tuple[Image, U8]:
    """The background (H, W, 3) uint8 BGR, and its classes (H, W) uint8."""
    painter = _Painter(view)
    painter.sky()
    painter.ground(_FAR_M, (92, 138, 108), _VEGETATION)
    painter.strip(-_PAVEMENT_HALF_M, _PAVEMENT_HALF_M, (150, 156, 160), _SIDEWALK)
    painter.strip(-_ROAD_HALF_M - 0.25, _ROAD_HALF_M + 0.25, (118, 122, 126), _SIDEWALK)
    painter.strip(-_ROAD_HALF_M, _ROAD_HALF_M, (88, 88, 90), _ROAD)
    for z_m in np.arange(66, 9, -9.0):
        for side in (-1.0, 1.0):
            painter.house(side, float(z_m), rng)
    for z_m in np.arange(60, 12, -12.0):
        for side in (-1.0, 1.0):
            painter.tree(side * (9.6 + rng.random()), float(z_m) + 4 * rng.random(), rng)
    painter.markings()
    grain = rng.normal(0, 3.0, painter.image.shape[:2])[:, :, np.newaxis]
    return np.clip(painter.image + grain, 0, 255).astype(np.uint8), painter.classes


class _Painter:
    def __init__(self, view: View) -> None:
        self.view = view
        self.image: Image = np.zeros((view.size.height, view.size.width, 3), np.uint8)
        self.classes: U8 = np.full((view.size.height, view.size.width), _SKY, np.uint8)

    def fill(self, points_px: F32, colour: tuple[int, int, int], class_id: int | None = None) -> None:
        points = np.round(points_px * 16).astype(np.int32)
        cv2.fillPoly(self.image, [points], colour, cv2.LINE_AA, 4)
        if class_id is not None:
            cv2.fillPoly(self.classes, [points], (class_id,), cv2.LINE_8, 4)

    def sky(self) -> None:
        rows = np.linspace(0, 1, self.view.size.height)[:, np.newaxis]
        share = np.clip(rows / 0.45, 0, 1)
        self.image[:] = ((1 - share) * (226, 178, 128) + share * (238, 228, 216))[:, np.newaxis, :].astype(np.uint8)

    def ground(self, far_m: float, colour: tuple[int, int, int], class_id: int) -> None:
        top = round(float(self.view.project((0, 0, far_m))[0, 1]))
        self.image[top:] = colour
        self.classes[top:] = class_id

    def strip(self, left_m: float, right_m: float, colour: tuple[int, int, int], class_id: int) -> None:
        self.fill(self.view.plane(left_m, right_m, (0.0, 1.0), (0.0, _FAR_M)), colour, class_id)

    def house(self, side: float, z_m: float, rng: np.random.Generator) -> None:
        """One house of the row along the street, with windows; its wall towards the road is in shade."""
        wall = _WALLS[int(rng.integers(len(_WALLS)))]
        high, deep, front_x, back_x = 6 + 6 * float(rng.random()), 8.0, side * 11.5, side * 22.0
        near, far = z_m, z_m + deep
        flank = tuple(round(channel * 0.72) for channel in wall)
        road_side = ((front_x, 0.0, near), (front_x, 0.0, far), (front_x, high, far), (front_x, high, near))
        self.fill(self.view.project(*road_side), (flank[0], flank[1], flank[2]), _BUILDING)
        self.fill(self.view.plane(front_x, back_x, (0.0, near), (high, near)), wall, _BUILDING)
        for low in np.arange(1.0, high - 1.6, 2.6):
            for z in np.arange(near + 0.9, far - 1.4, 2.2):
                window = ((front_x, low, z), (front_x, low, z + 1.2), (front_x, low + 1.4, z + 1.2), (front_x, low + 1.4, z))
                self.fill(self.view.project(*window), (96, 86, 70))
            for x in np.arange(11.5 + 1.2, 22.0 - 1.6, 2.6):
                self.fill(self.view.plane(side * x, side * (x + 1.3), (low, near), (low + 1.4, near)), (112, 100, 82))

    def tree(self, x_m: float, z_m: float, rng: np.random.Generator) -> None:
        trunk = ((x_m - 0.14, 0.0, z_m), (x_m + 0.14, 0.0, z_m), (x_m + 0.1, 2.6, z_m), (x_m - 0.1, 2.6, z_m))
        self.fill(self.view.project(*trunk), (52, 70, 92), _VEGETATION)
        metre_px = self.view.focal_px / z_m
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        for layer in range(5):
            offset = rng.normal(0, 0.5, 2)
            centre = self.view.project((x_m + float(offset[0]), 3.6 + float(offset[1]), z_m))[0]
            radius_px = metre_px * (1.25 - 0.15 * layer) * (1 + 0.1 * rng.random(20))
            blob = centre + np.stack((np.cos(angles), np.sin(angles)), 1) * radius_px[:, np.newaxis]
            green = 82 + 12 * layer
            self.fill(blob.astype(np.float32), (44 + 6 * layer, green, 50 + 6 * layer), _VEGETATION)

    def markings(self) -> None:
        for x_m in (-1.75, 1.75):
            for z_m in np.arange(4.0, 120.0, 7.5):
                self._line(x_m, 0.07, float(z_m), float(z_m) + 3.0)
        for x_m in (-_ROAD_HALF_M + 0.3, _ROAD_HALF_M - 0.3):
            self._line(x_m, 0.08, 2.0, 160.0)

    def _line(self, x_m: float, half_m: float, near_m: float, far_m: float) -> None:
        self.fill(self.view.plane(x_m - half_m, x_m + half_m, (0, near_m), (0, far_m)), (214, 216, 216))
