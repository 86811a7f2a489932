"""A recording as a camera: its clock, missed frames, the endless loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.bench.feed import Feed
from realtime.errors import SourceOpenError
from realtime.types import Frame


def feed(source: Any, rate_hz: float | None, opened: list[Any] | None = None, **facts: Any) -> Feed:
    def again() -> Any:
        new = type(source)(source.frame_count, **facts)
        if opened is not None:
            opened.append(new)
        return new

    return Feed(source, again, rate_hz)


def test_a_recording_starts_again_and_its_time_continues(MemorySource) -> None:
    opened: list[Any] = []
    source = MemorySource(4, fps=10.0)
    frames = list(itertools.islice(feed(source, None, opened, fps=10.0), 10))
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 10 for index in range(10)])
    assert (frames[5].image == frames[1].image).all(), "the second picture, again"
    assert len(opened) == 2
    assert source.closed, "the one that ended was closed before the next was opened"


def test_frames_come_at_the_fixed_rate_and_are_captured_when_handed_on(MemorySource) -> None:
    camera = feed(MemorySource(None), 100.0)
    assert camera.is_live
    start_ns = time.monotonic_ns()
    frames = list(itertools.islice(camera, 11))
    assert camera.missed == 10 - sum(1 for _ in range(10)) + (frames[-1].index - 10), "an index is left out for what is missed"
    assert frames[-1].captured_ns - start_ns >= frames[-1].index * 10_000_000 - 1_000_000
    assert all(frame.pts_s == pytest.approx(frame.index / 100) for frame in frames)


def test_frames_not_read_in_time_are_missed_and_counted(MemorySource) -> None:
    class Slow(MemorySource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                time.sleep(0.055)
                yield frame

    camera = feed(Slow(None), 100.0)
    frames = list(itertools.islice(camera, 4))
    gaps = [later.index - earlier.index for earlier, later in itertools.pairwise(frames)]
    assert all(gap >= 5 for gap in gaps), "55 ms are five pictures of a camera of 100 Hz"
    assert camera.missed == frames[-1].index - 3


def test_closing_ends_a_wait_at_once(MemorySource) -> None:
    camera = feed(MemorySource(None), 0.01)
    frames = iter(camera)
    next(frames)
    camera.close()
    start_s = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - start_s < 1


def test_a_recording_without_frames_is_an_error_instead_of_an_endless_loop(MemorySource) -> None:
    with pytest.raises(SourceOpenError, match="memory: has no frames"):
        next(iter(feed(MemorySource(0), None)))
