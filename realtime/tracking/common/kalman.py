"""A constant-velocity Kalman filter for all boxes at once, in seconds.

Each box is cx, cy, w, h and their velocities. All four numbers of a box have the same noise, a multiple of its height, and are
independent. The textbook's 8x8 covariance is then the same 2x2 matrix four times, three numbers per object: no matrix is ever
multiplied or inverted.

Noise enters at a rate per second, never per frame: two predictions of 20 ms give exactly what one of 40 ms gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.types import F64, Bools, Floats, Rows

MIN_SIDE_PX = 1.0
"""The smallest side of a box that shrinks while unseen."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of boxes. Every figure is in box heights, so it holds for near and far objects.

    SORT and ByteTrack use 1/20, 0.27, 1.0 and 1.9, converted from figures per frame at 30 fps to figures per second. Lower
    process noise kept ids better on real pedestrians with frames left out, and on objects that cross at constant speed.
    """

    measured: float = 0.06
    """Standard deviation of a detector's box, heights."""
    jitter: float = 0.05
    """Growth of the position's standard deviation, heights per square root of a second."""
    acceleration: float = 0.5
    """Growth of the velocity's standard deviation, heights per second per square root of a second."""
    first_velocity: float = 3.0
    """Standard deviation of the velocity of an object seen once, heights per second."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Positions and velocities of N objects; row i of every array is the same object. Immutable.

    numbers: (N, 11) float64. The columns are the properties below, side by side, so that selecting rows is one step.
    """

    numbers: F64

    @property
    def position(self) -> F64:
        """(N, 4) cx, cy, w, h in px; a view."""
        return self.numbers[:, 0:4]

    @property
    def velocity(self) -> F64:
        """(N, 4) of the same, in px/s; a view."""
        return self.numbers[:, 4:8]

    @property
    def position_variance(self) -> F64:
        """(N, 1) px2, shared by an object's four numbers; a view."""
        return self.numbers[:, 8:9]

    @property
    def covariance(self) -> F64:
        """(N, 1) px2/s, of position and velocity; a view."""
        return self.numbers[:, 9:10]

    @property
    def velocity_variance(self) -> F64:
        """(N, 1) px2/s2; a view."""
        return self.numbers[:, 10:11]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Rows | Bools) -> Motion:
        """The objects at `rows` (indices or a mask), in that order; new arrays."""
        return Motion(self.numbers[rows])

    def joined(self, other: Motion) -> Motion:
        """These objects, then the others; new arrays."""
        return Motion(np.concatenate((self.numbers, other.numbers)))

    def halted(self) -> Motion:
        """The same objects in the same places with velocity 0; new arrays."""
        stopped = Motion(self.numbers.copy())
        stopped.velocity[:] = 0
        return stopped

    def warped(self, matrix: F64) -> Motion:
        """The same objects in a picture whose pixels moved by `matrix`, (2, 3); new arrays. Sizes follow its mean scale."""
        scale = max(abs(float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])), 1e-6) ** 0.5
        moved = Motion(self.numbers.copy())
        moved.position[:, :2] = self.position[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        moved.velocity[:, :2] = self.velocity[:, :2] @ matrix[:, :2].T
        moved.position[:, 2:] *= scale
        moved.velocity[:, 2:] *= scale
        moved.numbers[:, 8:] *= scale**2
        return moved

    def with_steady_sizes(self, rows: Rows | Bools) -> Motion:
        """The same objects; at `rows` with constant sizes. New arrays."""
        steady = Motion(self.numbers.copy())
        steady.numbers[rows, 6:8] = 0
        return steady

    def boxes_px(self) -> F64:
        """(N, 4) float64 x_min, y_min, x_max, y_max in px; a new array."""
        centre, half = self.position[:, :2], self.position[:, 2:] / 2
        return np.concatenate((centre - half, centre + half), axis=1)


def begin(boxes_px: Floats, noise: Noise) -> Motion:
    """Objects seen for the first time, with unknown velocity. boxes_px: (N, 4) x_min, y_min, x_max, y_max."""
    motion = Motion(np.zeros((len(boxes_px), 11)))
    motion.position[:] = measurement(boxes_px)
    height2 = motion.position[:, 3:] ** 2
    motion.position_variance[:] = (2 * noise.measured) ** 2 * height2  # twice the deviation of a measurement, as in SORT
    motion.velocity_variance[:] = noise.first_velocity**2 * height2
    return motion


def measurement(boxes_px: Floats) -> F64:
    """(N, 4) corners in px -> (N, 4) float64 cx, cy, w, h in px; a new array."""
    low, high = boxes_px[:, :2].astype(np.float64), boxes_px[:, 2:]
    return np.concatenate(((low + high) / 2, high - low), axis=1)


def predict(motion: Motion, dt_s: float | F64, noise: Noise) -> Motion:
    """The same objects `dt_s` seconds later, unseen. dt_s: one for all, or (N, 1).

    Source: white-noise acceleration (Bar-Shalom, Li and Kirubarajan, 2001, section 6.2.2).
    """
    height2 = motion.position[:, 3:] ** 2
    push, drift = noise.acceleration**2 * height2, noise.jitter**2 * height2
    later = Motion(motion.numbers.copy())
    later.position[:] += dt_s * motion.velocity
    np.maximum(later.position[:, 2:], MIN_SIDE_PX, out=later.position[:, 2:])
    growth = 2 * motion.covariance + dt_s * motion.velocity_variance + push * (dt_s**2 / 3) + drift
    later.position_variance[:] += dt_s * growth
    later.covariance[:] += dt_s * (motion.velocity_variance + push * (dt_s / 2))
    later.velocity_variance[:] += dt_s * push
    return later


def update(motion: Motion, rows: Rows, boxes_px: Floats, noise: Noise, doubt: Floats | float = 1.0) -> Motion:
    """The same objects after those at `rows` were seen at `boxes_px` (one box per row); the others are unchanged.

    doubt: the noise of these boxes as a multiple of the usual one; one for all, or (K,).
    """
    numbers, seen = motion.numbers.copy(), motion.take(rows)
    deviation = noise.measured * np.reshape(doubt, (-1, 1)) * seen.position[:, 3:]
    gains = seen.numbers[:, 8:10] / (seen.position_variance + deviation**2)  # of positions and of velocities
    residual = measurement(boxes_px) - seen.position
    seen.position[:] += gains[:, :1] * residual
    seen.velocity[:] += gains[:, 1:] * residual
    seen.velocity_variance[:] -= gains[:, 1:] * seen.covariance
    seen.numbers[:, 8:10] *= 1 - gains[:, :1]
    numbers[rows] = seen.numbers
    return Motion(numbers)
