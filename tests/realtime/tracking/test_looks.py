"""Mean colours of upper and lower halves."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.tracking import open_tracker
from realtime.tracking.common.looks import likeness, looks

from .scenes import segmentation

RED, BLUE, GREY = (20, 30, 200), (210, 40, 30), (120, 120, 120)


def painted(boxes, colours):
    image = np.full((360, 640, 3), GREY, np.uint8)
    for (x, y, x_max, y_max), (upper, lower) in zip(np.array(boxes, int), colours, strict=True):
        middle = (y + y_max) // 2
        image[y:middle, x:x_max], image[middle:y_max, x:x_max] = upper, lower
    return image


def test_a_look_is_the_colour_above_and_below():
    boxes = np.array([(100, 50, 140, 170), (300, 50, 340, 170)], np.float32)
    image = painted(boxes, [(RED, BLUE), (BLUE, BLUE)])
    look = looks(image, boxes, np.zeros((2, 10, 10), bool))
    assert look.tolist() == [pytest.approx([*RED, *BLUE]), pytest.approx([*BLUE, *BLUE])]
    assert np.diag(likeness(look[:, None], look)).tolist() == [1, 1]
    assert likeness(look[0], look[1]) < 0.1


def test_only_what_the_mask_covers_counts():
    boxes = np.array([(100, 50, 140, 170)], np.float32)
    image = painted(boxes, [(RED, RED)])
    image[50:170, 100:120] = BLUE
    right = np.zeros((1, 10, 10), bool)
    right[:, :, 5:] = True
    assert looks(image, boxes, right)[0].tolist() == pytest.approx([*RED, *RED])


@pytest.mark.parametrize(("shirt", "expected"), [(RED, 1), (BLUE, 2)])
def test_a_lost_track_is_not_found_in_somebody_unlike_it(shirt, expected):
    """Lost for half a second; then somebody stands beside where it should be."""
    tracker = open_tracker("auto", camera_motion="off")

    def picture(colour):
        return np.full((300, 400, 3), colour, np.uint8)

    for frame in range(30):
        tracker.update(segmentation([(100, 50, 140, 150)]), frame / 30, picture(RED))
    for frame in range(30, 45):
        tracker.update(segmentation([]), frame / 30, picture(RED))
    for frame in range(45, 55):
        (track,) = tracker.update(segmentation([(130, 50, 170, 150)]), frame / 30, picture(shirt)) or (None,)
    assert track.id == expected
