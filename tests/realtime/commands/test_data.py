"""`run.py data check` as a user types it."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets.settings import open_settings
from realtime.cli import main


def write_set(folder: Path, count: int = 8) -> Path:
    """Two clips of pictures; ground below, a car above it."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        stem = f"{'ab'[2 * number // count]}_{number:03}"
        label = np.zeros((48, 64), np.uint8)
        label[:20, 10 : 20 + number] = 1
        label[:, 63] = 255
        image = np.where(label[..., None] == 1, 125, 40 + number).astype(np.uint8).repeat(3, axis=2)
        cv2.imwrite(str(folder / "images" / f"{stem}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{stem}.png"), label)
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set without faults, and an empty working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return write_set(tmp_path / "cars")


def check(*arguments: object) -> int:
    return main(["data", "check", *map(str, arguments)])


def test_a_set_without_faults_is_reported_drawn_and_written(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "--classes", "ground, car", "--write") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("cars: 8 images, 8 labels, 2 classes, all 64x48\n")
    assert "split       4 to train on, 4 held out (a_*)" in printed
    assert "held out 1 of 2 sequences, whole" in printed
    assert "void: 1.6 % of all pixels, in 100.0 % of the images" in printed
    assert "no fault" in printed
    assert open_settings(data)[1].classes == ("ground", "car")
    sheet = cv2.imread("out/cars-sheet.png")
    assert sheet.shape[1] > 1200
    assert check(data) == 0
    assert "held out as in its settings" in capsys.readouterr().out


def test_a_well_known_set_s_name_stands_for_its_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "--classes", "camvid", "--write") == 0
    assert "11 classes" in capsys.readouterr().out
    assert open_settings(data)[1].classes[:2] == ("sky", "building")


def test_without_a_description_the_command_that_writes_one_is_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data) == 0
    printed = capsys.readouterr().out
    assert "classes named after their ids, up to the highest, 1. Name them with --classes a,b,c" in printed
    assert f"to train    run.py data check {data} --write " in printed
    assert not (data / "dataset.toml").exists()


def test_the_proposed_command_writes_the_settings_shown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It once left --classes out, and wrote class0 and class1."""
    assert check(data, "--classes", "bare ground,car") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("to train"))
    command = line.removeprefix("to train    run.py ").partition("   ")[0]
    assert main(shlex.split(command)) == 0
    assert open_settings(data)[1].classes == ("bare ground", "car")


def test_a_set_with_faults_is_not_called_ready_to_train(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "labels" / "b_007.png").unlink()
    assert check(data, "--classes", "ground,car") == 1
    printed = capsys.readouterr().out
    assert "to train    fix the faults; then run.py data check" in printed


def test_one_image_is_in_the_singular(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check(write_set(tmp_path / "cars", 1), "--classes", "ground")
    assert capsys.readouterr().out.startswith("cars: 1 image, 1 label, 1 class, all 64x48\n")


def test_every_fault_is_reported_and_the_exit_code_is_1(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((data / "labels").iterdir())[:3]:
        cv2.imwrite(str(path), np.full((48, 64), 9, np.uint8))
    (data / "labels" / "b_007.png").unlink()
    assert check(data, "--classes", "ground,car") == 1
    printed = capsys.readouterr().out
    assert printed.count("class ids 9 in 100.0% of its pixels") == 3
    assert "b_007.png: has no label" in printed
    assert "4 faults" in printed


def test_many_faults_of_a_kind_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_set(tmp_path / "cars", 20)
    for path in (data / "labels").iterdir():
        path.write_bytes(b"")
    assert check(data) == 1
    printed = capsys.readouterr().out
    assert printed.count("cannot be read") == 8
    assert "... and 12 more of this kind (--all shows them)" in printed
    assert not Path("out").exists(), "there is nothing to draw"
    assert check(data, "--all") == 1
    assert capsys.readouterr().out.count("cannot be read") == 20


def test_settings_may_be_elsewhere(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "--classes", "ground,car", "--out", "mine.toml", "--sheet", "s/sheet.png") == 0
    assert not (data / "dataset.toml").exists()
    assert (Path("s/sheet.png").is_file(), Path("out").exists()) == (True, False)
    capsys.readouterr()
    assert check("mine.toml") == 0
    printed = capsys.readouterr().out
    assert "cars: 8 images" in printed
    assert "ground" in printed


def test_an_edited_file_is_overwritten_only_with_force(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "dataset.toml").write_text('classes = ["ground", "car"]\nhold_out = ["b_*"]\n')
    assert check(data, "--write", "--classes", "x,y") == 2
    assert "exists with other content. Edit it by hand, or overwrite it with --force" in capsys.readouterr().err
    assert check(data, "--write", "--classes", "x,y", "--force") == 0
    settings = open_settings(data)[1]
    assert (settings.classes, settings.hold_out) == (("x", "y"), ("b_*",)), "the other settings stay"
    assert check(data, "--write") == 0
    assert "unchanged" in capsys.readouterr().out


def test_several_sets_are_checked_in_one_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_set(tmp_path / "vans")
    (other / "labels" / "a_000.png").unlink()
    assert check(data, other) == 1
    printed = capsys.readouterr().out
    assert "cars: 8 images" in printed
    assert "vans: 8 images" in printed
    assert check(data, other, "--out", "one.toml") == 2
    assert "--out with 2 sets: only one file is named" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nowhere"], "no such folder"), ([".", "--classes", "a,,b"], "a name is empty"), (["."], "has no folder images/")],
)
def test_mistakes_are_one_line(data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert check(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_sheet_that_cannot_be_written_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert check(data, "--sheet", "file/sheet.png") == 2
    assert "cannot be written" in capsys.readouterr().err
