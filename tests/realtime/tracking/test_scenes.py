"""Identities over whole scenes: frames lost at random, time ignored, and very long runs."""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import pytest

from realtime.tracking import names, open_tracker

from .scenes import NO_IMAGE, Street, View, follow, idf1

SEEDS = range(2)

every_follower = pytest.mark.parametrize("tracker", [name for name in names() if name != "none"])


@cache
def seen_of(street: Street, dropped: float) -> tuple[View, ...]:
    """The same frames for all trackers, which change none of them."""
    return tuple(street.frames(dropped))


def mean_idf1(tracker, dropped, fps=30.0, ignore_time=False, **scene):
    figures = []
    for seed in SEEDS:
        views = seen_of(Street(seed, fps=fps, **scene), dropped)
        times_s = [index / fps for index in range(len(views))] if ignore_time else None
        figures.append(idf1(follow(open_tracker(tracker), views, times_s)))
    return float(np.mean(figures))


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


@pytest.mark.parametrize(("dropped", "bar"), [(0.1, 0.95), (0.3, 0.90), (0.6, 0.75)])
@pytest.mark.parametrize("certain", [False, True])
@every_follower
def test_lost_frames_cost_few_ids(tracker, dropped, bar, certain):
    assert mean_idf1(tracker, dropped, certain=certain, seconds=6.0) >= bar


@pytest.mark.parametrize(("dropped", "bar"), [(0.0, 0.95), (0.1, 0.95), (0.3, 0.90), (0.6, 0.75)])
@every_follower
def test_objects_hidden_for_up_to_two_seconds_keep_their_ids(tracker, dropped, bar):
    """Half a second to two behind pillars, for slow objects."""
    assert mean_idf1(tracker, dropped, objects=6, seconds=8.0, speeds_px_s=(40, 160), pillars=3) >= bar


@pytest.mark.parametrize(("dropped", "bar"), [(0.3, 0.90), (0.6, 0.75)])
@every_follower
def test_ignoring_time_costs_ids(tracker, dropped, bar):
    """The same frames at 15 fps, with their true times or counted as if none were missing."""
    true_time, counted = mean_idf1(tracker, dropped, fps=15), mean_idf1(tracker, dropped, fps=15, ignore_time=True)
    assert true_time >= bar
    assert counted < bar - 0.05
    assert true_time - counted > 0.1


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
