"""F11, MJPEG: damaged streams end in pictures or in an error, never in a crash, a hang or memory without bound."""

from __future__ import annotations

from collections.abc import Callable

from .fuzzing import run_child


def test_damaged_mjpeg_streams(rounds: Callable[[int, int], int]) -> None:
    seconds = rounds(6, 3600)
    assert "pictures" in run_child("fuzz_jpeg_streams", seconds, seconds + 50)
