"""F31: a webcam's number vanishes and returns as another: it is found by its stable id, another camera is never taken for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.errors import SourceOpenError
from realtime.sources.webcam import Camera, Format, cameras, webcam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="device folders are Linux's")


def _unplug(root: Path, number: int) -> None:
    (root / f"dev/video{number}").unlink()


def test_a_camera_under_a_new_number_is_found_and_its_return_is_logged(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "Cam", link="usb-ACME_Cam_123-video-index0")
    source = webcam(cameras(tmp_path)[0], "0", Format(), kind, tmp_path)
    frames = iter(source)
    first_frame = next(frames)
    _unplug(tmp_path, 0)
    (tmp_path / "dev/v4l/by-id/usb-ACME_Cam_123-video-index0").unlink()
    kind.plugged = False

    def come_back() -> None:
        plug(tmp_path, 2, "Other")
        plug(tmp_path, 4, "Cam", link="usb-ACME_Cam_123-video-index0")
        kind.plugged = True

    timer = threading.Timer(0.4, come_back)
    timer.start()
    started_s = time.monotonic()
    # A released instance stays closed, as a real handle does.
    frame = next(frames)
    timer.join()
    assert kind.opened == [0, 4]
    assert frame.index == first_frame.index + 1
    assert frame.pts_s - first_frame.pts_s == pytest.approx(time.monotonic() - started_s, abs=0.3)
    assert source.status.detail.endswith("reconnects") or source.status.detail.endswith("1 reconnect")
    source.close()


def test_another_camera_under_its_number_is_not_taken_for_it(
    tmp_path: Path, plug: Callable, kind: type, wait_until: Callable, reading: Callable
) -> None:
    plug(tmp_path, 0, "Cam", link="usb-ACME_Cam_123-video-index0")
    source = webcam(cameras(tmp_path)[0], "webcam://0", Format(), kind, tmp_path)
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 3)
        (tmp_path / "dev/v4l/by-id/usb-ACME_Cam_123-video-index0").unlink()
        _unplug(tmp_path, 0)
        (tmp_path / "sys/class/video4linux/video0/name").write_text("Other\n")
        (tmp_path / "dev/video0").touch()
        kind.plugged = False
        wait_until(lambda: source.status.state == "retrying" and "not plugged in" in source.status.detail)
    assert kind.opened == [0]


def test_a_camera_that_is_waited_for_is_found_when_it_is_plugged_in(tmp_path: Path, plug: Callable, kind: type) -> None:
    def look() -> Camera:
        if found := cameras(tmp_path):
            return found[0]
        raise SourceOpenError("webcam://0: no camera")

    source = webcam(look, "webcam://0", Format(), kind, tmp_path, waits=True)
    timer = threading.Timer(0.5, lambda: plug(tmp_path, 3, "Cam"))
    timer.start()
    assert next(iter(source)).image.shape == (720, 1280, 3)
    assert kind.opened == [3]
    source.close()
    timer.join()
