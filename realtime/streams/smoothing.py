"""Smoothing: mattes and class maps that do not flicker where the picture stands still, and do not lag where it moves.

A network sees every frame anew and is never sure of hair, or of a kerb: its edges swim. Between two frames in which a place looks
the same its opacity is averaged over time, and its class stays until another one has held for a while; where the place looks
different what is new counts at once.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.types import F32, U8, Image, Size

TIME_CONSTANT_S = 0.25
"""Of the average: what was seen that long ago counts a third. Where nothing moves, no eye sees that it is old."""

STILL, MOVING = 5.0, 16.0
"""Differences of brightness (0..255, averaged over nine cells) up to the first are noise, from the second on movement."""

CUT_SHARE = 0.5
"""When more of the picture has changed than this it is another one, or the camera pans."""

LONGEST_GAP_S = 1.0
"""After a longer gap nothing is averaged with what was before."""

HOLD_S = 0.3
"""A class gives way to others once these have been seen for so much longer than itself, at a place that looks the same."""

WATCHED_PX = 640
"""A class map is watched for movement at no more than half this width, however fine it is."""


class AlphaSmoother:
    """The average of one stream's mattes. It keeps the picture that the average belongs to, averaged in the same way: something
    that creeps differs from that more and more, until it counts as movement, and leaves no trail."""

    def __init__(self) -> None:
        self._alpha: F32 | None = None
        self._picture: F32 = np.zeros((0, 0, 3), np.float32)
        self._t_s = 0.0

    def __call__(self, alpha: U8, image: Image, t_s: float) -> U8:
        """The smoothed matte of this frame, (Ha, Wa) uint8 like `alpha`; a new array.

        image: the frame, (H, W, 3) BGR. t_s: its time in seconds, rising; one that falls back, a long gap, a cut or another size
        begin anew.
        """
        picture = _small(image, Size.of(alpha))
        gap_s, self._t_s = t_s - self._t_s, t_s
        before = self._alpha
        if before is None or before.shape != alpha.shape or not 0 < gap_s <= LONGEST_GAP_S:
            return self._begin(alpha, picture)
        movement = _movement(picture, self._picture)
        if float(movement.mean()) > CUT_SHARE:
            return self._begin(alpha, picture)
        share = np.maximum(movement, np.float32(1 - math.exp(-gap_s / TIME_CONSTANT_S)))
        self._picture += cv2.merge((share, share, share)) * cv2.subtract(picture, self._picture)
        fine = cv2.resize(share, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
        before += cv2.multiply(fine, cv2.subtract(alpha, before, dtype=cv2.CV_32F))
        smoothed: U8 = cv2.convertScaleAbs(before)
        return smoothed

    def _begin(self, alpha: U8, picture: F32) -> U8:
        self._alpha, self._picture = alpha.astype(np.float32), picture
        return alpha.copy()


class ClassSmoother:
    """One stream's class maps, each place with the class that holds there. What differs from it raises doubt, what agrees lowers
    it: two classes in turn change nothing, and a new one is shown `HOLD_S` late, where nothing moves. Movement is told as by
    `AlphaSmoother`."""

    def __init__(self) -> None:
        self._shown: U8 | None = None
        self._doubt: U8 = np.zeros((0, 0), np.uint8)
        """0 where what is shown is what is seen, 255 where it has to go."""
        self._picture: F32 = np.zeros((0, 0, 3), np.float32)
        self._t_s = 0.0

    def __call__(self, class_map: U8, image: Image, t_s: float) -> U8:
        """The steadied class map of this frame, (Hc, Wc) uint8 like `class_map`; a new array.

        image: the frame, (H, W, 3) BGR. t_s: its time in seconds, rising; one that falls back, a long gap, a cut or another size
        begin anew.
        """
        picture = _small(image, Size.of(class_map).fitted_to_width(WATCHED_PX))
        gap_s, self._t_s = t_s - self._t_s, t_s
        shown = self._shown
        if shown is None or shown.shape != class_map.shape or not 0 < gap_s <= LONGEST_GAP_S:
            return self._begin(class_map, picture)
        movement = _movement(picture, self._picture)
        if float(movement.mean()) > CUT_SHARE:
            return self._begin(class_map, picture)
        share = np.maximum(movement, np.float32(1 - math.exp(-gap_s / TIME_CONSTANT_S)))
        self._picture += cv2.merge((share, share, share)) * cv2.subtract(picture, self._picture)
        # NumPy compares, not OpenCV: to that a 1x1 array is a scalar.
        differs = np.not_equal(class_map, shown).view(np.uint8)
        step = np.uint8(min(255, max(1, round(255 * gap_s / HOLD_S))))
        grown, shrunk = cv2.add(self._doubt, differs * step), cv2.subtract(self._doubt, (1 - differs) * step)
        moves = cv2.resize(np.greater(movement, 0.5).view(np.uint8), class_map.shape[::-1], interpolation=cv2.INTER_NEAREST)
        changes = np.equal(grown, 255) & (differs > 0) | (moves > 0)
        self._doubt = np.where(changes, np.uint8(0), np.where(differs > 0, grown, shrunk))
        self._shown = np.where(changes, class_map, shown)
        return self._shown.copy()

    def _begin(self, class_map: U8, picture: F32) -> U8:
        self._shown, self._picture = class_map.copy(), picture
        self._doubt = np.zeros_like(class_map)
        return class_map.copy()


def _small(image: Image, map_size: Size) -> F32:
    """`image` at half the map's resolution. Sampled, since averaging all its pixels takes ten times as long as all the rest."""
    size = (max(1, map_size.width // 2), max(1, map_size.height // 2))
    small: F32 = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return small


def _movement(picture: F32, before: F32) -> F32:
    """(h, w) 0..1: how surely each place shows something else than before. In colour: a red sleeve before a green wall moves."""
    # Averaged before the sign is dropped, so that noise of both signs cancels.
    difference = np.abs(cv2.blur(cv2.subtract(picture, before), (3, 3)))
    blue, green, red = cv2.split(difference)
    largest = cv2.max(cv2.max(blue, green), red)
    grown = cv2.dilate(largest, np.ones((3, 3), np.uint8))  # an edge that moved uncovers what is beside it
    movement: F32 = np.clip((grown - STILL) * (1 / (MOVING - STILL)), 0, 1)
    return movement
