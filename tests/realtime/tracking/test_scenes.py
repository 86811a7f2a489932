"""Identities over whole scenes: what IDF1 is, and very long runs. Lost frames are in tests/faults/test_f10_lost_frames.py."""

from __future__ import annotations

import pytest

from .scenes import Street, idf1


def test_idf1_of_the_truth_is_one_and_of_swapped_halves_is_half():
    views = list(Street(0, seconds=1).frames())
    right = [(view, _as_tracks(view.ids, view.boxes)) for view in views]
    assert idf1(right) == 1
    half = len(views) // 2
    swapped = right[:half] + [(view, _as_tracks(view.ids + 10**6, view.boxes)) for view in views[half:]]
    assert idf1(swapped) == pytest.approx(0.5, abs=0.02)


def _as_tracks(ids, boxes):
    from realtime.types import Track

    return tuple(Track(int(i), 0, 1.0, box, row, box[None, :2]) for row, (i, box) in enumerate(zip(ids, boxes, strict=True)))
