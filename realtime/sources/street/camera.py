"""The camera over the synthetic street: its perspective, and its motion, a pure function of seed and time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engines.types import F32, F64, Size

_CAMERA_HEIGHT_M = 3.0
_REACH = 0.35  # of the picture's width, to each side
_EASE = 0.98  # 1 reverses within one instant, 0 is a sine
_SHAKE_HZ = ((1.7, 3.1, 5.3), (1.3, 3.7, 5.9), (1.1, 2.3, 4.3))  # of the shift in x, the shift in y, the rotation
_SHAKE_SHARES = np.array((0.5, 0.3, 0.2))
_TURN_SHARE = 0.5  # of the amplitude: the share of the rotation at the left and right edge


@dataclass(frozen=True, slots=True)
class View:
    """A camera 3 m above the road that looks along it. x is right, y up from the road, z ahead, in metres."""

    size: Size
    focal_px: float
    horizon_px: float

    @classmethod
    def of(cls, size: Size) -> View:
        """The view that fills `size`."""
        return cls(size, 0.8 * size.width, 0.42 * size.height)

    def project(self, *points_m: tuple[float, float, float]) -> F32:
        """(K, 2) float32 pixels of points (x, y, z); points behind the camera are moved just in front of it."""
        points = np.array(points_m, np.float32)
        scale = self.focal_px / np.maximum(points[:, 2], 0.5)
        x_px = self.size.width / 2 + points[:, 0] * scale
        y_px = self.horizon_px + (_CAMERA_HEIGHT_M - points[:, 1]) * scale
        return np.stack((x_px, y_px), axis=1).astype(np.float32)

    def plane(self, left_m: float, right_m: float, near: tuple[float, float], far: tuple[float, float]) -> F32:
        """(4, 2) the rectangle between two lines from left to right, each at a height and a distance in metres."""
        return self.project((left_m, *near), (right_m, *near), (right_m, *far), (left_m, *far))


class CameraPath:
    """The motion of a camera that pans and shakes: at each time it shows a part of one wide picture, slightly rotated.

    Without pan and shake, the wide picture is the picture itself.
    """

    def __init__(self, size: Size, pan_px_s: float, shake_px: float, seed: int) -> None:
        """size: of the picture. pan_px_s: greatest speed of the pan. shake_px: amplitude of the picture's middle."""
        self._size, self._pan_px_s, self._shake_px = size, pan_px_s, shake_px
        rng = np.random.default_rng((seed, 1))
        self._phases = rng.random((3, 3))
        self._direction = 1.0 if rng.random() < 0.5 else -1.0
        self._reach_px = _REACH * size.width if pan_px_s > 0 else 0.0
        self._margin_x = math.ceil(self._reach_px + 2 * shake_px)
        self._margin_y = math.ceil(2 * shake_px)

    @property
    def is_still(self) -> bool:
        """Whether it never moves."""
        return self._pan_px_s == 0 and self._shake_px == 0

    def wide_view(self) -> View:
        """The view of everything that the camera can ever show, in the same scale."""
        own = View.of(self._size)
        wide = Size(self._size.width + 2 * self._margin_x, self._size.height + 2 * self._margin_y)
        return View(wide, own.focal_px, own.horizon_px + self._margin_y)

    def matrix(self, t_s: float) -> F64:
        """(3, 3) float64, from the wide picture's pixels to those of the picture at `t_s`."""
        shake = self._shake_px * np.array([self._sway(axis, t_s) for axis in range(3)])
        shift_x, shift_y = self._pan(t_s) + shake[0] - self._margin_x, shake[1] - self._margin_y
        turn = _TURN_SHARE * shake[2] / (self._size.width / 2)
        cos, sin, x, y = math.cos(turn), math.sin(turn), self._size.width / 2, self._size.height / 2
        about_middle = np.array(((cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y), (0, 0, 1)))
        matrix: F64 = about_middle @ np.array(((1, 0, shift_x), (0, 1, shift_y), (0, 0, 1)))
        return matrix

    def between(self, from_s: float, to_s: float) -> F64:
        """(2, 3) float64 similarity, from the background's pixels at `from_s` to those at `to_s`."""
        step: F64 = self.matrix(to_s) @ np.linalg.inv(self.matrix(from_s))
        return step[:2]

    def _pan(self, t_s: float) -> float:
        """From side to side at constant speed, eased at the ends."""
        if self._reach_px == 0:
            return 0.0
        pace = self._pan_px_s * math.asin(_EASE) / (_EASE * self._reach_px)
        return self._direction * self._reach_px * math.asin(_EASE * math.sin(pace * t_s)) / math.asin(_EASE)

    def _sway(self, axis: int, t_s: float) -> float:
        """In [-1, 1]."""
        angles = 2 * np.pi * (np.array(_SHAKE_HZ[axis]) * t_s + self._phases[axis])
        return float(_SHAKE_SHARES @ np.sin(angles))
