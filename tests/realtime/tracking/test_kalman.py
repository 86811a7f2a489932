"""The filter of three numbers per object against the textbook's 8x8 matrices, and time that may be split anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.tracking.common import kalman

NOISE = kalman.Noise()


class Textbook:
    """One object's eight-state filter, written as in textbooks: F, Q, H, R."""

    H = np.hstack((np.eye(4), np.zeros((4, 4))))

    def __init__(self, box):
        x, y, x_max, y_max = box
        self.x = np.array([(x + x_max) / 2, (y + y_max) / 2, x_max - x, y_max - y, 0, 0, 0, 0], float)
        h2 = self.x[3] ** 2
        self.P = np.diag([4 * NOISE.measured**2 * h2] * 4 + [NOISE.first_velocity**2 * h2] * 4)

    def predict(self, dt_s):
        h2 = self.x[3] ** 2
        F = np.eye(8)
        F[:4, 4:] = dt_s * np.eye(4)
        a, j = NOISE.acceleration**2 * h2, NOISE.jitter**2 * h2
        Q = np.kron([[a * dt_s**3 / 3 + j * dt_s, a * dt_s**2 / 2], [a * dt_s**2 / 2, a * dt_s]], np.eye(4))
        self.x, self.P = F @ self.x, F @ self.P @ F.T + Q

    def update(self, box):
        x, y, x_max, y_max = box
        z = np.array([(x + x_max) / 2, (y + y_max) / 2, x_max - x, y_max - y])
        R = np.eye(4) * NOISE.measured**2 * self.x[3] ** 2
        K = self.P @ self.H.T @ np.linalg.inv(self.H @ self.P @ self.H.T + R)
        self.x, self.P = self.x + K @ (z - self.H @ self.x), (np.eye(8) - K @ self.H) @ self.P


def boxes_of(rng, count):
    low = rng.uniform(0, 500, (count, 2))
    return np.hstack((low, low + rng.uniform(20, 200, (count, 2))))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_textbook_filter(seed):
    rng = np.random.default_rng(seed)
    first = boxes_of(rng, 5)
    motion, filters = kalman.begin(first, NOISE), [Textbook(box) for box in first]
    velocity = rng.uniform(-100, 100, (5, 1))
    for step in range(1, 40):
        dt_s = rng.uniform(0.01, 0.2)
        motion = kalman.predict(motion, dt_s, NOISE)
        rows = np.flatnonzero(rng.random(5) < 0.7)
        seen = first[rows] + velocity[rows] * step * 0.1 + rng.normal(0, 2, (len(rows), 4))
        motion = kalman.update(motion, rows, seen, NOISE)
        for one in filters:
            one.predict(dt_s)
        for row, box in zip(rows, seen, strict=True):
            filters[row].update(box)
    for row, one in enumerate(filters):
        assert np.allclose(motion.position[row], one.x[:4], rtol=1e-9)
        assert np.allclose(motion.velocity[row], one.x[4:], rtol=1e-9)
        for corner, ours in (
            (one.P[:4, :4], motion.position_variance),
            (one.P[:4, 4:], motion.covariance),
            (one.P[4:, 4:], motion.velocity_variance),
        ):
            assert np.allclose(corner, np.eye(4) * ours[row], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("parts", [2, 5, 30])
def test_predictions_do_not_depend_on_how_time_is_split(parts):
    moving = kalman.predict(kalman.begin(boxes_of(np.random.default_rng(1), 4), NOISE), 0.1, NOISE)
    whole, pieces = kalman.predict(moving, 1.0, NOISE), moving
    for _ in range(parts):
        pieces = kalman.predict(pieces, 1.0 / parts, NOISE)
    assert np.allclose(whole.numbers, pieces.numbers, rtol=1e-12)


def test_values_are_never_changed():
    motion = kalman.begin(boxes_of(np.random.default_rng(2), 3), NOISE)
    before = motion.numbers.copy()
    kalman.update(kalman.predict(motion, 0.5, NOISE), np.array([0, 2]), boxes_of(np.random.default_rng(3), 2), NOISE)
    kalman.update(motion, np.array([1]), boxes_of(np.random.default_rng(3), 1), NOISE)
    motion.halted()
    assert np.array_equal(motion.numbers, before)


def test_a_box_that_shrinks_unseen_stays_a_box():
    motion = kalman.begin(np.array([[0, 0, 40, 40.0]]), NOISE)
    for width in (35, 30, 25, 20, 15):
        seen = np.array([[0, 0, width, width]])
        motion = kalman.update(kalman.predict(motion, 0.033, NOISE), np.array([0]), seen, NOISE)
    boxes = kalman.predict(motion, 2.0, NOISE).boxes_px()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_rotating_and_zooming_camera_moves_all():
    motion = kalman.begin(np.array([[10, 20, 50, 100.0]]), NOISE)
    motion.velocity[:] = (30, 0, 2, 4)
    matrix = 2 * np.array([[0.0, -1, 0], [1, 0, 0]]) + np.array(
        [[0, 0, 500], [0, 0, 7]]
    )  # a quarter turn, twice as large, a shift
    moved = motion.warped(matrix)
    assert moved.position[0].tolist() == pytest.approx([500 - 2 * 60, 7 + 2 * 30, 80, 160])
    assert moved.velocity[0].tolist() == pytest.approx([0, 60, 4, 8])
    assert moved.position_variance[0, 0] == pytest.approx(4 * motion.position_variance[0, 0])
    assert np.allclose(motion.warped(np.eye(3)[:2]).numbers, motion.numbers)
