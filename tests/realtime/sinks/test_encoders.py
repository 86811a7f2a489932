"""Encoders beside the CPU's: what is there and does not work falls back; a Jetson's pipeline with software in NVIDIA's place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Size
from realtime.cli import main
from realtime.errors import SinkError
from realtime.sinks import StreamFacts, check_outputs, open_sinks
from realtime.sinks.common import encoders
from realtime.sinks.video import VideoSink
from realtime.types import Canvas
from tests.fakes.jetson_gst import JetsonGst, jetson_gst

needs_no_gpu = pytest.mark.skipif(not encoders._nvenc_lacks(), reason="this machine has NVENC")
WIDTH, HEIGHT = 640, 362  # rows of the chroma planes are padded in GStreamer, and H.264 crops


@pytest.fixture
def gst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JetsonGst:
    if not encoders._nvenc_lacks():
        pytest.skip("NVENC comes first here")
    encoders._nvv4l2_fails.cache_clear()
    return jetson_gst(tmp_path, monkeypatch)


def canvases(make_picture, count: int, width: int = WIDTH, height: int = HEIGHT):
    """At uneven times: a gap, then another rate."""
    for index in range(count):
        result, canvas = make_picture(index, width, height)
        image = cv2.GaussianBlur(canvas.image, (0, 0), 2)
        yield result, Canvas(image, index, 5.0 + index / 30 + (2.0 if index > 10 else 0), 0)


def written(path: Path, pictures, encoder: str = "auto") -> str:
    (sink,) = open_sinks({"video": path}, StreamFacts(fps=30.0, encoder=encoder))
    for result, canvas in pictures:
        sink.write(result, canvas)
    sink.close()
    return sink.encoder


def read(path: Path):
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = [(frame.to_ndarray(format="bgr24"), frame.time, frame.key_frame) for frame in film.decode(stream)]
        facts = stream.codec_context.color_range, stream.codec_context.colorspace, stream.codec_context.has_b_frames
    return frames, facts


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("width", [640, 642])
def test_a_jetsons_film_has_every_picture_at_its_time_in_its_colours(gst, tmp_path, make_picture, suffix, width):
    path, count = tmp_path / f"o{suffix}", 40
    pictures = list(canvases(make_picture, count, width))
    assert written(path, pictures) == "nvv4l2h264enc"
    frames, facts = read(path)
    assert facts == (1, 6, False)
    assert len(frames) == count
    times_s = np.array([time_s for _, time_s, _ in frames])
    wanted_s = np.array([canvas.pts_s for _, canvas in pictures]) - 5.0
    assert np.abs(times_s - wanted_s).max() <= (0.001 if suffix == ".mkv" else 1 / encoders.TICKS_PER_S)
    assert min(cv2.PSNR(image, canvas.image) for (image, _, _), (_, canvas) in zip(frames, pictures, strict=True)) > 28
    assert frames[0][2]
    assert sum(is_key for *_, is_key in frames) > 1, "the stand-in makes one every 15 frames, and they are marked as such"
    with av.open(str(path)) as film:
        assert [packet.is_keyframe for packet in film.demux(video=0) if packet.size][::15] == [True] * 3


def test_what_a_jetson_writes_plays_after_a_kill(gst, tmp_path, make_picture):
    """Its part is complete up to the last second, and the child ends with this program."""
    program = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parents[3])!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from conftest import picture
from engines.types import Size
from realtime.codecs import presence
from realtime.sinks.video import VideoSink
from realtime.types import Canvas
presence.ROOT = Path({str(tmp_path)!r})
sink = VideoSink(Path({str(tmp_path / "o.mp4")!r}), 30)
for index in range(120):
    result, canvas = picture(index, Size({WIDTH}, {HEIGHT}))
    sink.write(result, Canvas(canvas.image, index, index / 30, 0))
print(sink.encoder, sink._film._encoder._child._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("nvv4l2h264enc "), done.stderr
    with av.open(str(tmp_path / ".o.part.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 60
    child = int(done.stdout.split()[1])
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        os.sched_yield()
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the child still runs")


def test_an_encoder_that_is_there_and_does_not_work_is_replaced(gst, tmp_path, make_picture, caplog):
    """As on an Orin Nano, whose driver has the element and whose chip has no encoder."""
    gst.plan(nvv4l2h264enc="capsfilter caps=video/x-h264")
    assert written(tmp_path / "o.mp4", canvases(make_picture, 12)) == "libx264"
    assert len(read(tmp_path / "o.mp4")[0]) == 12
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("nvv4l2h264enc does not encode (")
    assert warning.endswith("); the CPU does")
    with pytest.raises(SinkError, match=r"video cannot be encoded on a GPU .*Use --encoder auto"):
        written(tmp_path / "p.mp4", canvases(make_picture, 2), "gpu")


def test_a_jetsons_encoder_that_dies_is_an_error_and_the_part_plays(gst, tmp_path, make_picture):
    gst.plan(nvv4l2h264enc="videoconvert ! openh264enc gop-size=15 ! identity error-after=25")
    encoders._nvv4l2_fails.cache_clear()
    sink = VideoSink(tmp_path / "o.mp4", 30)
    pictures = list(canvases(make_picture, 60))

    def write_all() -> None:
        for result, canvas in pictures:
            sink.write(result, canvas)

    with pytest.raises(SinkError, match="identity"):
        write_all()
    sink.close()
    assert not (tmp_path / "o.mp4").exists()
    with av.open(str(tmp_path / ".o.part.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) >= 10


def test_the_pipeline_of_a_jetson(gst, monkeypatch):
    asked = {"ratecontrol-enable", "quant-i-frames", "quant-p-frames", "iframeinterval", "idrinterval", "num-B-Frames"}
    monkeypatch.setattr(encoders, "has_property", lambda element, name: element == "nvv4l2h264enc" and name in asked)
    assert encoders.nvv4l2_pipeline(30.0) == (
        "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc ratecontrol-enable=0 quant-i-frames=23 "
        "quant-p-frames=25 num-B-Frames=0 iframeinterval=60 idrinterval=60 "
        "! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
    )


@needs_no_gpu
def test_without_a_gpu_the_cpu_encodes_and_gpu_is_an_error(tmp_path, make_picture, caplog, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level("INFO"):
        assert written(tmp_path / "o.mp4", canvases(make_picture, 3)) == "libx264"
    assert "encoded by the CPU (no NVIDIA driver" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    with pytest.raises(SinkError, match=r"cannot be encoded on a GPU \(no NVIDIA driver .*Use --encoder auto"):
        VideoSink(tmp_path / "p.mp4", 30, "gpu")


@needs_no_gpu
def test_nvenc_that_is_listed_and_does_not_open_is_replaced(tmp_path, make_picture, caplog, monkeypatch):
    """FFmpeg really tries to open it here, where there is no driver."""
    monkeypatch.setattr(encoders, "driver_lacks", lambda library: "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert written(tmp_path / "o.mp4", canvases(make_picture, 3)) == "libx264"
    assert "h264_nvenc does not encode (FFmpeg reports " in caplog.text


@needs_no_gpu
def test_a_gpu_that_must_encode_is_looked_for_before_the_model(tmp_path, capsys):
    out = tmp_path / "o.mp4"
    words = ["synthetic://street?frames=2", "--out", str(out), "--encoder", "gpu", "--model", str(tmp_path / "none.onnx")]
    assert main(["process", *words]) != 0
    assert "cannot be encoded on a GPU" in capsys.readouterr().err
    check_outputs({"video": out})
    check_outputs({"jsonl": tmp_path / "o.jsonl"}, encoder="gpu")


def test_a_worse_encoder_is_told_once(tmp_path, make_picture, caplog, monkeypatch):
    monkeypatch.setattr(encoders, "_exists", lambda name: name == "mpeg4")
    assert written(tmp_path / "o.mp4", canvases(make_picture, 3), "cpu") == "mpeg4"
    assert caplog.text.count("this PyAV has no libx264") == 1


def test_nvenc_knows_the_options_that_it_is_given():
    if not encoders._exists(encoders.NVENC):
        pytest.skip("this PyAV has no NVENC")
    codec = av.CodecContext.create(encoders.NVENC, "w")
    if not hasattr(codec, "supported_options"):
        pytest.skip("this PyAV does not list them")
    known = {option.name for kind in (codec.supported_options.private, codec.supported_options.generic) for option in kind}
    assert not set(encoders._NVENC_OPTIONS) - known


@given(st.integers(1, 40), st.integers(1, 20))
def test_planes_are_laid_out_as_gstreamer_has_them(half_width: int, half_height: int) -> None:
    width, height = 2 * half_width, 2 * half_height
    yuv = np.random.default_rng(0).integers(0, 256, (height * 3 // 2, width), np.uint8)
    found = encoders.laid_out(yuv, Size(width, height)).ravel()
    luma, chroma = -(-width // 4) * 4, -(-half_width // 4) * 4
    assert found.size == luma * height + chroma * height
    planes = [
        found[: luma * height].reshape(height, luma)[:, :width],
        found[luma * height :][: chroma * half_height].reshape(half_height, chroma)[:, :half_width],
        found[luma * height + chroma * half_height :].reshape(half_height, chroma)[:, :half_width],
    ]
    assert np.array_equal(np.concatenate([plane.ravel() for plane in planes]), yuv.ravel())
