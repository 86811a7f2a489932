"""Masks at low resolution against masks of all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from engines.types import Instances, Segmentation, Size
from realtime.tracking import open_tracker
from realtime.tracking.common.appearance import mask_overlap, silhouettes

FRAME = Size(640, 480)


def ellipse(x, y, a, b):
    """A mask of the frame, and its box."""
    rows, columns = np.mgrid[: FRAME.height, : FRAME.width]
    mask = ((columns + 0.5 - x) / a) ** 2 + ((rows + 0.5 - y) / b) ** 2 <= 1
    return mask, np.array([(x - a, y - b, x + a, y + b)], np.float32)


@pytest.mark.parametrize("shift", [(0, 0), (10, 0), (25, 30), (0, -60), (200, 0)])
@pytest.mark.parametrize("map_step", [1, 4])
def test_the_overlap_approximates_that_of_all_pixels(shift, map_step):
    one, box_one = ellipse(200, 200, 50, 120)
    other, box_other = ellipse(200 + shift[0], 200 + shift[1], 60, 110)
    grids = [
        silhouettes(b, np.array([0]), m[::map_step, ::map_step].astype(np.uint8), FRAME)
        for m, b in ((one, box_one), (other, box_other))
    ]
    overlap = mask_overlap(grids[0], box_one, grids[1], box_other)
    assert overlap[0] == pytest.approx((one & other).sum() / (one | other).sum(), abs=0.12)


def test_a_missing_mask_is_unknown():
    box = np.array([(10, 10, 50, 90)], np.float32)
    full = silhouettes(box, np.array([0]), np.ones((480, 640), np.uint8), FRAME)
    for label_map in (np.zeros((1, 1), np.uint8), np.zeros((480, 640), np.uint8)):
        none = silhouettes(box, np.array([0]), label_map, FRAME)
        assert not none.any()
        assert np.isnan(mask_overlap(none, box, full, box)).all()
        assert np.isnan(mask_overlap(full, box, none, box)).all()


def test_boxes_beyond_the_border():
    box = np.array([(-50, -50, 700, 500), (630, 470, 900, 800)], np.float32)
    seen = silhouettes(box, np.array([0, 1]), np.ones((48, 64), np.uint8), FRAME)
    assert seen[0].all()
    assert not seen[1].any()


def test_masks_distinguish_objects_with_equal_boxes():
    """Two bars cross, one rising and one falling: both have the same box at every moment."""
    image = np.zeros((FRAME.height, FRAME.width, 3), np.uint8)
    tracker = open_tracker("auto", camera_motion="off")
    rows, columns = np.mgrid[: FRAME.height, : FRAME.width]
    ids = []
    for index in range(12):
        x = 100 + 4 * index
        box = (x, 100, x + 200, 300)
        rising = np.abs((columns - x) - (rows - 100)) < 30
        falling = np.abs((columns - x) - (300 - rows)) < 30
        inside = (columns >= x) & (columns < x + 200) & (rows >= 100) & (rows < 300)
        first, second = (rising, falling) if index % 3 else (falling, rising)  # scores swap: so do the rows
        label_map = np.where(inside & first, 1, np.where(inside & second, 2, 0)).astype(np.uint8)
        boxes = np.array([box, box], np.float32) + np.array([[0], [8]], np.float32)
        seen = Instances(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32), label_map)
        tracks = tracker.update(Segmentation(seen), index / 15, image)
        ids.append({track.row: track.id for track in tracks})
    assert all(len(found) == 2 for found in ids)
    of_rising = [found[0 if index % 3 else 1] for index, found in enumerate(ids)]
    assert len(set(of_rising)) == 1
