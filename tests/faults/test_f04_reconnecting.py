"""F04: a camera that goes and comes back a hundred times: seen within a second of its return, and nothing leaks."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from realtime.sources import open_source
from realtime.sources.street.scene import Street

from ..realtime.sources.conftest import HttpServer

WARM_UP = 2


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts handles in /proc")
def test_a_camera_that_comes_back_is_seen_at_once_and_nothing_leaks(
    small_street: Street, wait_until: Callable, reading: Callable, rounds: Callable[[int, int], int]
) -> None:
    away_s = rounds(3, 30) / 10

    def camera(port: int = 0) -> HttpServer:
        server = HttpServer(port)
        server.pages["/live"] = lambda handler: server.mjpeg(handler, small_street)
        return server

    server = camera()
    port, delays_s, before = server.server_address[1], [], (0, 0, 0)
    source = open_source(server.url("/live"))
    try:
        with reading(source) as frames:
            for number in range(rounds(6, 100) + WARM_UP):
                count = len(frames)
                wait_until(lambda count=count: len(frames) > count + 5)
                frames.clear()
                if number == WARM_UP:
                    before = _handles(), threading.active_count(), _resident_kb()
                server.stop()
                wait_until(lambda: source.status.state in ("retrying", "connecting"))
                frames.clear()
                time.sleep(away_s)
                server, back_s = camera(port), time.monotonic()
                wait_until(lambda: frames)
                delays_s.append(time.monotonic() - back_s)
            wait_until(lambda: len(frames) > 5)
            frames.clear()
            wait_until(lambda: threading.active_count() <= before[1] and _handles() <= before[0], 3)
            assert _resident_kb() - before[2] <= rounds(20, 5) << 10  # of a process that has run other tests before
    finally:
        server.stop()
    assert source.reconnects >= rounds(6, 100)
    assert np.percentile(delays_s, 95) <= 1.0
