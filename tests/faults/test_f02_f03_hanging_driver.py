"""F02: a read that never returns. F03: an open that never returns. Both on a camera's driver, which no thread can end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from realtime.errors import SourceLostError
from realtime.sources.common.attempt import Backoff
from realtime.sources.common.live import LiveSource
from realtime.sources.common.opencv import CaptureFeed
from realtime.sources.webcam import Format, cameras, webcam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="device folders are Linux's")


@pytest.fixture
def stuck(kind: type) -> Iterator[threading.Event]:
    """While clear, the camera's calls return; `kind.opens_hang` and `kind.reads_hang` say which wait for it to be set."""
    released = threading.Event()

    class Sticky(kind):  # type: ignore[misc,valid-type]
        opens_hang = reads_hang = False

        def __init__(self, number: int, api: int) -> None:
            if type(self).opens_hang:
                released.wait(60)
            super().__init__(number, api)

        def grab(self) -> bool:
            if type(self).reads_hang:
                released.wait(60)
            return bool(super().grab())

    released.camera = Sticky  # type: ignore[attr-defined]
    yield released
    released.set()


def _source(tmp_path: Path, plug: Callable, camera: type, **how: float) -> LiveSource:
    plug(tmp_path, 0, "Cam")
    source = webcam(cameras(tmp_path)[0], "webcam://0", Format(), camera, tmp_path, **how)
    source._backoff = type("Soon", (Backoff,), {"PAUSES_S": (0.02,)})()
    return source


def _hanging() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("grab", "connect")]


def test_a_read_that_hangs_is_stalled_then_the_camera_is_opened_again(
    stuck: threading.Event, tmp_path: Path, plug: Callable, wait_until: Callable, reading: Callable
) -> None:
    camera = stuck.camera  # type: ignore[attr-defined]
    source = _source(tmp_path, plug, camera)
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 5)
        camera.reads_hang = True
        wait_until(lambda: source.status.state == "stalled", 2.5)
        camera.reads_hang, count = False, len(frames)
        wait_until(lambda: len(frames) > count + 5, 8)  # of the camera that was opened again: the first one still hangs
        assert len(camera.opened) == 2
        camera.reads_hang = True
        time.sleep(0.1)
        closed_s = time.monotonic()
    assert time.monotonic() - closed_s < 2
    assert len(_hanging()) <= 2
    stuck.set()
    wait_until(lambda: not _hanging(), 3)


def test_opens_that_hang_are_left_behind_and_few(
    stuck: threading.Event,
    tmp_path: Path,
    plug: Callable,
    wait_until: Callable,
    reading: Callable,
    rounds: Callable[[int, int], int],
) -> None:
    camera = stuck.camera  # type: ignore[attr-defined]
    source = _source(tmp_path, plug, camera, open_limit_s=0.05)
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 5)
        camera.opens_hang, camera.plugged = True, False
        wait_until(lambda: source.reconnects >= rounds(20, 50), 20)
        wait_until(lambda: "3 calls into its driver never returned" in source.status.detail, 1)
        assert len(_hanging()) == 3
        camera.opens_hang, camera.plugged, count = False, True, len(frames)
        stuck.set()  # those that hang return, and the camera answers
        wait_until(lambda: len(frames) > count, 5)
    wait_until(lambda: not _hanging(), 3)


def test_a_slow_camera_does_not_hang(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.sources.common.opencv._HANGS_AFTER_S", 0.1)

    class Slow(kind):  # type: ignore[misc,valid-type]
        interval_s = 0.25

        def get(self, prop: int) -> float:
            return 4.0 if prop == cv2.CAP_PROP_FPS else super().get(prop)

        def grab(self) -> bool:
            time.sleep(type(self).interval_s)
            return bool(super().grab())

    feed = CaptureFeed(Slow(0, 0), "slow", "", "Look at its light")
    pictures = feed.pictures()
    assert [next(pictures).image is not None for _ in range(2)] == [True, True]
    Slow.interval_s = 1.5
    with pytest.raises(SourceLostError, match=r"slow: no answer for 0.75 s. Look at its light"):
        list(pictures)
    feed.close()
