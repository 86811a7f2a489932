"""The setting `background`: its values, and the error for each mistake."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.commands.common.options import Running, parsed
from realtime.commands.common.running import settings_of
from realtime.errors import SettingsError
from realtime.knobs import Knobs
from realtime.render import Blur, Picture, Plain
from realtime.settings import Settings, load_settings
from realtime.streams.backdrop import open_background


@pytest.mark.parametrize("text", ["none", "blur"])
def test_none_and_blur_are_a_blur(text: str) -> None:
    assert open_background(text) == Blur()


def test_a_colour_is_red_green_blue() -> None:
    assert open_background("#0180fF") == Plain((255, 128, 1))


def test_a_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "beach.png"
    cv2.imwrite(str(path), np.full((20, 30, 3), (1, 2, 3), np.uint8))
    background = open_background(str(path))
    assert isinstance(background, Picture)
    assert background.image.shape == (20, 30, 3)
    assert (background.image == (1, 2, 3)).all()
    cv2.imwrite(str(path), np.full((20, 30, 4), (9, 9, 9, 0), np.uint8))
    assert open_background(str(path)).behind(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)).shape == (8, 8, 3)


def test_a_file_that_is_not_a_picture_is_an_error(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    empty.touch()
    text.write_text("not a picture")
    for path in (empty, text):
        with pytest.raises(SettingsError, match=rf"{path.name}: cannot be read as an image\. Give the path of a PNG or JPEG"):
            open_background(str(path))
    with pytest.raises(SettingsError, match=r"gone\.png: cannot be read \(No such file or directory\)"):
        open_background(str(tmp_path / "gone.png"))
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(SettingsError, match="is not a file"):
        open_background(str(folder))


@pytest.mark.parametrize("text", ["blurr", "green", "#12345", "#12345g", "", "#"])
def test_any_other_word_is_an_error_when_settings_are_loaded(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=f'background is "{text}"'):
        load_settings(tmp_path, None, {"background": text})
    with pytest.raises(SettingsError, match='Did you mean "blur"'):
        load_settings(tmp_path, None, {"background": "blurr"})


def test_with_a_background_nothing_else_is_drawn_at_first() -> None:
    assert Settings(background="blur").first_knobs() == Knobs(
        masks=False, boxes=False, labels=False, trails=False, background=True
    )
    assert not Settings().first_knobs().background


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ("none", None)),
        (["--background", "blur", "--no-smooth"], ("blur", False)),
        (["--background", "#00b140", "--smooth"], ("#00b140", True)),
    ],
)
def test_the_command_line_sets_them(options: list[str], expected: tuple[str, bool | None]) -> None:
    settings = settings_of(parsed(Running, options), "clip.mp4")
    assert (settings.background, settings.smooth) == expected


def test_the_command_line_reports_a_missing_picture() -> None:
    running = parsed(Running, ["--background", "no/such/beach.jpg"])
    with pytest.raises(SettingsError, match=r"no/such/beach\.jpg: cannot be read"):
        settings_of(running, "clip.mp4")
