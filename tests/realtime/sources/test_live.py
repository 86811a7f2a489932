"""The state machine of live streams, on feeds that follow a script."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from realtime.errors import SourceLostError, SourceOpenError
from realtime.sources.common.attempt import Attempt, Backoff
from realtime.sources.common.base import Picture, now_ns
from realtime.sources.common.feed import HopelessError, RefusedError
from realtime.sources.common.live import LiveSource


class Quick(Backoff):
    PAUSES_S = (0.02,)


class Script:
    """A feed of `count` pictures that differ, then of `then`."""

    fps = None
    description = "4x4 script"
    sound = decoder = ""

    def __init__(self, count: int = 3, then: Exception | None = None) -> None:
        self._count, self._then = count, then

    def pictures(self) -> Iterator[Picture]:
        for number in range(self._count):
            yield Picture(np.full((4, 4, 3), 50 + number, np.uint8), None, now_ns())
        if self._then is not None:
            raise self._then

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def source_of(*parts: Exception | Script, waits: bool = False) -> LiveSource:
    """Connects in turn to feeds, or fails to; the last part for ever."""
    script = itertools.chain(parts, itertools.repeat(parts[-1]))

    def connect() -> Script:
        part = next(script)
        if isinstance(part, Exception):
            raise part
        return part

    return LiveSource("camera", connect, waits=waits, backoff=Quick())


@pytest.mark.parametrize("error", [IndexError("list index out of range"), KeyError("h266"), ValueError("x" * 9), MemoryError()])
def test_whatever_a_library_raises_is_a_loss_and_not_the_end(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(Script(3, error), Script(3, error))
    assert len(list(islice(source, 6))) == 6
    source.close()
    assert "camera: lost (" in caplog.messages[0]
    assert (type(error).__name__ in caplog.messages[0]) or "not enough memory" in caplog.messages[0]
    with pytest.raises(SourceOpenError, match="camera: "):
        next(iter(source_of(error)))


OFF = SourceOpenError("camera: connection refused")


def test_a_camera_that_is_off_is_an_error_or_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SourceOpenError, match="connection refused"):
        next(iter(source_of(OFF, Script())))
    empty = Script(0, SourceLostError("camera: ended"))
    source = source_of(OFF, SourceLostError("camera: broke"), empty, Script(), waits=True)
    assert len(list(islice(source, 3))) == 3
    assert source.status.detail == "4x4 script"  # what was waited for was no reconnect
    source.close()
    waiting, back = caplog.messages
    assert waiting == "camera: not there (connection refused), waiting for it"
    assert back.startswith("camera: back after ")


@pytest.mark.parametrize("error", [RefusedError("camera"), HopelessError("camera: no such pipeline")])
def test_what_waiting_does_not_help_is_an_error_at_once(error: Exception) -> None:
    with pytest.raises(SourceOpenError):
        next(iter(source_of(error, waits=True)))


def test_waiting_shows_why_and_ends_at_once() -> None:
    source = source_of(OFF, waits=True)
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.2)
    status = source.status
    assert status.state in ("retrying", "connecting")
    closed_s = time.monotonic()
    source.close()
    thread.join(2)
    assert time.monotonic() - closed_s < 0.2
    assert not thread.is_alive()


def test_rejected_pictures_are_counted_by_reason() -> None:
    class Bad(Script):
        def pictures(self) -> Iterator[Picture]:
            for number in range(40):
                yield Picture(None, None, now_ns(), why="damaged" if number % 2 else f"odd {number}")
            yield from Script.pictures(self)

    source = source_of(Bad())
    assert len(list(islice(source, 3))) == 3
    rejected = source.status.rejected
    source.close()
    assert rejected["damaged"] == 20
    assert sum(rejected.values()) == 40
    assert len(rejected) <= 9


def test_a_stream_of_nothing_that_decodes_is_connected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.sources.common.live._UNDECODABLE_S", 0.1)
    monkeypatch.setattr("realtime.sources.common.watching.SAID_AFTER_S", 0.05)

    class Flood(Script):
        def pictures(self) -> Iterator[Picture]:
            yield from Script.pictures(self)
            while True:
                time.sleep(0.01)
                yield Picture(None, None, now_ns(), why="damaged")

    source = source_of(Flood(3), Script(3))
    assert len(list(islice(source, 6))) == 6
    assert source.reconnects == 1
    source.close()
    with pytest.raises(SourceOpenError, match="cannot be decoded"):
        next(iter(source_of(Flood(0))))


def test_a_feed_that_arrived_before_its_attempt_was_abandoned_is_closed() -> None:
    closed = []

    class Kept(Script):
        def close(self) -> None:
            closed.append(self)

    attempt = Attempt(Kept)
    assert attempt.wait(5)
    attempt.thread.join(5)
    attempt.abandon()
    assert attempt.result() is None
    assert attempt.result() is None
    assert len(closed) == 1
