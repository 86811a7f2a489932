"""The background's motion between two frames: its corners are followed, and a similarity is fitted to most of them.

A similarity (shift, rotation, zoom), not a homography, whose four additional numbers are unstable where corners are few or badly
spread. Its limit: a camera of 64 degrees that turns by 64 of 1280 px between two frames leaves an error of 8 px on average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from engines.pictures.raw import PictureLike, part_of, size_of
from engines.types import F32, F64, U8, Bools, Segmentation, Size

LEAST_SHIFT = 1 / 640
"""Half a pixel of the small picture, in widths of the frame: a smaller motion of the background is invisible."""

_SMALL_PX = 320  # the longer side
_CELL_PX = 20  # at most one corner from each square of this size, so that they spread
_MAX_CORNERS = 64  # more cost time without a smaller error; fewer are lost too often behind objects
_LEAST_CORNERS = 12
_LEAST_STRENGTH = 2e-5  # cv2.cornerMinEigenVal of a grey area with noise of one level; a real corner has a hundred times more
_WINDOW_PX = 15
_AROUND_OBJECTS_PX = 11  # across: most of a window at the edge of an object is on the object
_LEVELS = 3  # halvings of the small picture: the window then catches motions of 50 px, a sixth of its width
_AGREE_PX = 1.5  # how far a followed corner may be from the common motion, pixels of the small picture
_AGREE_SHARE = 0.1  # and in shares of the usual motion: perspective makes motions unequal
_LEAST_SHARE = 0.6  # of the corners followed must agree; with half, one in ten steps of 0.2 s of a real drive was wrong
_PARTS, _LEAST_PARTS = 4, 4  # and they must lie in at least so many of 4 x 4 parts of the picture
_AROUND_PX = np.array(((0, 0, 2, 0, -2), (0, 2, 0, -2, 0)))
_LARGEST_SHIFT, _LARGEST_ZOOM = 0.4, 1.3  # more in half a second is an error, not a camera

_GUESSED_PAIRS = np.random.default_rng(0).random((2, 40))
"""The two pairs of each guess, as shares of their number. With half of the pairs wrong, all guesses fail once in 10^5."""
_FIT_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class CameraStep:
    """The background's motion from an earlier frame to a later one.

    matrix:  (2, 3) float64 similarity, from the earlier frame's pixels to the later one's: `later = matrix @ (x, y, 1)`.
    is_sure: False: the motion is unknown, and the matrix is the identity.
    shift:   the largest motion of the frame's corners, in widths of the frame.
    """

    matrix: F64 = field(default_factory=lambda: np.eye(2, 3))
    is_sure: bool = False
    shift: float = 0.0

    @property
    def is_moving(self) -> bool:
        """Whether the background moved visibly: by more than a 640th of the picture's width."""
        return self.shift > LEAST_SHIFT


@dataclass(frozen=True, slots=True)
class View:
    """The part of a frame that is needed to compare it with later ones. Immutable.

    grey:       (h, w) uint8, the whole frame scaled down, its longer side at most 320 px.
    corners:    (K, 1, 2) float32, pixels of `grey`: points of the background that can be followed; K may be 0.
    frame_size: the frame's own.
    """

    grey: U8
    corners: F32
    frame_size: Size

    @classmethod
    def of(cls, image: PictureLike, segmentation: Segmentation | None) -> View:
        """The view of a frame. Objects in `segmentation` are left out, since they move by themselves."""
        return cls.of_small(small_grey(image), segmentation, size_of(image))

    @classmethod
    def of_small(cls, grey: U8, segmentation: Segmentation | None, frame_size: Size) -> View:
        """The same for a frame that is scaled down already."""
        return cls(grey, _corners(grey, segmentation, frame_size), frame_size)


def camera_step(before: View, image: PictureLike) -> CameraStep:
    """The camera's motion from the frame of `before` to `image`, which may be up to about half a second later or earlier.

    Not sure, and the identity, where the sizes differ, corners are few, or too few of them agree. Pure.
    """
    if size_of(image) != before.frame_size:
        return CameraStep()
    return step_between(before, small_grey(image))


def small_grey(image: PictureLike) -> U8:
    """The green of every k-th pixel, averaged down: as exact here as the average of all pixels, at a tenth of its cost."""
    size = size_of(image)
    longer = max(size.width, size.height)
    every, share = max(1, longer // (2 * _SMALL_PX)), min(1.0, _SMALL_PX / longer)
    green = np.ascontiguousarray(part_of(image, slice(None, None, every), slice(None, None, every))[..., 1])
    small = (max(1, round(size.width * share)), max(1, round(size.height * share)))
    return np.asarray(cv2.resize(green, small, interpolation=cv2.INTER_AREA), np.uint8)


def _corners(grey: U8, segmentation: Segmentation | None, frame_size: Size) -> F32:
    """The strongest corner of each cell, in the cells with the strongest corners. Source: Shi and Tomasi (1994)."""
    rows, columns = grey.shape[0] // _CELL_PX, grey.shape[1] // _CELL_PX
    if rows == 0 or columns == 0:
        return np.zeros((0, 1, 2), np.float32)
    strength = cv2.cornerMinEigenVal(grey, 3)
    if segmentation is not None:
        strength = cv2.copyTo(strength, _background(segmentation, Size.of(grey), frame_size))
    cells = strength[: rows * _CELL_PX, : columns * _CELL_PX].reshape(rows, _CELL_PX, columns, _CELL_PX)
    cells = cells.transpose(0, 2, 1, 3).reshape(rows * columns, _CELL_PX**2)
    inside = cells.argmax(axis=1)
    strongest = cells[np.arange(len(cells)), inside]
    chosen = np.argsort(-strongest, kind="stable")[:_MAX_CORNERS]
    chosen = chosen[strongest[chosen] > _LEAST_STRENGTH]
    x = chosen % columns * _CELL_PX + inside[chosen] % _CELL_PX
    y = chosen // columns * _CELL_PX + inside[chosen] // _CELL_PX
    return np.stack((x, y), axis=1).astype(np.float32)[:, np.newaxis]


def _background(segmentation: Segmentation, size: Size, frame_size: Size) -> U8:
    """(h, w) uint8: 0 on objects and a little around them (their edges move with them), else 1."""
    instances = segmentation.instances
    small = cv2.resize(instances.label_map, (size.width, size.height), interpolation=cv2.INTER_NEAREST)
    objects = small
    if segmentation.alpha is not None:
        alpha = cv2.resize(segmentation.alpha, (size.width, size.height), interpolation=cv2.INTER_NEAREST)
        objects = small | (alpha >> 7)
    objects = np.asarray(cv2.dilate(objects, np.ones((_AROUND_OBJECTS_PX, _AROUND_OBJECTS_PX), np.uint8)), np.uint8)
    # A box is looser than a mask, so it only replaces a missing one: models without masks, and objects too small for the map.
    without_mask = np.bincount(small[::2, ::2].reshape(-1), minlength=len(instances) + 1)[1 : len(instances) + 1] == 0
    scale = np.array((size.width / frame_size.width, size.height / frame_size.height) * 2)
    limits = np.array((size.width, size.height) * 2)
    boxes = np.nan_to_num(instances.boxes_px[without_mask] * scale + (-5, -5, 6, 6)).clip(0, limits).astype(int)
    for x0, y0, x1, y1 in boxes.tolist():
        objects[y0:y1, x0:x1] = 1
    background: U8 = (objects == 0).view(np.uint8)
    return background


def step_between(before: View, grey: U8) -> CameraStep:
    """The step from `before` to a scaled-down frame of the same size. Pure."""
    if len(before.corners) < _LEAST_CORNERS:
        return CameraStep()
    step, guess = _fit(before, *_follow(before, grey, before.corners, _LEVELS))
    if step.is_sure or guess is None:
        return step
    # In a coarse picture, large objects drag the corners beside them along: repeat in the fine one, from the expected positions.
    scale = _frame_px_per_small_px(before)
    expected = (before.corners + 0.5) * scale - 0.5
    expected = (cv2.transform(expected, guess).astype(np.float32) + 0.5) / scale - 0.5
    return _fit(before, *_follow(before, grey, expected, 0))[0]


def _follow(before: View, grey: U8, start: F32, levels: int) -> tuple[F32, U8]:
    """(K, 1, 2) the corners in `grey`, and (K, 1) which were found. Source: Lucas-Kanade, pyramidal (Bouguet, 2000)."""
    follow: Callable[..., tuple[F32, U8, F32]] = cv2.calcOpticalFlowPyrLK
    enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
    how = {"winSize": (_WINDOW_PX, _WINDOW_PX), "maxLevel": levels, "criteria": enough, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    found, status, _ = follow(before.grey, grey, before.corners, start.copy(), **how)
    return found, status


def _fit(before: View, found: F32, status: U8) -> tuple[CameraStep, F64 | None]:
    """The step that the followed corners agree on; where it is not sure, also the best guess, if there is one."""
    is_found = status[:, 0] == 1
    if np.count_nonzero(is_found) < _LEAST_CORNERS:
        return CameraStep(), None
    scale, size = _frame_px_per_small_px(before), before.frame_size
    start, end = ((points[is_found, 0] + 0.5) * scale - 0.5 for points in (before.corners, found))
    motions_px = np.sort(np.hypot(*(end - start).T))
    agree_px = _AGREE_PX * float(scale.max()) + _AGREE_SHARE * float(motions_px[len(motions_px) // 2])
    matrix, agree = fit_similarity(start, end, agree_px)
    shift = largest_shift(matrix, size)
    if _is_plausible(matrix, shift, start[agree], len(start), size):
        return CameraStep(matrix, True, shift), None
    return CameraStep(), matrix if shift < _LARGEST_SHIFT else None


def _frame_px_per_small_px(view: View) -> F32:
    height, width = view.grey.shape
    return np.array((view.frame_size.width / width, view.frame_size.height / height), np.float32)


def _is_plausible(matrix: F64, shift: float, agreeing: F32, count: int, size: Size) -> bool:
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if shift > _LARGEST_SHIFT or not 1 / _LARGEST_ZOOM < zoom < _LARGEST_ZOOM:
        return False
    if len(agreeing) < max(_LEAST_CORNERS, _LEAST_SHARE * count):
        return False
    column, row = (agreeing * _PARTS / (size.width, size.height)).astype(int).clip(0, _PARTS - 1).T
    return len(set((row * _PARTS + column).tolist())) >= _LEAST_PARTS


def largest_shift(matrix: F64, size: Size) -> float:
    """The largest motion of the frame's corners, in widths of the frame."""
    corners = np.array(((0, 0, 1), (size.width, 0, 1), (0, size.height, 1), (size.width, size.height, 1)), np.float64)
    return float(np.linalg.norm(corners @ matrix.T - corners[:, :2], axis=1).max()) / size.width


def changed_levels(before: View, grey: U8) -> float:
    """The median difference of the background's corners in grey levels, without changes of light. Infinite without corners."""
    if len(before.corners) < _LEAST_CORNERS:
        return np.inf
    x, y = before.corners[:, 0].astype(np.intp).T
    # A corner's own pixel may be unchanged by a small motion, its neighbours are not.
    y, x = y[:, np.newaxis] + _AROUND_PX[0], x[:, np.newaxis] + _AROUND_PX[1]
    y, x = y.clip(0, grey.shape[0] - 1), x.clip(0, grey.shape[1] - 1)
    change = grey[y, x].astype(np.int16) - before.grey[y, x]
    return float(np.median(np.abs(change - np.median(change)).max(axis=1)))


def fit_similarity(start: F32, end: F32, agree_px: float) -> tuple[F64, Bools]:
    """The shift, rotation and zoom that most pairs of points agree on, `end = a * start + b` in complex numbers.

    start, end: (K, 2), K >= 2, positions of each point. agree_px: pairs with a larger error are outliers.
    Returns the (2, 3) float64 matrix from start to end, and (K,) bool, which pairs agree. Every call uses the same guesses.
    Source: MSAC (Torr and Zisserman, 2000) for the guess, then reweighted least squares with Tukey's weights.
    """
    z, w = _as_complex(start), _as_complex(end)
    i, j = (_GUESSED_PAIRS * len(z)).astype(np.intp)
    apart = z[j] - z[i]
    far = np.abs(apart) > agree_px
    if not far.any():
        return np.eye(2, 3), np.zeros(len(z), np.bool_)
    i, j = i[far], j[far]
    turn = (w[j] - w[i]) / apart[far]
    error2 = _squared(turn[:, np.newaxis] * (z - z[i][:, np.newaxis]) + w[i][:, np.newaxis] - w)
    error2 = error2[np.minimum(error2, agree_px**2).sum(axis=1).argmin()]
    a, b = complex(1), complex(0)
    for _ in range(_FIT_ROUNDS):
        weight = np.square(np.maximum(1 - error2 / agree_px**2, 0))
        weight /= weight.sum()
        z_mean, w_mean = weight @ z, weight @ w
        around = z - z_mean
        a = complex((weight * around.conj()) @ (w - w_mean)) / max(float(weight @ _squared(around)), 1e-9)
        b = complex(w_mean - a * z_mean)
        error2 = _squared(a * z + b - w)
    return np.array(((a.real, -a.imag, b.real), (a.imag, a.real, b.imag))), error2 < agree_px**2


def _as_complex(points: F32) -> npt.NDArray[np.complex128]:
    return points[:, 0] + 1j * points[:, 1].astype(np.float64)


def _squared(numbers: npt.NDArray[np.complex128]) -> F64:
    return np.square(numbers.real) + np.square(numbers.imag)
