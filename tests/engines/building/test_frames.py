from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.building.frames import real_frames
from engines.errors import BuildError


def write_video(path: Path, count: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(count):
            picture = np.full((48, 64, 3), index * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))


def test_frames_come_from_both_installed_clips() -> None:
    frames = real_frames(None, 4)
    assert len(frames) == 4
    assert len({frame.shape for frame in frames}) == 2
    assert all(frame.std() > 10 for frame in frames)


def test_frames_are_spread_over_a_video(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 21)
    brightness = [frame.mean() for frame in real_frames(tmp_path / "clip.mp4", 3)]
    assert brightness == pytest.approx([0, 100, 200], abs=6)


def test_frames_come_from_a_folder_of_pictures(tmp_path: Path) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), index, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [int(frame[0, 0, 0]) for frame in real_frames(tmp_path, 3)] == [0, 2, 4]
    assert len(real_frames(tmp_path, 50)) == 5


def test_a_source_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(BuildError, match="no pictures in it"):
        real_frames(tmp_path / "empty", 3)
    with pytest.raises(BuildError, match="no frame can be read"):
        real_frames(tmp_path / "broken.mp4", 3)
    with pytest.raises(BuildError, match="no such video"):
        real_frames(tmp_path / "nowhere.mp4", 3)
