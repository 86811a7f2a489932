"""What players show: upright, not mirrored, with square pixels; also where that changes in mid-stream."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.sources import open_source
from realtime.sources.common.geometry import FrameAspect, plausible_aspect, square_size

FPS = 25


def corners(width: int, height: int) -> np.ndarray:
    """Blue, green, red and white in the corners, in reading order, on grey."""
    image = np.full((height, width, 3), 128, np.uint8)
    w, h = width // 4, height // 4
    image[:h, :w], image[:h, -w:], image[-h:, :w], image[-h:, -w:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    return image


def write(
    path: Path, image: np.ndarray, aspect: Fraction | None = None, turn: tuple[float, bool, bool] | None = None, frames: int = 2
) -> Path:
    """turn: degrees counter-clockwise, then mirrored horizontally, vertically."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "1"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv444p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            stream.set_display_rotation(*turn)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_all_ways_to_lay_a_picture(tmp_path: Path, degrees: int, flips: tuple[bool, bool], suffix: str) -> None:
    image = corners(64, 48)
    expected = np.rot90(image, degrees // 90)
    expected = expected[:, ::-1] if flips[0] else expected
    expected = expected[::-1] if flips[1] else expected
    shown = next(iter(open_source(str(write(tmp_path / f"a{suffix}", image, turn=(degrees, *flips)))))).image
    assert shown.shape == expected.shape
    assert shown.flags.c_contiguous
    assert np.abs(shown.astype(int) - expected).max() < 30, "the corners have their colours"


@pytest.mark.parametrize(
    ("aspect", "shown"),
    [
        (Fraction(64, 45), (1024, 576)),
        (Fraction(16, 15), (768, 576)),
        (Fraction(8, 9), (720, 648)),
        (Fraction(1, 2), (720, 1152)),
        (Fraction(1), (720, 576)),
        (None, (720, 576)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction | None, shown: tuple[int, int], suffix: str) -> None:
    image = np.zeros((576, 720, 3), np.uint8)
    cv2.ellipse(image, (360, 288), (90, 90), 0, 0, 360, (255, 255, 255), -1)
    source = open_source(str(write(tmp_path / f"a{suffix}", image, aspect, frames=1)))
    frame = next(iter(source))
    assert frame.image.shape[1::-1] == shown
    rows, columns = np.nonzero(frame.image[..., 0] > 128)
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(float(aspect or 1), rel=0.02)
    assert ("stored as 720x576" in source.status.detail) == (shown != (720, 576))


def test_a_turned_picture_with_oblong_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", corners(64, 48), Fraction(2), (90, False, False))
    assert next(iter(open_source(str(path)))).image.shape == (128, 48, 3)


def test_key_frames_that_never_come_out_take_no_memory() -> None:
    aspects, packet = FrameAspect(Fraction(1)), av.Packet(1)
    packet.is_keyframe = True
    tracemalloc.start()
    for packet.pts in range(20_000):
        aspects.feed(packet)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 50_000


def test_aspects_that_no_camera_makes_are_ignored() -> None:
    for wrong in (None, Fraction(0), Fraction(1, 1000), Fraction(99), Fraction(-4, 3)):
        assert plausible_aspect(wrong) == 1
    assert square_size(Size(8192, 6144), Fraction(4)) == Size(8192, 1536), "no picture grows without limit"


PARTS = {
    "libx264": (((96, 64), Fraction(4, 3)), ((96, 64), Fraction(1)), ((64, 48), Fraction(1)), ((128, 96), Fraction(4, 3))),
    "mpeg2video": (((96, 64), Fraction(8, 9)), ((96, 64), Fraction(32, 27))),  # 4:3, 16:9; it can state no others
}
PART_FRAMES = 12


@pytest.mark.parametrize(("codec_name", "gop"), [("libx264", "1"), ("libx264", "12"), ("mpeg2video", "12")])
def test_size_and_aspect_may_change_in_mid_stream(tmp_path: Path, codec_name: str, gop: str) -> None:
    """A broadcast of several parts, with pictures that are coded out of order."""
    path, parts = tmp_path / "joined.ts", PARTS[codec_name]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec_name, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *parts[0][0], "yuv420p"
        for part, (size, pixel) in enumerate(parts):
            codec = av.CodecContext.create(codec_name, "w")
            codec.width, codec.height, codec.pix_fmt, codec.framerate = *size, "yuv420p", Fraction(FPS)
            codec.time_base, codec.sample_aspect_ratio = Fraction(1, FPS), pixel
            codec.options = {"g": gop, "bf": "2" if gop != "1" else "0"}
            for number in range(PART_FRAMES + 1):
                frame = av.VideoFrame.from_ndarray(corners(*size), format="bgr24") if number < PART_FRAMES else None
                if frame is not None:
                    frame.pts = part * PART_FRAMES + number
                for packet in codec.encode(frame):
                    packet.stream, packet.time_base = stream, Fraction(1, FPS)
                    packet.dts = (packet.dts or 0) - 2
                    container.mux(packet)
    frames = list(open_source(str(path)))
    assert [frame.index for frame in frames] == list(range(len(parts) * PART_FRAMES))
    for frame in frames:
        size, pixel = parts[frame.index // PART_FRAMES]
        assert frame.image.shape[1::-1] == (round(size[0] * max(pixel, 1)), round(size[1] / min(pixel, 1))), frame.index
