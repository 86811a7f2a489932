"""F05: a camera that is dead for ten minutes: few attempts, at spread times."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import numpy as np

from realtime.errors import SourceLostError, SourceOpenError
from realtime.sources.common.attempt import Backoff
from realtime.sources.common.base import Picture, now_ns
from realtime.sources.common.live import LiveSource

DEAD_S = 600.0


def test_pauses_are_bounded_and_spread(rounds: Callable[[int, int], int]) -> None:
    for seed in range(rounds(50, 5000)):
        backoff = Backoff(random.Random(seed))
        passed_s, pauses = 0.0, []
        while passed_s < DEAD_S:
            pauses.append(backoff.pause_s())
            passed_s += pauses[-1]
        assert len(pauses) <= 130
        assert min(pauses) >= 0.25 * 0.8
        assert max(pauses) <= 5.0 * 1.2
        assert len({round(pause, 3) for pause in pauses[20:]}) > 50
    backoff.reset()
    assert backoff.pause_s() <= 0.25 * 1.2


def test_ten_minutes_cost_few_attempts_and_no_time(reading: Callable, rounds: Callable[[int, int], int]) -> None:
    """The clock runs faster by `speed`, only between attempts."""
    speed, attempts = 600.0 / rounds(3, 600), [0]

    class Fast(Backoff):
        def pause_s(self) -> float:
            return super().pause_s() / speed

    class Feed:
        fps, description, sound, decoder = None, "4x4", "", ""

        def pictures(self) -> Iterator[Picture]:
            yield Picture(np.zeros((4, 4, 3), np.uint8), None, now_ns())
            raise SourceLostError("camera: no power")

        def interrupt(self) -> None:
            pass

        def close(self) -> None:
            pass

    def connect() -> Feed:
        attempts[0] += 1
        if attempts[0] == 1:
            return Feed()
        raise SourceOpenError("camera: no route to host")

    source = LiveSource("camera", connect, backoff=Fast())
    begun_s, used_s = time.monotonic(), time.process_time()
    with reading(source):
        time.sleep(DEAD_S / speed)
        assert source.status.state in ("retrying", "connecting")
    assert attempts[0] <= 130
    assert time.process_time() - used_s < 0.02 * max(30.0, time.monotonic() - begun_s)  # of the ten minutes, at most 0.6 s
