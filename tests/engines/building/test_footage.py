"""Frames for INT8: from all of the footage, each showing something new; those for judging from other stretches of time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.building import footage as room
from engines.building.footage import Footage, check_footage
from engines.building.frames import sample_clips
from engines.errors import BuildError
from engines.models import zoo
from engines.models.model import load_model
from engines.types import Image


def picture(number: int) -> Image:
    """Its number in the picture: two digits in base 16 as brightnesses of the halves, coarse enough for any codec."""
    image = np.empty((48, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = number // 16 * 15 + 8, number % 16 * 15 + 8
    return image


def number_of(image: Image) -> int:
    left, right = float(image[8:40, 8:24].mean()), float(image[8:40, 40:56].mean())
    return round((left - 8) / 15) * 16 + round((right - 8) / 15)


def write_pictures(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir(parents=True)
    for place, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"{place:03d}.png"), picture(number))
    return folder


def write_video(path: Path, numbers: list[int]) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in numbers:
        video.write(picture(number))
    video.release()
    return path


def test_frames_are_spread_over_a_video_and_those_for_judging_are_of_other_stretches(tmp_path: Path) -> None:
    footage = Footage(write_video(tmp_path / "clip.mp4", list(range(240))))
    measured, judged = [number_of(frame) for frame in footage], [number_of(frame) for frame in footage.checks]
    assert (len(measured), len(judged)) == (room.MOST, room.CHECKS)
    assert len(footage) == len(measured)
    assert measured == sorted(measured)
    assert min(measured) == 0
    assert max(measured) >= 238
    stretches = [{number * room.STRETCHES // 240 for number in numbers} for numbers in (measured, judged)]
    assert stretches[0].isdisjoint(stretches[1])
    assert stretches[1] == {2, 7, 12, 17}
    assert [number_of(frame) for frame in footage] == measured, "they can be read again"


def test_a_long_video_is_sought_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SEEK_BEYOND", 0)
    footage = Footage(write_video(tmp_path / "clip.mp4", list(range(200))))
    measured = [number_of(frame) for frame in footage]
    assert measured == sorted(set(measured))
    assert len(measured) == room.MOST


def test_a_camera_that_sees_nothing_new_is_not_enough(tmp_path: Path) -> None:
    """A thousand frames, of which each of forty is shown again and again, with the noise of a camera."""
    rng = np.random.default_rng(1)
    video = cv2.VideoWriter(str(tmp_path / "still.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for place in range(1000):
        video.write(np.clip(picture(place // 5 % 40) + rng.normal(0, 3, (48, 64, 3)), 0, 255).astype(np.uint8))
    video.release()
    with pytest.raises(BuildError, match=r"still\.mp4: 40 of its 1000 frames show something new, too few for int8-qdq\. Give 64"):
        Footage(tmp_path / "still.mp4")


def test_a_small_thing_that_moves_is_something_new(tmp_path: Path) -> None:
    (tmp_path / "street").mkdir()
    for place in range(100):
        image = np.full((480, 640, 3), 90, np.uint8)
        image[200:250, place * 6 : place * 6 + 25] = 200
        cv2.imwrite(str(tmp_path / "street" / f"{place:03d}.png"), image)
    assert len(Footage(tmp_path / "street")) >= 75


def test_a_folder_may_hold_videos_and_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "all", list(range(50)))
    write_video(folder / "a.mp4", list(range(50, 100)))
    write_video(folder / "b.mkv", list(range(100, 150)))
    (folder / "notes.txt").write_text("neither")
    found = {number_of(frame) for frame in Footage(folder)}
    assert len(found) > 100
    assert min(found) < 50
    assert max(found) >= 140


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_pictures(tmp_path / "all", list(range(120)))
    (folder / "003.png").write_bytes(b"no picture")
    assert len(Footage(folder)) > 90
    assert "003.png" in caplog.text


def test_too_few_frames_or_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="30 of its 30 frames show something new, too few"):
        Footage(write_pictures(tmp_path / "few", list(range(30))))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 100)
    for place, words in (("empty", "no frame can be read"), ("broken.mp4", "no frame can be read"), ("nowhere", "no such video")):
        with pytest.raises(BuildError, match=words):
            Footage(tmp_path / place)


def test_the_installed_clips_are_for_bundled_models_whose_card_says_so(tiny_model: Path) -> None:
    check_footage(zoo.find("people"), None)
    assert len(Footage(None)) >= room.FEWEST
    own = load_model(tiny_model)
    for model, path in ((zoo.find("road"), None), (own, None), (own, sample_clips()[0])):
        with pytest.raises(BuildError, match=r"with --calibrate|footage of your own: --calibrate"):
            check_footage(model, path)
    check_footage(own, Path("street.mp4"))
