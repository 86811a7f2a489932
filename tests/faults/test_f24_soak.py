"""F24: a long run of the window: memory, threads and open files do not pile up. The long form takes eight hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak import slopes, soak

SECONDS_LONG = 8 * 3600


@pytest.mark.usefixtures("app", "no_thread_is_left")
def test_nothing_piles_up(tiny_model: Path, rounds: Callable[[int, int], int]) -> None:
    """A leak is not seen in a few seconds; in hours, a megabyte an hour is allowed after the first five minutes."""
    seconds = rounds(6, SECONDS_LONG)
    street = "synthetic://street?width=320&height=180&fps=60&live=1&seconds=0&objects=8"
    samples = soak(str(tiny_model), street, seconds / 60)
    assert samples.last.processed > 5
    late = samples.since(seconds / 60 / 2)
    assert len(set(late["threads"])) == 1, "no thread comes or goes"
    assert len(set(late["files"])) == 1, "no file stays open"
    assert late["rss_mb"][-1] - late["rss_mb"][0] < 20
    if seconds == SECONDS_LONG:
        grown = slopes(samples, 5)
        assert grown["rss_mb_per_hour"] is not None
        assert grown["rss_mb_per_hour"] <= 1
        assert samples.early is not None
        for name, before in samples.early.stages.items():
            assert samples.last.stages[name].p99_ms <= 1.2 * before.p99_ms, name
