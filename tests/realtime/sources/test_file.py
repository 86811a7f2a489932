from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.errors import SourceLostError, SourceNotFoundError, SourceOpenError
from realtime.sources import open_source
from realtime.sources.synthetic import read_stamp


def test_every_frame_in_order_with_its_own_time(clip: Path, images_50: list[np.ndarray]) -> None:
    source = open_source(str(clip))
    assert (source.is_live, source.fps, source.frame_count) == (False, 25.0, 50)
    assert source.status.detail == "320x180 h264 25 fps"
    frames = list(source)
    assert [read_stamp(frame.image) for frame in frames] == list(range(50))
    assert [frame.index for frame in frames] == list(range(50))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(50)])
    assert source.status.state == "ended"
    assert source.status.detail == ""
    assert np.abs(frames[20].image.astype(int) - images_50[20]).mean() < 6
    source.close()


def test_a_variable_frame_rate_keeps_its_times(clips: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]) -> None:
    pts = [0, 1, 5, 6, 30, 31, 32, 60]
    source = open_source(str(encoder(clips / "variable.mkv", images_50[:8], pts)))
    assert [frame.pts_s for frame in source] == pytest.approx([number / 25 for number in pts], abs=0.002)


@pytest.mark.parametrize("keep", [0.75, 0.5])
def test_a_truncated_file_yields_what_decodes_and_reports_it(clip: Path, tmp_path: Path, keep: float) -> None:
    cut = tmp_path / "cut.mp4"
    data = clip.read_bytes()
    cut.write_bytes(data[: int(len(data) * keep)])
    source = open_source(str(cut))
    frames = list(source)
    assert 5 < len(frames) < 50
    assert source.status.detail.startswith("ended early: at ")
    assert "of 2.0 s" in source.status.detail


def test_damage_in_the_middle_is_counted_and_skipped(clip: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    data = bytearray(clip.read_bytes())
    rng = np.random.default_rng(1)
    for at in rng.integers(len(data) // 2, len(data) * 3 // 4, 400):
        data[at] ^= 0xFF
    damaged.write_bytes(data)
    source = open_source(str(damaged))
    frames = list(source)
    assert len(frames) > 20
    assert "damaged packet" in source.status.detail


@pytest.mark.parametrize("exhaust", [lambda: bytes(1 << 60), lambda: cv2.resize(np.zeros((1, 1), np.uint8), (1 << 30, 1 << 22))])
def test_memory_that_runs_out_is_no_damage(clip: Path, monkeypatch: pytest.MonkeyPatch, exhaust: Callable[[], object]) -> None:
    """Told as damage, the rest of the recording would be missing without an error."""
    source = open_source(str(clip))
    frames = iter(source)
    next(frames)
    monkeypatch.setattr("realtime.sources.common.container.raw_of", lambda *_: exhaust())
    with pytest.raises(SourceLostError, match="not enough memory"):
        next(frames)


def test_random_damage_never_crashes(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    path = tmp_path / "x.mp4"
    opened = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        broken = np.frombuffer(data, np.uint8).copy()
        hits = rng.random(len(broken)) < 1e-3
        broken[hits] ^= rng.integers(1, 256, int(hits.sum()), dtype=np.uint8)
        path.write_bytes(broken.tobytes()[: len(data) if seed % 2 else int(rng.integers(1, len(data)))])
        with contextlib.suppress(SourceOpenError):
            source = open_source(str(path))
            times = [frame.pts_s for frame in source]
            opened += 1
            assert times == sorted(set(times))
            source.close()
    assert opened > 10


def test_a_file_that_is_not_a_video_is_rejected_with_a_reason(tmp_path: Path, clip: Path) -> None:
    for name, data in {
        "noise.mp4": np.random.default_rng(0).bytes(100_000),
        "text.mp4": b"hello, this is a letter\n" * 200,
        "headless.mp4": clip.read_bytes()[5000:],
        "empty.mp4": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceOpenError, match=name) as caught:
            open_source(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    samples = (np.sin(np.arange(8000) / 10) * 9000).astype("<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", len(samples)
    )
    (tmp_path / "sound.wav").write_bytes(head + samples)
    with pytest.raises(SourceOpenError, match=r"sound\.wav: it contains no video"):
        open_source(str(tmp_path / "sound.wav"))


def test_the_resolution_may_change_in_mid_stream(
    tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]
) -> None:
    sizes = [(320, 180), (160, 120), (480, 270)]
    parts = []
    for number, size in enumerate(sizes):
        images = [cv2.resize(image, size) for image in images_50[:8]]
        parts.append(encoder(tmp_path / f"{number}.h264", images, tune="zerolatency").read_bytes())
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(parts))
    shapes = [frame.image.shape for frame in open_source(str(joined))]
    assert shapes == [(height, width, 3) for width, height in sizes for _ in range(8)]


@pytest.mark.parametrize(("turn", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))])
def test_a_phone_video_is_upright(clip: Path, tmp_path: Path, turn: int, matrix: tuple[int, ...]) -> None:
    """The clip's track header gets the display matrix that a phone writes; frames must come out turned clockwise by it."""
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 36
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    plain = next(iter(open_source(str(clip)))).image
    turned = next(iter(open_source(str(tmp_path / "phone.mp4")))).image
    assert np.array_equal(turned, np.rot90(plain, -turn // 90))


def test_colours_are_right_in_every_pixel_format(tmp_path: Path, encoder: Callable[..., Path]) -> None:
    image = np.zeros((96, 130, 3), np.uint8)  # odd chroma sizes when halved again
    image[:, :65] = (40, 60, 200)
    image[:, 65:] = (200, 160, 30)
    for name, codec in (("a.mp4", "libx264"), ("b.avi", "mjpeg"), ("c.mkv", "ffv1")):
        frame = next(iter(open_source(str(encoder(tmp_path / name, [image] * 3, codec=codec)))))
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image[20:60, 10:50].mean(axis=(0, 1)) - (40, 60, 200)).max() < 8, name
        assert np.abs(frame.image[20:60, 80:120].mean(axis=(0, 1)) - (200, 160, 30)).max() < 8, name


def test_a_loop_never_ends_and_its_time_and_index_rise(clip: Path) -> None:
    source = open_source(f"{clip}?loop=1")
    assert source.frame_count is None
    frames = list(islice(source, 120))
    assert [frame.index for frame in frames] == list(range(120))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(120)])
    assert [read_stamp(frame.image) for frame in frames] == [index % 50 for index in range(120)]
    source.close()


def test_unusual_file_names_open(clip: Path, tmp_path: Path) -> None:
    for name in ("a:b.mp4", "50%.mp4", "what?.mp4", "häß #1.mp4"):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        assert next(iter(open_source(str(path)))).image.shape == (180, 320, 3)


def test_a_missing_file_of_the_file_scheme(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no such file"):
        open_source(f"file://{tmp_path}/no.mp4")
