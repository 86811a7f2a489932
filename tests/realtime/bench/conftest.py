"""Cards and repeats with chosen figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from realtime.bench.card import FORMAT, Card, Counts, ModelFacts, SourceFacts
from realtime.bench.making import alone, mode_of
from realtime.bench.measuring import Repeat


def make_repeat(**changed: Any) -> Repeat:
    """Two seconds of 30 Hz: 60 captured, 50 processed, 9 dropped, 1 more in flight; 100 ms of CPU per frame."""
    facts: dict[str, Any] = {
        "seconds": 2.0,
        "fps": 25.0,
        "counts": Counts(60, 50, 9, 1, shown=47, dropped_before_screen=3, missed_by_the_feed=2),
        "samples_ms": {"inference": np.arange(1.0, 101.0), "read": np.full(60, 2.0), "age": np.arange(41.0, 88.0)},
        "cpu_s": 5.0,
        "others_cores": 0.5,
        "rss_peak_mb": 300.0,
        "rss_slope": 1.5,
        "power": None,
        "gpu": None,
        "cpu_joules": None,
        "no_power": "no power figure here",
        "no_cpu_joules": "no counter",
        "tracks": 7,
    }
    return Repeat(**{**facts, **changed})


def make_card(fps: tuple[float, ...] = (24.0, 25.0, 26.0), **changed: Any) -> Card:
    """Three repeats with these frames per second at the maximum, and 25 in the fixed mode."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "date": "2026-11-25T20:00:00+00:00",
        "program": {"version": "1.0", "commit": "abc1234"},
        "machine": {"processor": "Some CPU (avx2)", "cores": "4", "memory": "16 GiB"},
        "versions": {"python": "3.12.1", "numpy": "2.0.0"},
        "model": ModelFacts("road", "ab" * 32, "640x384", "MIT", "openvino", "OpenVINO 2026.4, CPU, bf16", "bf16"),
        "source": SourceFacts("clip.mp4", "1280x720", 25.0),
        "settings": {"tracker": "bytetrack", "width": 1280},
        "method": {
            "rate_hz": 30.0,
            "seconds": 2.0,
            "repeats": 3,
            "warm_up": "1 s",
            "shown": "handed to the screen",
            "encoded": False,
        },
        "fixed": mode_of([make_repeat() for _ in range(3)], "played at 30 pictures a second", is_live=True),
        "maximum": mode_of([make_repeat(fps=value) for value in fps], "as fast as can be", is_live=False),
        "source_alone": alone([2.0, 3.0], 2.5),
        "model_alone": alone([20.0, 21.0], 40.0),
        "notes": ("Quiet.",),
    }
    return Card(**{**facts, **changed})


@pytest.fixture(name="make_card", scope="session")
def _make_card() -> Callable[..., Card]:
    return make_card


@pytest.fixture(name="make_repeat", scope="session")
def _make_repeat() -> Callable[..., Repeat]:
    return make_repeat
