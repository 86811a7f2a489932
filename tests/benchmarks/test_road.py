"""How streets are scored."""

import numpy as np

from benchmarks.road import labelled_iou


def test_a_class_that_a_set_does_not_label_is_not_scored() -> None:
    """A pixel in which it is found is wrong, and counts against the class that is there."""
    counts = np.array([[3, 1, 0], [0, 0, 0]], np.int64)  # the last column: void
    assert labelled_iou(("sky", "hut"), counts) == {"sky": 0.75}
