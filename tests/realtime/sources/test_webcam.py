"""Webcams without one: `StandInCamera` replaces `cv2.VideoCapture`, folders replace `/dev` and `/sys`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from realtime.codecs import presence
from realtime.errors import SourceNotFoundError, SourceOpenError
from realtime.sources import first_webcam, open_source
from realtime.sources.webcam import Camera, Format, cameras, find_again, first, webcam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="device folders are Linux's")


def test_it_requests_mjpg_and_reports_the_negotiated_format(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "HD Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(1280, 720, 60), kind, tmp_path)
    assert (source.is_live, source.status.state) == (True, "connecting")
    frames = list(islice(source, 5))
    assert source.status.detail == "1280x720 MJPG 30 fps"
    assert source.fps == 30.0
    assert [frame.index for frame in frames] == list(range(5))
    assert all(later.pts_s > earlier.pts_s for earlier, later in pairwise(frames))
    source.close()
    assert source.status.state == "ended"


@pytest.mark.parametrize(
    ("picture", "mean"),
    [
        (np.full((4, 6), 7, np.uint8), 7),
        (np.full((4, 6, 1), 7, np.uint8), 7),
        (np.full((4, 6, 4), 7, np.uint8), 7),
        (np.full((4, 6), 7 * 256, np.uint16), 7),
        (np.full((4, 12, 3), 7, np.uint8)[:, ::2], 7),
    ],
    ids=["grey", "one-channel", "bgra", "grey16", "strided"],
)
def test_unusual_pictures_become_bgr(tmp_path: Path, plug: Callable, kind: type, picture: np.ndarray, mean: int) -> None:
    plug(tmp_path, 0, "Cam")
    kind.picture = picture
    source = webcam(cameras(tmp_path)[0], "0", Format(), kind, tmp_path)
    frame = next(iter(source))
    assert (frame.image.shape, frame.image.dtype, frame.image.flags.c_contiguous) == ((4, 6, 3), np.uint8, True)
    assert np.all(frame.image == mean)
    source.close()


@pytest.mark.parametrize(
    "picture", [None, np.zeros((0, 5, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_bad_pictures_are_counted_and_the_stream_continues(tmp_path: Path, plug: Callable, kind: type, picture: Any) -> None:
    plug(tmp_path, 0, "Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(), kind, tmp_path)
    frames = iter(source)
    next(frames)
    good, kind.picture = kind.picture, picture
    timer = threading.Timer(0.1, lambda: setattr(kind, "picture", good))
    timer.start()
    assert next(frames).index == 1
    assert sum(source.status.rejected.values()) > 3
    assert source.status.state == "live"
    source.close()
    timer.join()


def test_the_list_has_no_metadata_devices(tmp_path: Path, plug: Callable) -> None:
    plug(tmp_path, 10, "B")
    plug(tmp_path, 2, "A", link="usb-A-video-index0")
    plug(tmp_path, 3, "A", index=1)
    assert [camera.path.name for camera in cameras(tmp_path)] == ["video2", "video10"]
    assert cameras(tmp_path)[0].stable_id == "usb-A-video-index0"
    gone = Camera(tmp_path / "dev/video7", "C")
    assert find_again(gone, tmp_path) is None


def test_a_camera_in_use_raises_one_clear_line(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "Cam")
    kind.plugged = False
    source = webcam(cameras(tmp_path)[0], "webcam://0", Format(), kind, tmp_path)
    with pytest.raises(SourceOpenError, match=r"webcam://0: the camera delivers no picture\. Close other programs"):
        next(iter(source))


def test_the_program_that_uses_a_camera_is_named(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "Cam")
    kind.plugged = False
    with (tmp_path / "dev/video0").open() as device, subprocess.Popen(["sleep", "60"], stdin=device) as other:
        try:
            with pytest.raises(SourceOpenError, match=r"delivers no picture, since sleep is using it\. Close sleep, or"):
                first(2.0, kind, tmp_path)
        finally:
            other.kill()


@pytest.mark.parametrize("group", ["video", "root", None])
def test_a_camera_that_this_user_may_not_open_says_what_to_do(
    tmp_path: Path, plug: Callable, kind: type, monkeypatch: pytest.MonkeyPatch, group: str | None
) -> None:
    """Root may open everything, so the system's answers are replaced."""
    plug(tmp_path, 0, "Cam")

    def group_of(path: Path) -> str:
        if group is None:
            raise KeyError(path)
        return group

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Path, "group", group_of)
    cure = "sudo usermod -aG video" if group == "video" else "sudo chmod a[+]rw .*video0"
    with pytest.raises(SourceOpenError, match=rf"video0: no permission to use it\. .*{cure}"):
        first(2.0, kind, tmp_path)
    assert kind.opened == []


def test_a_camera_of_a_picture_every_few_seconds_is_not_lost(tmp_path: Path, plug: Callable, kind: type) -> None:
    """V4L2's reads fail after a second without a picture."""
    reads = itertools.cycle([False] * 3 + [True])

    class SlowCamera(kind):  # type: ignore[misc,valid-type]
        def get(self, prop: int) -> float:
            return 0.25 if prop == cv2.CAP_PROP_FPS else super().get(prop)

        def grab(self) -> bool:
            time.sleep(0.55)
            return next(reads)

    plug(tmp_path, 0, "Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(), SlowCamera, tmp_path)
    assert len(list(islice(source, 2))) == 2
    assert source.reconnects == 0
    source.close()


def test_a_missing_camera_raises_one_clear_line() -> None:
    with pytest.raises(SourceNotFoundError, match="no camera /dev/video97"):
        open_source("97")
    with pytest.raises(SourceOpenError, match=r"Did you mean .width."):
        open_source("webcam://97?widht=2")


def test_the_first_working_camera_is_used(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "Cam")
    source = first(2.0, kind, tmp_path)
    assert source.status.state == "live"
    assert next(iter(source)).image.shape == (720, 1280, 3)
    assert kind.opened == [0]
    source.close()


def _inspecting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GStreamer's programs whose first answer is slow. Returns the list of their calls."""
    folder.mkdir()
    calls = folder / "calls"
    calls.touch()
    for name, text in (("gst-launch-1.0", ""), ("gst-inspect-1.0", f'echo "$*" >> {calls}; sleep 0.6')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return calls


def test_gstreamer_is_asked_only_on_a_jetson(tmp_path: Path, plug: Callable, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first start scans all plugins, which takes seconds."""
    calls = _inspecting(tmp_path / "programs", monkeypatch)
    monkeypatch.setattr(presence, "ROOT", tmp_path)
    plug(tmp_path, 0, "Cam")
    first(2.0, kind, tmp_path).close()
    assert calls.read_text() == ""
    with pytest.raises(SourceOpenError, match=r"cannot be decoded on a GPU \(this is not a Jetson\)"):
        first(2.0, kind, tmp_path, decode="gpu")


def test_on_a_jetson_gstreamer_is_asked_once_and_outside_the_cameras_time_limit(
    tmp_path: Path, plug: Callable, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1\n")
    monkeypatch.setattr(presence, "ROOT", tmp_path)
    plug(tmp_path, 0, "Cam")
    calls = _inspecting(tmp_path / "one", monkeypatch)
    first(0.4, kind, tmp_path).close()
    assert calls.read_text() == "\n"
    calls = _inspecting(tmp_path / "another", monkeypatch)
    source = webcam(cameras(tmp_path)[0], "0", Format(), kind, tmp_path, open_limit_s=0.4)
    assert next(iter(source)).image.shape == (720, 1280, 3)
    source.close()
    assert calls.read_text() == "\n"


def test_a_hanging_camera_takes_no_longer_than_the_time_out(tmp_path: Path, plug: Callable, kind: type) -> None:
    plug(tmp_path, 0, "Cam")
    kind.open_takes_s = 1.0
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError, match=r"video0: the camera does not answer\. Unplug it"):
        first(0.3, kind, tmp_path)
    assert time.monotonic() - started_s < 0.6


def test_without_cameras_the_search_is_quick_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine has cameras")
    started_s = time.monotonic()
    with pytest.raises(SourceNotFoundError, match=r"^no camera was found\. Plug one in"):
        first_webcam(2.0)
    assert time.monotonic() - started_s < 0.5
    assert capfd.readouterr() == ("", "")
