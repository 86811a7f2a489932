"""A moving camera: known positions move with the background, and objects at rest keep velocity 0."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from realtime.tracking import open_tracker

from .scenes import segmentation

FPS = 15
RNG = np.random.default_rng(0)
BACKGROUND = cv2.resize(RNG.integers(0, 255, (60, 160, 3), dtype=np.uint8), (2560, 960), interpolation=cv2.INTER_CUBIC)


def panned(x):
    """The picture of a camera that looks at the background from x on; 640 x 360."""
    view = cv2.warpAffine(BACKGROUND, np.array([[1, 0, -x], [0, 1, -100.0]]), (640, 360))
    return np.ascontiguousarray(view)


@pytest.mark.parametrize("name", ["auto", "bytetrack", "ocsort"])
def test_an_object_at_rest_has_no_velocity_while_the_camera_pans(name):
    tracker, pan_px_s = open_tracker(name, camera_motion="on"), 150.0
    for index in range(20):
        x = pan_px_s * index / FPS
        box = (400 - x, 100, 440 - x, 200)
        (track,) = tracker.update(segmentation([box]), index / FPS, panned(x))
    assert np.abs(track.velocity_px_s[:2]).max() < 12
    ground = track.trail_px
    assert np.abs(ground - ground[-1]).max() < 8  # the trail is at the object's place, in the current frame's pixels


@pytest.mark.parametrize(("mode", "is_kept"), [("on", True), ("off", False)])
def test_a_camera_jerk_costs_an_id_only_without_compensation(mode, is_kept):
    tracker, ids = open_tracker("auto", camera_motion=mode), set()
    for index in range(20):
        x = 0 if index < 12 else 50
        box = (400 - x, 100, 424 - x, 200)
        ids |= {track.id for track in tracker.update(segmentation([box, (200 - x, 60, 224 - x, 150)]), index / FPS, panned(x))}
    assert (ids == {1, 2}) == is_kept
