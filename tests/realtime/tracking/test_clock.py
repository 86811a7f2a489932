"""Steps of time, whatever the timestamps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracking.common.clock import MAX_DT_S, MIN_DT_S, StepClock


def steps(times_s):
    clock = StepClock()
    return [clock.tick(t).dt_s for t in times_s][1:]


@pytest.mark.parametrize(
    ("times_s", "expected_s"),
    [
        ((5.0, 5.1, 5.3), (0.1, 0.2)),
        ((5.0, 5.1, -3595.0, -3594.8), (0.1, 0.1, 0.2)),
        ((5.0, 5.1, math.nan, 5.3), (0.1, 0.1, 0.2)),
        ((5.0, 5.1, 5.1, 5.2), (0.1, MIN_DT_S, 0.1)),
        ((5.0, 5.1, 3605.0, 3605.1), (0.1, MAX_DT_S, 0.1)),
        ((math.nan, math.nan), (1 / 30,)),
    ],
)
def test_steps(times_s, expected_s):
    assert steps(times_s) == pytest.approx(expected_s)


def test_only_a_long_jump_ahead_is_a_gap():
    clock = StepClock()
    assert [clock.tick(t).is_gap for t in (0, 1, -9, math.nan, math.inf, -7.5, -5.4)] == [False] * 6 + [True]


@given(st.lists(st.floats(), max_size=30))
def test_time_always_rises_by_plausible_steps(times_s):
    clock = StepClock()
    for t in times_s:
        before_s = clock.now_s
        dt_s = clock.tick(t).dt_s
        assert MIN_DT_S <= dt_s <= MAX_DT_S
        assert clock.now_s == before_s + dt_s
