"""Meter: figures against their definitions."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.flow.meter import RATE_SPAN_S, WINDOW, Meter, Rate, Series


def ticked(*stamps_s: float) -> Rate:
    rate = Rate()
    for stamp_s in stamps_s:
        rate.tick(stamp_s)
    return rate


def test_n_stamps_are_n_minus_one_intervals() -> None:
    assert ticked(10.0, 10.1, 10.2).per_second(10.2) == pytest.approx(10)
    assert ticked(10.0, 10.1, 10.2).mean() == pytest.approx(10)


def test_one_event_or_none_is_no_rate() -> None:
    for rate in (ticked(), ticked(5.0), ticked(5.0, 5.0)):
        assert rate.per_second(5.0) == 0
        assert rate.mean() == 0


def test_the_rate_sinks_during_a_stall_and_ends_at_zero() -> None:
    rate = ticked(*(index / 30 for index in range(31)))
    assert rate.per_second(1.0 + 1 / 30) == pytest.approx(30), "the next one is not late yet"
    during = [rate.per_second(1.0 + late_s) for late_s in (0.1, 0.5, 1.0, 1.9)]
    assert all(later < earlier for earlier, later in itertools.pairwise([30.0, *during]))
    assert rate.per_second(1.0 + RATE_SPAN_S + 0.01) == 0


def test_the_rate_is_of_the_last_two_seconds_the_mean_of_the_whole_run() -> None:
    rate = ticked(*(index / 10 for index in range(51)), *(5 + (1 + index) / 100 for index in range(300)))
    assert rate.per_second(8.0) == pytest.approx(100, rel=0.01)
    assert rate.mean() == pytest.approx(350 / 8, rel=0.01)


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60))
def test_a_rate_lies_between_the_slowest_and_the_fastest_interval(intervals_s: list[float]) -> None:
    stamps_s = list(itertools.accumulate(intervals_s, initial=100.0))
    assert 1 / max(intervals_s) * 0.99 <= ticked(*stamps_s).per_second(stamps_s[-1]) <= 1 / min(intervals_s) * 1.01


@pytest.mark.parametrize("count", [1, 2, 100, WINDOW, WINDOW + 1, 2 * WINDOW + 7])
def test_percentiles_are_those_of_the_latest_times(count: int) -> None:
    times_ms = np.random.default_rng(1).gamma(2, 3, count)
    series = Series()
    for ms in times_ms:
        series.add(float(ms))
    quantiles = series.quantiles()
    assert quantiles is not None
    expected = np.percentile(times_ms[-WINDOW:], (50, 95, 99))
    assert (quantiles.p50_ms, quantiles.p95_ms, quantiles.p99_ms) == pytest.approx(tuple(expected))
    assert quantiles.count == count


def test_no_time_has_no_percentile() -> None:
    assert Series().quantiles() is None
    assert Meter().reading().stages == {}
    assert Meter().reading().age is None


def test_age_is_the_time_from_capture_to_delivery() -> None:
    meter = Meter()
    for late_ms in (5, 20, 80):
        meter.delivered(time.monotonic_ns() - late_ms * 1_000_000)
    age = meter.reading().age
    assert age is not None
    assert age.count == 3
    assert 20 <= age.p50_ms < 40
    assert age.p99_ms >= 75


def test_threads_do_not_lose_each_others_figures() -> None:
    meter = Meter()

    def work(name: str) -> None:
        for index in range(2000):
            meter.add({name: 1.0, "both": 2.0})
            meter.processed()
            if index % 100 == 0:
                meter.reading()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stages = meter.reading().stages
    assert {name: quantiles.count for name, quantiles in stages.items()} == {"one": 2000, "two": 2000, "both": 4000}
    assert stages["both"].p50_ms == 2.0


def test_the_counts_given_are_passed_on() -> None:
    reading = Meter().reading(captured=10, processed=7, dropped_before_model=2, dropped_before_screen=3)
    assert (reading.captured, reading.processed, reading.dropped_before_model, reading.dropped_before_screen) == (10, 7, 2, 3)


def test_what_is_forgotten_is_in_no_figure_and_samples_are_copies() -> None:
    meter = Meter()
    for ms in (100.0, 200.0):
        meter.add({"inference": ms})
    meter.delivered(time.monotonic_ns() - 5_000_000_000)
    meter.processed()
    meter.forget()
    assert meter.samples_ms() == {}
    assert meter.reading().age is None
    meter.add({"inference": 7.0})
    taken = meter.samples_ms()
    assert {name: values.tolist() for name, values in taken.items()} == {"inference": [7.0]}
    taken["inference"][:] = 0
    assert meter.reading().stages["inference"].p50_ms == 7.0
