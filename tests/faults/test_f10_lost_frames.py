"""F10: frames lost at random, and time ignored. Identities hold, since trackers count seconds and not frames."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from realtime.tracking import names, open_tracker

from ..realtime.tracking.scenes import Street, View, follow, idf1

every_follower = pytest.mark.parametrize("tracker", [name for name in names() if name != "none"])


@cache
def seen_of(street: Street, dropped: float) -> tuple[View, ...]:
    """The same frames for all trackers, which change none of them."""
    return tuple(street.frames(dropped))


def mean_idf1(seeds, tracker, dropped, fps=30.0, ignore_time=False, **scene):
    figures = []
    for seed in range(seeds):
        views = seen_of(Street(seed, fps=fps, **scene), dropped)
        times_s = [index / fps for index in range(len(views))] if ignore_time else None
        figures.append(idf1(follow(open_tracker(tracker), views, times_s)))
    return float(np.mean(figures))


@pytest.mark.parametrize(("dropped", "bar"), [(0.1, 0.95), (0.3, 0.90), (0.6, 0.75)])
@pytest.mark.parametrize("certain", [False, True])
@every_follower
def test_lost_frames_cost_few_ids(tracker, dropped, bar, certain, rounds):
    assert mean_idf1(rounds(2, 10), tracker, dropped, certain=certain, seconds=6.0) >= bar


@pytest.mark.parametrize(("dropped", "bar"), [(0.0, 0.95), (0.1, 0.95), (0.3, 0.90), (0.6, 0.75)])
@every_follower
def test_objects_hidden_for_up_to_two_seconds_keep_their_ids(tracker, dropped, bar, rounds):
    """Half a second to two behind pillars, for slow objects."""
    assert mean_idf1(rounds(2, 10), tracker, dropped, objects=6, seconds=8.0, speeds_px_s=(40, 160), pillars=3) >= bar


@pytest.mark.parametrize(("dropped", "bar"), [(0.3, 0.90), (0.6, 0.75)])
@every_follower
def test_ignoring_time_costs_ids(tracker, dropped, bar, rounds):
    """The same frames at 15 fps, with their true times or counted as if none were missing."""
    seeds = rounds(2, 10)
    true_time = mean_idf1(seeds, tracker, dropped, fps=15)
    counted = mean_idf1(seeds, tracker, dropped, fps=15, ignore_time=True)
    assert true_time >= bar
    assert counted < bar - 0.05
    assert true_time - counted > 0.1


@every_follower
def test_bursts_of_a_second_cost_few_ids(tracker, rounds):
    """A network that pauses: every fourth second is lost as a whole."""
    figures = []
    for seed in range(rounds(2, 10)):
        views = [view for view in seen_of(Street(seed, seconds=8.0), 0.0) if view.t_s % 4 < 3]
        figures.append(idf1(follow(open_tracker(tracker), views)))
    assert np.mean(figures) >= 0.90
