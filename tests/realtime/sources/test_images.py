from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from realtime.cli import main
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
    assert [frame.index for frame in frames] == [0, 1, 2, 5, 6], "what cannot be read keeps its number"
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


def test_a_bad_first_image_keeps_its_number_and_time(tmp_path: Path) -> None:
    for number in range(1, 5):
        _write(tmp_path / f"{number:06d}.png", np.full((8, 9, 3), number, np.uint8))
    (tmp_path / "000001.png").write_bytes(b"")
    frames = list(open_source(str(tmp_path)))
    assert [(frame.index, round(frame.pts_s, 3), frame.image[0, 0, 0]) for frame in frames] == [
        (1, 0.04, 2),
        (2, 0.08, 3),
        (3, 0.12, 4),
    ]


def test_what_lies_beside_the_images_takes_no_number(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        _write(tmp_path / f"{number}.png", np.full((8, 9, 3), number, np.uint8))
    (tmp_path / "._1.png").write_bytes(b"Mac OS X")
    (tmp_path / ".hidden.jpg").write_bytes(b"x")
    (tmp_path / "2.jpg").mkdir()
    assert [frame.index for frame in open_source(str(tmp_path))] == [0, 1, 2]


def test_links_that_lead_nowhere_are_unreadable_images(tmp_path: Path) -> None:
    _write(tmp_path / "1.png", np.full((8, 9, 3), 1, np.uint8))
    (tmp_path / "2.png").symlink_to(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "4.png")
    _write(tmp_path / "5.png", np.full((8, 9, 3), 5, np.uint8))
    frames = list(source := open_source(str(tmp_path)))
    assert [frame.index for frame in frames] == [0, 4]
    assert source.status.detail == "3 unreadable images skipped"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_all_orientations_that_a_camera_writes(tmp_path: Path, suffix: str) -> None:
    plain = np.full((48, 64, 3), 128, np.uint8)
    plain[:16, :16], plain[:16, -16:], plain[-16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    laid = {
        1: plain, 2: plain[:, ::-1], 3: np.rot90(plain, 2), 4: plain[::-1],
        5: plain.transpose(1, 0, 2), 6: np.rot90(plain, -1), 7: np.rot90(plain, 2).transpose(1, 0, 2), 8: np.rot90(plain),
    }  # fmt: skip
    for value in laid:
        tags = PIL.Image.Exif()
        tags[0x112] = value
        PIL.Image.fromarray(plain[..., ::-1]).save(tmp_path / f"{value}{suffix}", exif=tags, quality=95)
    for frame in open_source(str(tmp_path)):
        expected = laid[frame.index + 1]
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 8, frame.index + 1


def test_animations_and_other_kinds_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures = [PIL.Image.new("RGB", (9, 8), colour) for colour in ("red", "blue")]
    pictures[0].save(tmp_path / "1.webp", save_all=True, append_images=pictures[1:], lossless=True)
    pictures[0].save(tmp_path / "2.gif", save_all=True, append_images=pictures[1:], duration=40)
    pictures[0].save(tmp_path / "3.gif")
    (tmp_path / "4.heic").write_bytes(b"x")
    frames = list(source := open_source(str(tmp_path)))
    assert [tuple(frame.image[0, 0]) for frame in frames] == [(0, 0, 255)] * 3
    assert source.status.detail == "only the first picture of 2 animations"
    assert "pictures of other kinds are left out: .heic" in caplog.text


def test_a_run_over_a_folder_with_an_unreadable_image_says_so_at_its_end(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        _write(tmp_path / f"{number}.png", np.full((48, 64, 3), number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"x")
    outputs = ["--jsonl", str(tmp_path / "o.jsonl"), "--model", str(tiny_model), "--backend", "ort"]
    assert main(["process", str(tmp_path), *outputs]) == 1
    assert "unusable 1 pictures of the source: cannot be read (1)" in capsys.readouterr().out
    (tmp_path / "2.png").unlink()
    assert main(["process", str(tmp_path), *outputs, "--force"]) == 0
