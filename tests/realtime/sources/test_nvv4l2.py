"""A Jetson's decoder: the real pipeline through the real GStreamer, with software in the place of NVIDIA's two elements."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Size
from realtime.codecs import gdp
from realtime.errors import SourceOpenError
from realtime.sources import open_source
from realtime.sources.common import nvdec, nvv4l2
from realtime.types import Frame
from tests.fakes.jetson_gst import JetsonGst, jetson_gst

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pipes are those of Linux")


@pytest.fixture
def gst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JetsonGst:
    if not nvdec.lacks("h264"):
        pytest.skip("NVDEC comes first here")
    return jetson_gst(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, hard_clip: Callable) -> tuple[Path, list[Frame]]:
    """A hard one, and what the CPU makes of it."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    hard_clip(path)
    return path, list(open_source(str(path), decode="cpu"))


def _equal(found: list[Frame], wanted: list[Frame], most: int = 0) -> bool:
    assert [(frame.index, frame.pts_s) for frame in found] == [(frame.index, frame.pts_s) for frame in wanted]
    return all(np.abs(a.image.astype(int) - b.image).max() <= most for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("name", "codec", "options", "most"),
    [
        ("clip.mp4", "libx264", {}, 0),
        ("clip.ts", "libx264", {}, 0),
        ("clip.mkv", "libx265", {"x265-params": "log-level=error"}, 0),
        ("clip.avi", "mjpeg", {"q": "3"}, 6),
    ],
    ids=["h264 in mp4", "h264 in ts", "h265 in mkv", "jpeg in avi"],
)
def test_pictures_numbers_and_times_are_the_cpus(
    gst: JetsonGst, tmp_path: Path, hard_clip: Callable, name: str, codec: str, options: dict, most: int
) -> None:
    """Of JPEG another decoder's, to some levels."""
    hard_clip(tmp_path / name, codec, **options)
    wanted = list(open_source(str(tmp_path / name), decode="cpu"))
    handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    source = open_source(str(tmp_path / name))
    assert source.status.detail.endswith(", decoded by nvv4l2decoder")
    found = list(source)
    assert source.status.decoder == "nvv4l2decoder"
    assert _equal(found, wanted, most)
    assert len(found) == 36
    source.close()
    assert len(os.listdir("/proc/self/fd")) == handles  # noqa: PTH208
    assert len(gst.calls) == 1
    assert str(tmp_path) not in gst.calls[0], "what is read stays in this program: a password in it, too"


@pytest.mark.parametrize("after", [1, 13])
def test_where_it_dies_the_cpu_goes_on_without_losing_a_picture(
    gst: JetsonGst, clip: tuple, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    monkeypatch.setattr(nvv4l2, "_MOST_INSIDE", 8)  # or it has decoded all before the first is taken
    path, wanted = clip
    source, found = open_source(str(path)), list[Frame]()
    hardware = source._stream._decoder._hardware  # type: ignore[attr-defined]
    for frame in source:
        found.append(frame)
        if len(found) == after:
            os.killpg(hardware._child._process.pid, signal.SIGKILL)
    assert _equal(found, wanted)
    assert source.status.decoder == "CPU"
    assert "nvv4l2decoder fails (it has ended); the CPU decodes from here on" in caplog.text


@pytest.mark.parametrize(
    ("swapped", "reason"),
    [
        ({"nvvidconv": "videobalance brightness=0.3 ! videoconvert"}, "its first picture differs from the CPU's"),
        ({"nvvidconv": "videoscale ! video/x-raw,width=320,height=184 ! videoconvert"}, "its first picture differs"),
        ({"nvv4l2decoder": "avdec_h263"}, "could not link|Internal data stream error|it has ended"),
        ({"nvv4l2decoder": "no_such_element"}, 'no element "no_such_element"'),
    ],
    ids=["colours", "size", "codec", "element"],
)
def test_what_it_cannot_do_the_cpu_does(
    gst: JetsonGst, clip: tuple, caplog: pytest.LogCaptureFixture, swapped: dict, reason: str
) -> None:
    gst.plan(**swapped)
    path, wanted = clip
    source = open_source(str(path))
    assert source.status.decoder == "CPU"
    assert _equal(list(source), wanted)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(reason, warning), warning


def test_a_gpu_that_failed_is_not_asked_again_when_a_clip_is_repeated(
    gst: JetsonGst, clip: tuple, caplog: pytest.LogCaptureFixture
) -> None:
    gst.plan(nvv4l2decoder="no_such_element")
    source = open_source(f"file://{clip[0]}?loop=1")
    assert [frame.index for frame in islice(source, 100)] == list(range(100))
    source.close()
    assert len(gst.calls) == 1
    assert caplog.text.count("the CPU decodes") == 1


def test_other_times_than_the_streams_are_noticed(gst: JetsonGst, clip: tuple) -> None:
    gst.plan(nvvidconv="videorate ! video/x-raw,framerate=20/1 ! videoconvert")
    path, wanted = clip
    source = open_source(str(path))
    assert _equal(list(source), wanted)
    assert source.status.decoder == "CPU"


def test_where_a_gpu_must_decode_and_cannot_it_is_an_error(gst: JetsonGst, clip: tuple) -> None:
    gst.plan(nvvidconv="videobalance brightness=0.3 ! videoconvert")
    with pytest.raises(SourceOpenError, match=r"cannot be decoded on a GPU \(nvv4l2decoder: its first .*Use --decode auto"):
        open_source(str(clip[0]), decode="gpu")


def test_a_broken_file_counts_the_same_losses(gst: JetsonGst, tmp_path: Path, hard_clip: Callable) -> None:
    hard_clip(tmp_path / "clip.ts")
    data, generator = bytearray((tmp_path / "clip.ts").read_bytes()), random.Random(2)
    at = generator.randrange(len(data) // 2, len(data) * 2 // 3) // 188 * 188
    del data[at : at + 188 * 40]
    (tmp_path / "broken.ts").write_bytes(data)
    whole, other = (open_source(str(tmp_path / "broken.ts"), decode=decode) for decode in ("cpu", "auto"))  # type: ignore[arg-type]
    assert other.status.decoder == "nvv4l2decoder"
    wanted, found = list(whole), list(other)
    assert abs(len(found) - len(wanted)) <= 3, "what a decoder makes of a picture whose reference is missing is its own"
    assert "lost" in other.status.detail or len(found) == 36


def test_a_live_stream(gst: JetsonGst, rtsp_servers: Callable) -> None:
    server = rtsp_servers(size=Size(640, 368), password="hunter2")
    source = open_source(server.url("admin:hunter2@"))
    frames = list(islice(source, 15))
    assert source.status.decoder == "nvv4l2decoder"
    assert [frame.index for frame in frames] == list(range(15))
    source.close()
    assert "disable-dpb=1" in gst.calls[0], "without pictures in another order none needs to be held back"
    assert not any("hunter2" in call for call in gst.calls)


def test_a_stream_that_changes_its_size_goes_on(gst: JetsonGst, rtsp_servers: Callable) -> None:
    server = rtsp_servers(size=Size(640, 368))
    source = open_source(server.url())
    shapes = []
    for frame in islice(source, 200):
        shapes.append(frame.image.shape)
        server.size = Size(800, 400)
        if frame.image.shape == (400, 800, 3):
            break
    assert shapes[-1] == (400, 800, 3)
    assert source.status.decoder == "CPU"
    source.close()


@pytest.mark.parametrize("element", ["nvv4l2decoder", "nvvidconv", "gdppay", "h264parse"])
def test_what_is_missing_is_named(gst: JetsonGst, element: str) -> None:
    gst.without(element)
    assert nvv4l2.lacks("h264") == f"GStreamer has no {element}"
    assert nvv4l2.lacks("prores") == "nvv4l2decoder is given no prores"


@pytest.mark.parametrize(
    ("codec", "is_live", "text"),
    [
        ("h264", False, "h264parse ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12"),
        ("hevc", True, "h265parse ! nvv4l2decoder disable-dpb=1 ! nvvidconv ! video/x-raw,format=NV12"),
        ("vp9", True, "nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12"),
        ("mjpeg", True, "jpegparse ! nvv4l2decoder mjpeg=1 ! nvvidconv ! video/x-raw,format=NV12"),
    ],
)
def test_the_pipeline(gst: JetsonGst, codec: str, is_live: bool, text: str) -> None:
    assert nvv4l2.pipeline(codec, is_live=is_live, reorders=False) == text
    assert "disable-dpb" not in nvv4l2.pipeline(codec, is_live=is_live, reorders=True)


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 2**62), st.booleans()), max_size=6), st.randoms())
def test_buffers_come_back_from_the_protocol_in_any_pieces(parts: list, generator: random.Random) -> None:
    stream = gdp.opening("video/x-raw, format=(string)NV12, width=(int)64, pixel-aspect-ratio=(fraction)4/3")
    for data, pts_ns, is_key in parts:
        stream += gdp.header(len(data), pts_ns, is_key=is_key) + data
    reader, found, at = gdp.Reader(), [], 0
    while at < len(stream):
        count = min(len(reader.room), generator.randint(1, 200), len(stream) - at)
        reader.room[:count] = stream[at : at + count]
        at += count
        if (buffer := reader.filled(count)) is not None:
            found.append(buffer)
    assert reader.is_between
    assert [(buffer.data.tobytes(), buffer.pts_ns) for buffer in found] == [(data, pts_ns) for data, pts_ns, _ in parts]
    assert all(b.caps == {"media": "video/x-raw", "format": "NV12", "width": "64", "pixel-aspect-ratio": "4/3"} for b in found)


@given(st.binary(min_size=62, max_size=62))
def test_what_is_no_such_stream_is_an_error(data: bytes) -> None:
    reader = gdp.Reader()
    reader.room[:] = data
    if data[0] != 1:
        with pytest.raises(ValueError, match="not what gdppay writes"):
            reader.filled(62)


def test_a_stream_without_key_frames_is_the_cpus(
    gst: JetsonGst, clip: tuple, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of cameras that refresh a strip of each picture: the CPU shows what it can."""
    from realtime.sources.common import hardware

    monkeypatch.setattr(hardware, "_MOST_SKIPPED", 5)
    monkeypatch.setattr(hardware.StreamDecoder, "_begins", lambda self, packet: False)
    source = open_source(str(clip[0]))
    frames = list(source)
    assert source.status.decoder == "CPU"
    assert len(frames) >= 20
    assert "no key frame comes" in caplog.text
