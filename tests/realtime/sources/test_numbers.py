"""A picture keeps the number and the time that it has in the source, whatever of it is damaged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from realtime.sources import open_source
from realtime.sources.synthetic import read_stamp

FPS = 25


def packets(path: Path) -> list[tuple[int, int]]:
    """Byte and size of each packet, in file order."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def damage(path: Path, numbers: list[int]) -> Path:
    """A copy in which some packets hold noise."""
    data = bytearray(path.read_bytes())
    for pos, size in (packets(path)[number] for number in numbers):
        data[pos : pos + size] = b"\xaa" * size
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(data)
    return damaged


KINDS: list[tuple[str, str, dict[str, str]]] = [
    ("a.mp4", "libx264", {"g": "10"}),
    ("b.avi", "mjpeg", {}),
    ("c.mkv", "libx264", {"g": "10", "crf": "5"}),
    ("d.avi", "mpeg4", {"g": "10", "bf": "2"}),
    ("e.mkv", "ffv1", {}),
    ("f.mkv", "libx265", {"x265-params": "keyint=10:log-level=none"}),
    ("h.avi", "libx264", {"g": "10"}),
    ("i.avi", "mpeg1video", {"g": "10"}),
    ("g.webm", "libvpx", {"b": "2M", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime", "cpu-used": "8"}),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[0])
def recording(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    encoder: Callable[..., Path],
    images_50: list[np.ndarray],
) -> Path:
    name, codec, options = request.param
    return encoder(tmp_path_factory.mktemp("numbers") / name, images_50, codec=codec, **options)


def test_whole_recordings_are_numbered_without_gaps(recording: Path) -> None:
    frames = list(open_source(str(recording)))
    assert [frame.index for frame in frames] == list(range(50))
    assert [read_stamp(frame.image) for frame in frames] == list(range(50))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / FPS for index in range(50)], abs=0.002)


@pytest.mark.parametrize("hit", [12, 25, 30])
def test_after_damage_numbers_and_times_are_those_of_the_source(
    recording: Path, hit: int, caplog: pytest.LogCaptureFixture
) -> None:
    frames = list(source := open_source(str(damage(recording, [hit]))))
    stamps = [read_stamp(frame.image) for frame in frames]
    # Until the next key frame a decoder shows what it makes of the rest, which may be an older picture's stamp.
    sound = [(frame.index, stamp) for frame, stamp in zip(frames, stamps, strict=True) if not hit - 3 <= frame.index < 40]
    assert all(index == stamp for index, stamp in sound)
    assert len(sound) >= hit - 3
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert [frame.pts_s for frame in frames] == pytest.approx([frame.index / FPS for frame in frames], abs=0.002)
    assert source.status.detail
    assert sum(source.status.detail in record.getMessage() for record in caplog.records) == 1, "said once"


def test_lost_pictures_are_counted_also_the_last(
    tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]
) -> None:
    path = encoder(tmp_path / "a.mp4", images_50, g="10")
    frames = list(source := open_source(str(damage(path, [49]))))
    assert [read_stamp(frame.image) for frame in frames] == list(range(len(frames)))
    assert len(frames) >= 48, "what is sound before the damage is not lost with it"
    assert f"{50 - len(frames)} picture" in source.status.detail
    assert "lost" in source.status.detail


def test_a_damaged_beginning_keeps_the_origin(tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]) -> None:
    path = encoder(tmp_path / "a.avi", images_50, codec="mjpeg")
    first = next(iter(open_source(str(damage(path, [0, 1, 2])))))
    assert (first.index, read_stamp(first.image)) == (3, 3)
    assert first.pts_s == pytest.approx(3 / FPS)


def test_a_gap_in_time_takes_no_number(tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]) -> None:
    for suffix in (".mp4", ".mkv", ".ts"):
        stamps = [*range(20), *range(395, 425)]
        path = encoder(tmp_path / f"gap{suffix}", images_50, stamps)
        frames = list(source := open_source(str(path)))
        assert [frame.index for frame in frames] == list(range(50))
        assert [frame.pts_s for frame in frames] == pytest.approx([stamp / FPS for stamp in stamps], abs=0.002)
        assert source.status.detail == ""


def test_one_wild_stamp_moves_no_other(tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]) -> None:
    """Only in a container of its own, as a muxer would refuse it: the frames' stamps are made wrong on the way."""
    from realtime.sources.file import FileSource

    class Wild:
        def __init__(self, decode: str) -> None:
            from realtime.sources.common.container import VideoStream

            self._inner = VideoStream(f"file:{path}", "wild", is_live=False)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def pictures(self) -> Any:
            wrong = {7: 3600.0, 12: -5.0, 20: float("nan"), 30: 1.16, 31: 1.16}
            for picture in self._inner.pictures():
                yield picture._replace(pts_s=wrong.get(picture.number, picture.pts_s))

    path = encoder(tmp_path / "a.mp4", images_50)
    frames = list(source := FileSource(Wild, "wild"))  # type: ignore[arg-type]
    right = [frame for frame in frames if frame.index not in (7, 12, 20, 30, 31)]
    assert [frame.pts_s for frame in right] == pytest.approx([frame.index / FPS for frame in right])
    assert all(0 < later.pts_s - earlier.pts_s < 0.15 for earlier, later in itertools.pairwise(frames))
    assert "time stamps corrected" in source.status.detail


def test_joined_recordings_are_numbered_through(
    tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray]
) -> None:
    part = encoder(tmp_path / "part.ts", images_50, g="10")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    frames = list(source := open_source(str(joined)))
    assert [frame.index for frame in frames] == list(range(100))
    assert [read_stamp(frame.image) for frame in frames] == [*range(50), *range(50)]
    assert [frame.pts_s for frame in frames] == pytest.approx([index / FPS for index in range(100)], abs=0.002)
    assert source.status.detail == "1 time stamp corrected"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_late_beginning_is_no_loss(
    tmp_path: Path, encoder: Callable[..., Path], images_50: list[np.ndarray], suffix: str
) -> None:
    path = encoder(tmp_path / f"late{suffix}", images_50, list(range(325, 375)))
    frames = list(source := open_source(str(path)))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / FPS for index in range(50)], abs=0.002)
    assert source.status.detail == ""
