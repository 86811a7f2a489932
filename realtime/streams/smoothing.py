"""Smoothing over time: mattes and class maps that do not flicker where the picture is still, and do not lag where it moves.

A network processes every frame independently and is uncertain about hair or a kerb, so edges flicker. Where the picture is still,
opacity is averaged over time, and a class stays until another one has held for a while. Where it moves, the new value
counts at once.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from engines.types import F32, U8, Image, Size

TIME_CONSTANT_S = 0.25
"""Of the average: a value of that age weighs a third. Where nothing moves, its age is invisible."""

STILL, MOVING = 5.0, 16.0
"""Differences of brightness (0..255, averaged over nine cells) up to the first are noise, from the second on motion."""

CUT_SHARE = 0.5
"""When more of the picture than this has changed, it is a cut, or the camera pans."""

LONGEST_GAP_S = 1.0
"""After a longer gap, smoothing starts again."""

HOLD_S = 0.3
"""A class is replaced once other classes have been seen for this much longer than itself, where the picture is still."""

MOTION_WIDTH_PX = 640
"""Motion for class maps is measured at no more than half this width, however fine the map is."""


class _Step(NamedTuple):
    """movement: (h, w) float32, see `_movement`. share: (h, w) float32, the new frame's weight. gap_s: since the last one."""

    movement: F32
    share: F32
    gap_s: float


class _Scene:
    """The picture of one stream, averaged like its maps: a slow motion differs from the average more and more, until it counts as
    movement, and leaves no trail."""

    def __init__(self) -> None:
        self._picture: F32 = np.zeros((0, 0, 3), np.float32)
        self._map_shape: tuple[int, ...] = ()
        self._t_s = 0.0

    def step(self, image: Image, size: Size, map_shape: tuple[int, ...], t_s: float) -> _Step | None:
        """Add a frame, at half of `size`; None where smoothing starts again: after a long gap, a cut or another shape of the map,
        and when time falls back."""
        half = (max(1, size.width // 2), max(1, size.height // 2))
        # Sampled: averaging all its pixels would take ten times as long as the rest.
        picture: F32 = cv2.resize(image, half, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        gap_s, self._t_s = t_s - self._t_s, t_s
        if self._map_shape == map_shape and 0 < gap_s <= LONGEST_GAP_S:
            movement = _movement(picture, self._picture)
            if float(movement.mean()) <= CUT_SHARE:
                share = np.maximum(movement, np.float32(1 - math.exp(-gap_s / TIME_CONSTANT_S)))
                self._picture += cv2.merge((share, share, share)) * cv2.subtract(picture, self._picture)
                return _Step(movement, share, gap_s)
        self._picture, self._map_shape = picture, map_shape
        return None


class AlphaSmoother:
    """The average of one stream's mattes."""

    def __init__(self) -> None:
        self._scene = _Scene()
        self._alpha: F32 = np.zeros((0, 0), np.float32)

    def __call__(self, alpha: U8, image: Image, t_s: float) -> U8:
        """The smoothed matte of the frame `image` at `t_s` seconds, (Ha, Wa) uint8 like `alpha`; a new array."""
        step = self._scene.step(image, Size.of(alpha), alpha.shape, t_s)
        if step is None:
            self._alpha = alpha.astype(np.float32)
            return alpha.copy()
        fine = cv2.resize(step.share, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
        self._alpha += cv2.multiply(fine, cv2.subtract(alpha, self._alpha, dtype=cv2.CV_32F))
        smoothed: U8 = cv2.convertScaleAbs(self._alpha)
        return smoothed


class ClassSmoother:
    """One stream's class maps, each place with the class that holds there. Another class raises doubt, the same class lowers it:
    two alternating classes change nothing, and where nothing moves, a new one is shown `HOLD_S` late."""

    def __init__(self) -> None:
        self._scene = _Scene()
        self._shown: U8 = np.zeros((0, 0), np.uint8)
        self._doubt: U8 = np.zeros((0, 0), np.uint8)
        """0 where the shown class is the seen one, 255 where it is replaced."""

    def __call__(self, class_map: U8, image: Image, t_s: float) -> U8:
        """The smoothed class map of the frame `image` at `t_s` seconds, (Hc, Wc) uint8 like `class_map`; a new array."""
        step = self._scene.step(image, Size.of(class_map).fitted_to_width(MOTION_WIDTH_PX), class_map.shape, t_s)
        if step is None:
            self._shown, self._doubt = class_map.copy(), np.zeros_like(class_map)
            return class_map.copy()
        # NumPy compares, not OpenCV, to which a 1x1 array is a scalar.
        differs = np.not_equal(class_map, self._shown).view(np.uint8)
        change = np.uint8(min(255, max(1, round(255 * step.gap_s / HOLD_S))))
        raised, lowered = cv2.add(self._doubt, differs * change), cv2.subtract(self._doubt, (1 - differs) * change)
        moves = np.greater(step.movement, 0.5).view(np.uint8)
        moves = np.asarray(cv2.resize(moves, class_map.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        is_replaced = np.equal(raised, 255) & (differs > 0) | (moves > 0)
        self._doubt = np.where(is_replaced, np.uint8(0), np.where(differs > 0, raised, lowered))
        self._shown = np.where(is_replaced, class_map, self._shown)
        return self._shown.copy()


def _movement(picture: F32, before: F32) -> F32:
    """(h, w) 0..1: how certainly each place has changed. In colour: a red sleeve before a green wall moves."""
    # Averaged before the sign is dropped, so that noise of both signs cancels.
    difference = np.abs(cv2.blur(cv2.subtract(picture, before), (3, 3)))
    blue, green, red = cv2.split(difference)
    largest = cv2.max(cv2.max(blue, green), red)
    grown = cv2.dilate(largest, np.ones((3, 3), np.uint8))  # an edge that moved uncovers its surroundings
    movement: F32 = np.clip((grown - STILL) * (1 / (MOVING - STILL)), 0, 1)
    return movement
