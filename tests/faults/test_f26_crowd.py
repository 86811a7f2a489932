"""F26: five hundred objects in one frame."""

from __future__ import annotations

import time

import numpy as np
import pytest

from realtime.render.layout import lay_out
from realtime.tracking import open_tracker
from realtime.tracking.common.association import iou_matrix

from ..realtime.render.test_layout import HD, wish
from ..realtime.tracking.scenes import NO_IMAGE, segmentation


@pytest.mark.parametrize("name", ["auto", "bytetrack", "ocsort"])
def test_five_hundred_objects_are_fast(name: str) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (1900, 1000), (500, 2))
    boxes = np.hstack((low, low + rng.uniform(20, 60, (500, 2))))
    tracker, spent_ms, overlap_ms = open_tracker(name), [], []
    for index in range(20):
        seen = segmentation(boxes + index + rng.normal(0, 1, boxes.shape))
        began_ns = time.process_time_ns()
        tracker.update(seen, index / 30, NO_IMAGE)
        between_ns = time.process_time_ns()
        iou_matrix(boxes, boxes)
        spent_ms.append((between_ns - began_ns) / 1e6)
        overlap_ms.append((time.process_time_ns() - between_ns) / 1e6)
    busy_ms = 8 * min(overlap_ms)  # other programs slow memory down: one matrix of overlaps measures by how much
    assert min(spent_ms[1:]) <= max(20, busy_ms)


def test_five_hundred_labels_take_a_few_milliseconds() -> None:
    """The budget is 5 ms on an idle machine; other programs may run here."""
    rng = np.random.default_rng(1)
    corners = rng.integers((0, 0), (1200, 600), (500, 2)).tolist()
    wishes = [wish(x, y, 40, 60, key=key) for key, (x, y) in enumerate(corners)]
    kept = {key: spot.place for key, spot in enumerate(lay_out(wishes, HD, {})) if spot is not None}
    times = []
    for before in (kept, {}) * 4:
        start = time.thread_time()
        lay_out(wishes, HD, before)
        times.append(time.thread_time() - start)
    assert min(times) < 0.02
