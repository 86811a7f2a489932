from __future__ import annotations

import threading
import time
from pathlib import Path

from realtime.sources import Paced, open_source


def test_a_file_runs_at_its_own_speed_and_is_captured_when_it_is_released(clip: Path) -> None:
    source = Paced(open_source(str(clip)))
    assert (source.fps, source.frame_count, source.is_live, source.name) == (25.0, 50, False, str(clip))
    started_ns = time.monotonic_ns()
    captured_s = []
    for frame in source:
        captured_s.append((frame.captured_ns - started_ns) / 1e9)
        assert time.monotonic_ns() - frame.captured_ns < 50e6
        if frame.index == 15:
            break
    source.close()
    due_s = [captured_s[0] + index / 25 for index in range(16)]
    assert all(captured >= due - 0.002 for captured, due in zip(captured_s, due_s, strict=True))  # never faster
    assert captured_s[-1] < due_s[-1] + 0.25


def test_after_a_pause_it_does_not_catch_up() -> None:
    source = Paced(open_source("synthetic://street?width=64&height=64&fps=50&objects=0"))
    frames = iter(source)
    next(frames)
    time.sleep(0.3)
    next(frames)
    started_s = time.monotonic()
    for _ in range(10):
        next(frames)
    assert time.monotonic() - started_s > 0.18
    source.close()


def test_close_ends_a_long_wait_at_once() -> None:
    source = Paced(open_source("synthetic://street?width=64&height=64&fps=1&objects=0&seconds=100"))
    count = []
    thread = threading.Thread(target=lambda: count.extend(source))
    thread.start()
    time.sleep(0.2)
    closed_s = time.monotonic()
    source.close()
    thread.join(5)
    assert time.monotonic() - closed_s < 0.3
    assert len(count) == 1
    assert source.status.state == "ended"


def test_a_live_source_passes_through() -> None:
    live = open_source("synthetic://street?width=64&height=64&fps=100&objects=0&live=1")
    source = Paced(live)
    assert source.is_live
    assert iter(source) is iter(live)
    source.close()
    assert list(source) == []


def test_status_comes_from_the_source(clip: Path) -> None:
    inner = open_source(str(clip))
    source = Paced(inner)
    assert source.status == inner.status
    source.close()
    assert source.status.state == "ended"
