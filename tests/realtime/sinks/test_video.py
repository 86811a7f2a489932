"""Videos read back: pictures, times, sizes, and what a killed program leaves."""

from __future__ import annotations

import random
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from realtime.sinks import StreamFacts, open_sinks
from realtime.sinks.common.encoders import TICKS_PER_S, cpus_encoder
from realtime.sinks.video import PresentationTimes, VideoSink
from realtime.types import Canvas

every_suffix = pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])


def read(path: Path):
    """All pictures (BGR), their times in seconds and which are keyframes."""
    with av.open(str(path)) as film:
        frames = [(f.to_ndarray(format="bgr24"), f.time, f.key_frame) for f in film.decode(video=0)]
    images, times_s, keys = zip(*frames, strict=True)
    return images, np.array(times_s), np.array(keys)


def record(path: Path, pictures, fps=30.0):
    (sink,) = open_sinks({"video": path}, StreamFacts(fps=fps))
    for result, canvas in pictures:
        sink.write(result, canvas)
    sink.close()


def at(picture, pts_s: float):
    result, canvas = picture
    return result, Canvas(canvas.image, canvas.index, pts_s, 0)


@every_suffix
def test_pictures_and_times_come_back(suffix, tmp_path, make_picture):
    path, count = tmp_path / f"o{suffix}", 75
    generator = random.Random(3)
    true_s, now_s = [], 12.5  # a recording that starts in the middle of a stream of changing frame rate, with one gap
    for index in range(count):
        true_s.append(now_s)
        now_s += generator.uniform(0.01, 0.12) + (3.0 if index == 40 else 0)
    record(path, (at(make_picture(i), t) for i, t in enumerate(true_s)))
    images, times_s, keys = read(path)
    assert len(images) == count
    resolution_s = 0.001 if suffix == ".mkv" else 1 / TICKS_PER_S  # Matroska counts milliseconds
    assert np.abs(times_s - (np.array(true_s) - true_s[0])).max() <= resolution_s
    assert min(cv2.PSNR(image, make_picture(i)[1].image) for i, image in enumerate(images)) > 30
    assert keys[0]
    since_key_s = [t - times_s[: i + 1][keys[: i + 1]].max() for i, t in enumerate(times_s)]
    assert max(since_key_s) < 2.0
    reader = cv2.VideoCapture(str(path))
    assert sum(1 for _ in iter(lambda: reader.read()[0], False)) == count


def test_colours_come_back(tmp_path, make_picture):
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (30, 120, 200), (255, 255, 255), (0, 0, 0)]
    pictures = []
    for index, colour in enumerate(colours):
        result, _ = make_picture(index)
        pictures.append((result, Canvas(np.full((720, 1280, 3), colour, np.uint8), index, index / 30, 0)))
    record(tmp_path / "o.mp4", pictures)
    for image, colour in zip(read(tmp_path / "o.mp4")[0], colours, strict=True):
        assert np.abs(image.mean(axis=(0, 1)) - colour).max() < 6


def test_odd_sizes_lose_no_pixel(tmp_path, make_picture):
    record(tmp_path / "o.mp4", (make_picture(i, 161, 121) for i in range(3)))
    for index, image in enumerate(read(tmp_path / "o.mp4")[0]):
        assert image.shape == (122, 162, 3)
        assert cv2.PSNR(image[:121, :161], make_picture(index, 161, 121)[1].image) > 30


def test_a_new_size_is_fitted_into_the_first(tmp_path, make_picture):
    sizes = [(160, 120), (160, 120), (320, 120), (80, 120), (161, 121), (1, 1)]
    record(tmp_path / "o.mp4", (make_picture(i, *size) for i, size in enumerate(sizes)))
    images, _, _ = read(tmp_path / "o.mp4")
    assert {image.shape for image in images} == {(120, 160, 3)}
    wide, tall = images[2].astype(int), images[3].astype(int)
    assert max(wide[:25].max(), wide[-25:].max(), tall[:, :35].max(), tall[:, -35:].max()) < 20
    assert min(wide[35:85].mean(), tall[:, 45:115].mean()) > 40


@pytest.mark.parametrize(
    "times_s", [(5.0, 5.0, 5.0, 5.1), (100.0, 100.1, -3500.0, -3499.9), (float("nan"), 1.0, float("nan"), 1.1)]
)
def test_bad_times_still_rise(times_s):
    clock = PresentationTimes(25.0)
    ticks = [clock.ticks(t) for t in times_s]
    assert ticks[0] == 0
    assert all(step >= TICKS_PER_S // 25 for step in np.diff(ticks))
    assert ticks[-1] < TICKS_PER_S


def test_the_encoder_is_h264_here_and_says_so(tmp_path, make_picture):
    sink = VideoSink(tmp_path / "o.mp4", 30)
    sink.write(*make_picture(0))
    sink.close()
    assert sink.encoder == cpus_encoder() == "libx264"


def test_the_fallback_encoder_writes_playable_films(tmp_path, make_picture):
    sink = VideoSink(tmp_path / "o.mp4", 30)
    sink.encoder = "mpeg4"
    for index in range(20):
        sink.write(*make_picture(index))
    sink.close()
    images, times_s, _ = read(tmp_path / "o.mp4")
    assert len(images) == 20
    assert times_s[-1] == pytest.approx(19 / 30, abs=1e-4)
    assert min(cv2.PSNR(image, make_picture(i)[1].image) for i, image in enumerate(images)) > 28
