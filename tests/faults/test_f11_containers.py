"""F11, recordings: damaged files of ten kinds end in frames or in an error of one line, never in a crash or a hang."""

from __future__ import annotations

from collections.abc import Callable

from .fuzzing import run_child


def test_damaged_recordings(rounds: Callable[[int, int], int]) -> None:
    seconds = rounds(12, 3600)
    assert "refused" in run_child("fuzz_containers", seconds, seconds + 90)
