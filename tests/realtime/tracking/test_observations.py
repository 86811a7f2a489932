"""Directions between sightings, and the filter's second run along a straight line."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.tracking.common import kalman
from realtime.tracking.ocsort import direction_agreement, refiltered

NOISE = kalman.Noise()


def past_of(points):
    """Sightings a tenth of a second apart, newest first, as in the track table."""
    newest_first = np.array(points[::-1], float)
    times = -0.1 * np.arange(len(points))[:, None]
    return np.hstack((times, newest_first))[None]


@pytest.mark.parametrize(("ahead", "expected"), [((40, 0), 1.0), ((-40, 0), 0.0), ((0, 40), 0.5), ((0, 0), 0.5)])
def test_a_direction_favours_detections_ahead(ahead, expected):
    past = past_of([(0, 0), (20, 0), (40, 0), (60, 0), (80, 0), (100, 0)])
    centre = np.array([(100 + ahead[0], ahead[1])], np.float32)
    assert direction_agreement(past, centre, np.array([100.0]), 0.15).tolist() == pytest.approx([expected])


def test_an_object_at_rest_has_no_direction():
    past = past_of([(0, 0), (1, 0), (0, 0), (1, 1), (0, 0), (1, 0)])
    assert direction_agreement(past, np.array([(60, 0)], np.float32), np.array([100.0]), 0.15)[0] == pytest.approx(0.5, abs=0.05)


def test_a_track_found_again_has_the_velocity_of_its_straight_path():
    """Before it vanished, its estimated velocity had the opposite direction."""
    start = np.array([[0, 0, 40, 100.0]])
    motion = kalman.begin(start, NOISE)
    motion.velocity[:, 0] = -80
    motion.velocity_variance[:] = 10.0
    end = start + np.array([120, 0, 120, 0])
    again = refiltered(motion, start.astype(np.float32), end.astype(np.float32), np.array([1.0]), NOISE)
    plain = kalman.predict(motion, 1.0, NOISE)
    assert again.velocity[0, 0] == pytest.approx(120, abs=25)
    assert abs(again.position[0, 0] - 140) < abs(plain.position[0, 0] - 140) / 5
    assert motion.velocity[0, 0] == -80  # values are never changed
