"""Identities over whole scenes: what IDF1 is, and very long runs. Lost frames are in tests/faults/test_f10_lost_frames.py."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from realtime.tracking import open_tracker

from .scenes import NO_IMAGE, Street, idf1


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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_five_minutes_keep_ids_unique_and_memory_bounded():
    """If removed tracks were kept, they would take more than twice the allowed memory."""
    tracker, last_seen, highest, sizes = open_tracker("bytetrack"), {}, 0, []
    for index, view in enumerate(Street(7, objects=4, seconds=300, fps=10).frames(0.1)):
        tracks = tracker.update(view.seen, view.t_s, NO_IMAGE)
        ids = [track.id for track in tracks]
        assert ids == sorted(set(ids))
        new = [i for i in ids if i not in last_seen]
        assert all(i > highest for i in new)  # an id never comes back, and never out of order
        highest = max([highest, *new])
        for i in ids:
            assert view.t_s - last_seen.get(i, view.t_s) < 3
            last_seen[i] = view.t_s
        assert all(len(track.trail_px) <= 64 for track in tracks)
        if index % 500 == 499:
            sizes.append(_held_bytes(tracker))
    assert index > 2_500
    assert highest > 150
    assert max(sizes) < 50_000


def _held_bytes(tracker) -> int:
    """Bytes of all arrays and objects that the tracker can reach."""
    total, waiting, known = 0, [tracker], set()
    while waiting:
        item = waiting.pop()
        if id(item) in known:
            continue
        known.add(id(item))
        total += item.nbytes if isinstance(item, np.ndarray) else sys.getsizeof(item)
        waiting += getattr(item, "__dict__", {}).values()
        slots = getattr(type(item), "__slots__", ())
        waiting += [getattr(item, name) for name in slots if hasattr(item, name)]
        if isinstance(item, (list, tuple, dict, set)):
            waiting += item.values() if isinstance(item, dict) else item
    return total
