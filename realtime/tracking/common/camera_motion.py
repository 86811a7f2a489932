"""How the camera moved between two pictures: corners of the background are followed, and a similarity is fitted to most of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import F32, U8, Image, Segmentation, Size

F64: TypeAlias = npt.NDArray[np.float64]

MODES = ("auto", "on", "off")

_SMALL_WIDTH_PX = 320
_MAX_CORNERS = 120
_LEAST_CORNERS = 12
_LEAST_SHIFT = 1 / 640


def _identity() -> F64:
    return np.eye(2, 3)


@dataclass(frozen=True, slots=True)
class CameraStep:
    """The background's motion from an earlier frame to a later one.

    matrix:   (2, 3) float64 similarity, from the earlier frame's pixels to the later one's: `later = matrix @ (x, y, 1)`.
    is_sure:  False: nobody knows how the camera moved, and the matrix is the identity.
    shift:    how far the corner of the frame that moved farthest did, in widths of the frame.
    """

    matrix: F64 = field(default_factory=_identity)
    is_sure: bool = False
    shift: float = 0.0

    @property
    def is_moving(self) -> bool:
        """Whether the background moved so far that one sees it: more than a 640th of the picture's width."""
        return self.shift > _LEAST_SHIFT


@dataclass(frozen=True, slots=True)
class View:
    """What is kept of a frame to be compared with a later one.

    grey:       (h, w) uint8, the whole frame made small.
    corners:    (K, 1, 2) float32, pixels of `grey`: points of the background that can be found again.
    frame_size: the frame's own.
    """

    grey: U8
    corners: F32
    frame_size: Size

    @classmethod
    def of(cls, image: Image, segmentation: Segmentation | None) -> View:
        """Look at a frame. What `segmentation` calls an object is left out, since it moves by itself."""
        grey = _small_grey(image)
        return cls(grey, _corners(grey, segmentation), Size.of(image))


def camera_step(before: View, image: Image) -> CameraStep:
    """How the camera moved from the frame of `before` to `image`, which may be up to about half a second later."""
    if Size.of(image) != before.frame_size:
        return CameraStep()
    return _step(before, _small_grey(image))


class CameraMotion:
    """Follows the camera from frame to frame. One stream, one thread."""

    def __init__(self, mode: str = "auto") -> None:
        """mode: "on" measures each frame, "off" none; "auto" does while the background moves, and looks now and then while not."""
        if mode not in MODES:
            raise ValueError(f"camera motion {mode!r} must be one of {', '.join(MODES)}")
        self._mode = mode
        self._before: View | None = None

    def update(self, image: Image, segmentation: Segmentation | None, dt_s: float) -> CameraStep:
        """The step from the image of the call before to `image`, `dt_s` seconds later."""
        if self._mode == "off":
            return CameraStep()
        step = CameraStep() if self._before is None else camera_step(self._before, image)
        self._before = View.of(image, segmentation)
        return step


def _small_grey(image: Image) -> U8:
    size = Size.of(image)
    width = min(size.width, _SMALL_WIDTH_PX)
    height = max(1, round(size.height * width / size.width))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def _corners(grey: U8, segmentation: Segmentation | None) -> F32:
    mask = None if segmentation is None else _background(segmentation, Size.of(grey))
    found = cv2.goodFeaturesToTrack(grey, _MAX_CORNERS, 0.01, 8, mask=mask) if min(grey.shape) >= 16 else None
    return np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)


def _background(segmentation: Segmentation, size: Size) -> U8:
    objects = cv2.resize(segmentation.instances.label_map, (size.width, size.height), interpolation=cv2.INTER_NEAREST)
    return np.asarray((cv2.dilate(objects, np.ones((5, 5), np.uint8)) == 0) * np.uint8(255), np.uint8)


def _step(before: View, grey: U8) -> CameraStep:
    if len(before.corners) < _LEAST_CORNERS:
        return CameraStep()
    follow: Callable[..., tuple[F32, U8, F32]] = cv2.calcOpticalFlowPyrLK
    found, status, _ = follow(before.grey, grey, before.corners, None, winSize=(15, 15), maxLevel=3)
    is_found = status[:, 0] == 1
    if np.count_nonzero(is_found) < _LEAST_CORNERS:
        return CameraStep()
    scale = np.array((before.frame_size.width / grey.shape[1], before.frame_size.height / grey.shape[0]), np.float32)
    start, end = ((points[is_found, 0] + 0.5) * scale - 0.5 for points in (before.corners, found))
    matrix, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=float(scale[0]))
    if matrix is None or np.count_nonzero(inliers) < max(_LEAST_CORNERS, 0.4 * len(start)):
        return CameraStep()
    width, height = before.frame_size.width, before.frame_size.height
    rim = np.array(((0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)), np.float64)
    shift = float(np.linalg.norm(rim @ matrix.T - rim[:, :2], axis=1).max()) / width
    return CameraStep(np.asarray(matrix, np.float64), True, shift)
