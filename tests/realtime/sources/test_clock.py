from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.sources.common.base import StreamClock

_stamps = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(st.lists(st.tuples(_stamps, st.floats(0, 10)), max_size=60), st.booleans(), st.sampled_from([None, 25.0, 1000.0]))
def test_time_rises_strictly_with_any_stamps(steps: list[tuple[float | None, float]], is_live: bool, fps: float | None) -> None:
    clock = StreamClock(fps, is_live)
    received_s, times = 100.0, []
    for pts_s, waited_s in steps:
        received_s += waited_s
        times.append(clock.tick(pts_s, received_s))
    assert all(math.isfinite(time_s) for time_s in times)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert not times or times[0] == 0.0


def test_good_stamps_pass_unchanged_also_with_a_variable_rate() -> None:
    clock = StreamClock(25.0, is_live=False)
    stamps = [5.0, 5.04, 5.5, 6.0, 9.0, 9.001]
    assert [clock.tick(stamp, 0.0) for stamp in stamps] == pytest.approx([stamp - 5.0 for stamp in stamps])
    assert clock.corrected == 0


@pytest.mark.parametrize("bad", [-3600.0, 200_000.0, -0.5])
def test_a_jump_in_a_recording_becomes_one_frame_interval(bad: float) -> None:
    clock = StreamClock(25.0, is_live=False)
    clock.tick(10.0, 0.0)
    clock.tick(10.04, 0.0)
    assert clock.tick(10.04 + bad, 0.0) == pytest.approx(0.08)
    assert clock.tick(10.04 + bad + 0.04, 0.0) == pytest.approx(0.12)
    assert clock.corrected == 1


@pytest.mark.parametrize("gap_s", [9.0, 15.0, 600.0, 3600.0, 86_400.0])
def test_a_gap_in_a_recording_is_kept(gap_s: float) -> None:
    clock = StreamClock(25.0, is_live=False)
    stamps = [7.0, 7.04, 7.04 + gap_s, 7.08 + gap_s]
    assert [clock.tick(stamp, 0.0) for stamp in stamps] == pytest.approx([stamp - 7 for stamp in stamps])
    assert clock.corrected == 0


@pytest.mark.parametrize("wrong", [[-3600.0], [math.nan], [None, None], [0.04], [0.0], [0.04, 0.04, 0.04], [200_000.0]])
def test_single_wrong_stamps_move_none_after_them(wrong: list[float | None]) -> None:
    clock = StreamClock(25.0, is_live=False)
    stamps = [0.0, 0.04, *wrong, *(0.04 * number for number in range(2 + len(wrong), 10))]
    times = [clock.tick(stamp, 0.0) for stamp in stamps]
    assert times[-3:] == pytest.approx(stamps[-3:])
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_a_recording_whose_stamps_stand_still_goes_on_at_its_rate() -> None:
    clock = StreamClock(25.0, is_live=False)
    times = [clock.tick(3.0, 0.0) for _ in range(200)]
    assert times[-1] == pytest.approx(160 / 25, abs=0.1)
    assert clock.corrected == 199


def test_a_clock_from_zero_begins_with_the_first_stamp() -> None:
    clock = StreamClock(25.0, is_live=False, from_zero=True)
    assert [clock.tick(stamp, 0.0) for stamp in (0.2, 0.24)] == pytest.approx([0.2, 0.24])


@pytest.mark.parametrize("bad", [-3600.0, 3600.0])
def test_a_jump_in_a_live_stream_becomes_the_time_that_passed(bad: float) -> None:
    clock = StreamClock(None, is_live=True)
    clock.tick(10.0, 50.0)
    assert clock.tick(10.0 + bad, 50.3) == pytest.approx(0.3)
    assert clock.tick(10.04 + bad, 50.35) == pytest.approx(0.34)
    assert clock.corrected == 1


def test_a_time_lapse_keeps_its_long_gaps() -> None:
    clock = StreamClock(1 / 60, is_live=False)
    assert [clock.tick(stamp, 0.0) for stamp in (0.0, 60.0, 120.0)] == [0.0, 60.0, 120.0]


def test_time_continues_after_a_restart() -> None:
    clock = StreamClock(25.0, is_live=False)
    for stamp in (0.0, 0.04, 0.08):
        clock.tick(stamp, 0.0)
    clock.restart()
    assert clock.tick(0.0, 0.0) == pytest.approx(0.12)
    assert clock.corrected == 0
