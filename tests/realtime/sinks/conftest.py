"""Results to write: a few moving discs, the same in every test."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from engines.types import Instances, Segmentation, Size
from realtime.types import Canvas, Frame, Result, Track, as_box


def picture(index: int, size: Size) -> tuple[Result, Canvas]:
    """Frame `index` at 30 fps: two discs that move right, the first with track 7, the second without a track."""
    image = np.full((size.height, size.width, 3), (90, 60, 30), np.uint8)
    label_map = np.zeros((size.height // 2, size.width // 2), np.uint8)
    boxes = []
    for row, (x, y) in enumerate(((20 + 2 * index, 30), (50 + index, 70))):
        cv2.circle(image, (x, y), 12, (40, 200, 220 - 100 * row), -1)
        cv2.circle(label_map, (x // 2, y // 2), 6, row + 1, -1)
        boxes.append((x - 12, y - 12, x + 12, y + 12))
    seen = Instances(np.array(boxes, np.float32), np.array((0.9, 0.5), np.float32), np.array((0, 1), np.int32), label_map)
    trail = np.zeros((1, 2), np.float32)
    coasting = Track(8, 1, 0.4, as_box(1, 2, 3, 4), None, trail)
    frame = Frame(image, index, index / 30, 0)
    result = Result(frame, Segmentation(seen), (Track(7, 0, 0.9, seen.boxes_px[0], 0, trail), coasting))
    return result, Canvas(image, index, frame.pts_s, 0)


@pytest.fixture
def make_picture() -> Callable[..., tuple[Result, Canvas]]:
    def make(index: int, width: int = 160, height: int = 120) -> tuple[Result, Canvas]:
        return picture(index, Size(width, height))

    return make
