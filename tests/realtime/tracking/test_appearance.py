"""Mean colours of upper and lower halves."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.tracking import open_tracker
from realtime.tracking.common.appearance import colour_similarity, colours_of

from .scenes import segmentation

RED, BLUE, GREY = (20, 30, 200), (210, 40, 30), (120, 120, 120)


def painted(boxes, colours):
    image = np.full((360, 640, 3), GREY, np.uint8)
    for (x, y, x_max, y_max), (upper, lower) in zip(np.array(boxes, int), colours, strict=True):
        middle = (y + y_max) // 2
        image[y:middle, x:x_max], image[middle:y_max, x:x_max] = upper, lower
    return image


def test_the_colours_are_means_of_the_upper_and_lower_half():
    boxes = np.array([(100, 50, 140, 170), (300, 50, 340, 170)], np.float32)
    image = painted(boxes, [(RED, BLUE), (BLUE, BLUE)])
    found = colours_of(image, boxes, np.zeros((2, 10, 10), bool))
    assert found.tolist() == [pytest.approx([*RED, *BLUE]), pytest.approx([*BLUE, *BLUE])]
    assert np.diag(colour_similarity(found[:, None], found)).tolist() == [1, 1]
    assert colour_similarity(found[0], found[1]) < 0.1


def test_only_pixels_of_the_mask_count():
    boxes = np.array([(100, 50, 140, 170)], np.float32)
    image = painted(boxes, [(RED, RED)])
    image[50:170, 100:120] = BLUE
    right = np.zeros((1, 10, 10), bool)
    right[:, :, 5:] = True
    assert colours_of(image, boxes, right)[0].tolist() == pytest.approx([*RED, *RED])


@pytest.mark.parametrize(("shirt", "expected"), [(RED, 1), (BLUE, 2)])
def test_a_lost_track_does_not_match_an_object_of_other_colours(shirt, expected):
    """Lost for half a second; then a person is beside the predicted place."""
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
