"""JPEG cameras on a Jetson: a webcam's and a network camera's pictures through the pipeline with software in NVIDIA's place."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.errors import SourceOpenError
from realtime.sources import open_source
from realtime.sources.common.jpeg_decoding import JpegDecoder
from realtime.sources.street.scene import Street
from realtime.sources.synthetic import read_stamp
from realtime.sources.webcam import Format, cameras, webcam
from realtime.types import Frame
from tests.fakes.jetson_gst import JetsonGst, jetson_gst

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pipes are those of Linux")
WIDTH, HEIGHT = 640, 368


def _picture(number: int) -> np.ndarray:
    """Its number as a brightness, in steps that no compression hides."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[:, : WIDTH // 2] = 10 + 4 * (number % 60)
    return image


def _jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", _picture(number), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _number(frame: Frame) -> int:
    return round((float(frame.image[:, : WIDTH // 2 - 20].mean()) - 10) / 4)


@pytest.fixture
def gst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JetsonGst:
    return jetson_gst(tmp_path, monkeypatch)


@pytest.fixture
def camera(kind: type) -> type:
    """One that leaves its JPEG files to others when it is asked to."""

    class JpegCamera(kind):  # type: ignore[misc]
        numbers: Iterator[int] = count()

        def grab(self) -> bool:
            time.sleep(0.02)
            return True

        def retrieve(self) -> tuple[bool, Any]:
            number = next(self.numbers)
            if self.get(cv2.CAP_PROP_CONVERT_RGB) == 0 and cv2.CAP_PROP_CONVERT_RGB in self.properties:
                return True, np.frombuffer(_jpeg(number), np.uint8)[None]
            return True, _picture(number)

    return JpegCamera


def _frames(source: Any, most: int, until: str = "") -> list[Frame]:
    """As many, or until that decodes, and ten more."""
    frames: list[Frame] = []
    left = most
    for frame in source:
        frames.append(frame)
        if until and source.status.decoder == until:
            until, left = "", len(frames) + 10
        if len(frames) >= left:
            break
    return frames


def test_a_webcams_pictures_come_in_order_first_from_the_cpu_then_from_the_gpu(
    gst: JetsonGst, tmp_path: Path, plug: Callable, camera: type
) -> None:
    plug(tmp_path, 0, "HD Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(), camera, tmp_path)
    frames = _frames(source, 400, "nvv4l2decoder")
    assert source.status.decoder == "nvv4l2decoder"
    assert source.status.detail.startswith("640x368 MJPG")
    assert source.status.detail.endswith(", decoded by nvv4l2decoder")
    numbers = [_number(frame) for frame in frames]
    assert numbers == [number % 60 for number in range(len(frames))], "none is lost, doubled or late"
    assert np.abs(frames[-1].image.astype(int) - _picture(numbers[-1])).mean() < 2
    source.close()
    assert "jpegparse ! nvv4l2decoder mjpeg=1 ! nvvidconv" in gst.calls[0]


def test_a_webcams_damaged_jpeg_is_rejected(gst: JetsonGst, tmp_path: Path, plug: Callable, camera: type) -> None:
    class DamagedCamera(camera):  # type: ignore[misc]
        given: Iterator[int] = count(1)

        def retrieve(self) -> tuple[bool, Any]:
            is_read, image = super().retrieve()
            return is_read, image[:, 100:] if next(self.given) % 3 == 0 else image

    plug(tmp_path, 0, "HD Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(), DamagedCamera, tmp_path)
    shapes = [frame.image.shape for frame in islice(source, 40)]
    assert set(shapes) == {(HEIGHT, WIDTH, 3)}
    assert source.status.rejected["not a JPEG picture"] > 10
    source.close()


def test_where_it_dies_the_cpu_decodes_what_was_in_it(gst: JetsonGst, caplog: pytest.LogCaptureFixture) -> None:
    decoder, found = JpegDecoder("camera", "auto"), []
    for number in range(600):
        found += decoder.pictures(_jpeg(number), number)
        if decoder.decoder == "nvv4l2decoder" and len(found) > 4:
            os.killpg(decoder._hardware._child._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            break
        time.sleep(0.01)
    for later in range(number + 1, number + 6):
        found += decoder.pictures(_jpeg(later), later)
    assert [picture.received_ns for picture in found] == list(range(number + 6))
    assert decoder.decoder == "CPU"
    assert "nvv4l2decoder fails (" in caplog.text
    decoder.close()


def test_other_pictures_than_the_cpus_are_not_shown(gst: JetsonGst, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    gst.plan(nvvidconv="videobalance brightness=0.3 ! videoconvert")
    decoder, found = JpegDecoder("camera", "auto"), []
    for number in range(600):
        found += decoder.pictures(_jpeg(number), number)
        if not decoder._may:
            break
        time.sleep(0.01)
    assert "its first picture differs from the CPU's" in caplog.text
    assert [picture.received_ns for picture in found] == list(range(len(found)))
    assert all(abs(picture.image.mean() - _picture(at).mean()) < 3 for at, picture in enumerate(found))  # type: ignore[union-attr]


def test_a_damaged_picture_is_one_less(gst: JetsonGst) -> None:
    decoder, found = JpegDecoder("camera", "auto"), []
    for number in range(600):
        found += decoder.pictures(_jpeg(number), number)
        if decoder.decoder != "CPU":
            break
        time.sleep(0.01)
    begun = len(found)
    for later in range(20):
        found += decoder.pictures(_jpeg(later)[:40] if later == 5 else _jpeg(later), 10_000 + later)
        time.sleep(0.03)
    decoder.close()
    times = [picture.received_ns for picture in found[begun:] if picture.image is not None]
    assert times == sorted(times)
    assert len(times) >= 15


def test_a_network_camera(gst: JetsonGst, http_server: Any) -> None:
    street = Street(Size(WIDTH, HEIGHT), objects=2, seed=1)
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, street)
    source = open_source(http_server.url("/live", "admin:hunter2@"))
    frames = _frames(source, 300, "nvv4l2decoder")
    assert source.status.decoder == "nvv4l2decoder"
    stamps = [read_stamp(frame.image) for frame in frames]
    assert all(later > earlier for earlier, later in pairwise(stamps)), "none is doubled or late"
    assert source.status.detail == "640x368 MJPEG, decoded by nvv4l2decoder"
    source.close()


def test_without_the_elements_the_camera_decodes_as_before_and_gpu_is_an_error(
    gst: JetsonGst, tmp_path: Path, plug: Callable, camera: type
) -> None:
    gst.without("nvv4l2decoder")
    plug(tmp_path, 0, "HD Cam")
    source = webcam(cameras(tmp_path)[0], "0", Format(), camera, tmp_path)
    assert len(list(islice(source, 3))) == 3
    assert source.status.decoder == "CPU"
    source.close()
    assert gst.calls == []
    with pytest.raises(SourceOpenError, match=r"^0: .* cannot be decoded on a GPU \(GStreamer has no nvv4l2decoder\)"):
        next(iter(webcam(cameras(tmp_path)[0], "0", Format(), camera, tmp_path, decode="gpu")))
