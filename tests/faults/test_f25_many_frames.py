"""F25: a hundred thousand frames through a tracker. Ids are unique, what it holds is bounded, and it does not become slower."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from realtime.tracking import open_tracker

from ..realtime.tracking.scenes import NO_IMAGE, Street


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ids_are_unique_and_memory_is_bounded(rounds: Callable[[int, int], int]) -> None:
    """If removed tracks were kept, they would take more than twice the allowed memory after 3,000 frames."""
    seconds = rounds(300, 10_000)
    tracker, last_seen, highest, sizes, spent_s = open_tracker("bytetrack"), dict[int, float](), 0, [], []
    for index, view in enumerate(Street(7, objects=4, seconds=seconds, fps=10).frames(0.1)):
        began_s = time.thread_time()
        tracks = tracker.update(view.seen, view.t_s, NO_IMAGE)
        spent_s.append(time.thread_time() - began_s)
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
    assert index > 8 * seconds
    assert highest > seconds / 2
    assert max(sizes) < 50_000
    third = len(spent_s) // 3
    fastest_s = [np.percentile(part, 10) for part in (spent_s[:third], spent_s[-third:])]  # a busy core slows any of the others
    assert fastest_s[1] < 3 * fastest_s[0], "it does not become slower"


def _held_bytes(tracker: Any) -> int:
    """Bytes of all arrays and objects that the tracker can reach."""
    total, waiting, known = 0, [tracker], set[int]()
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
