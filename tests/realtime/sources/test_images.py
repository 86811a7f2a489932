from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.errors import SourceNotFoundError, SourceOpenError
from realtime.sources import open_source


def _write(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(path.suffix, image)
    assert done
    path.write_bytes(data.tobytes())


def test_natural_order_mixed_formats_and_skipped_files(tmp_path: Path) -> None:
    for number, suffix in ((10, ".png"), (2, ".bmp"), (1, ".webp"), (3, ".tif"), (11, ".jpg")):
        _write(tmp_path / f"frame{number}{suffix}", np.full((20, 30, 3), number * 10, np.uint8))
    (tmp_path / "frame4.png").write_bytes(b"this is no picture")
    (tmp_path / "frame5.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("hello")
    source = open_source(f"{tmp_path}?fps=10")
    assert (source.fps, source.frame_count, source.is_live) == (10.0, 7, False)
    frames = list(source)
    assert [round(frame.image.mean() / 10) for frame in frames] == [1, 2, 3, 10, 11]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.5, 0.6])
    assert source.status.detail == "2 unreadable images skipped"


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 9), 77, np.uint8),
        np.full((8, 9, 4), 77, np.uint8),
        np.full((8, 9), 77 * 257, np.uint16),
        np.full((8, 9, 3), 77 * 257, np.uint16),
    ],
    ids=["grey", "bgra", "grey16", "bgr16"],
)
def test_every_kind_of_picture_becomes_bgr(tmp_path: Path, image: np.ndarray) -> None:
    _write(tmp_path / "a.png", image)
    (frame,) = open_source(str(tmp_path))
    assert (frame.image.shape, frame.image.dtype) == ((8, 9, 3), np.uint8)
    assert np.all(frame.image == 77)


def test_a_folder_without_good_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match=r"no images in this folder. Readable are .*\.png"):
        open_source(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(SourceOpenError, match="none of its 1 image can be read"):
        open_source(str(tmp_path))
    with pytest.raises(SourceNotFoundError):
        open_source(f"images://{tmp_path}/no")
    with pytest.raises(SourceOpenError, match="not a folder"):
        open_source(f"images://{tmp_path}/a.png")
