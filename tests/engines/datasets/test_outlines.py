"""Sets of outlines in the layouts of the tools that write them; names come from the set and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets.checking_objects import check_objects
from engines.datasets.truth import open_objects, open_truth
from engines.errors import DataError

SQUARE = "0.1 0.1 0.9 0.1 0.9 0.9"


def part(folder: Path, names: str = "ab", line: str = f"1 {SQUARE}\n") -> Path:
    """images/ and labels/ of a few images, each with one object."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((40, 80, 3), np.uint8))
        (folder / "labels" / f"{name}.txt").write_text(line)
    return folder


@pytest.mark.parametrize("below", ["", "../", "/content/set/"], ids=["beside", "one up", "of another machine"])
def test_a_yaml_one_folder_up_names_the_classes_of_a_part(tmp_path: Path, below: str) -> None:
    part(tmp_path / "train", "abc")
    part(tmp_path / "valid")
    text = f"train: {below}train/images\nval: {below}valid/images\nnc: 2\nnames: ['car', 'person']\n"
    (tmp_path / "data.yaml").write_text(text)
    assert open_truth(tmp_path / "valid").settings.classes == ("car", "person")
    for path in (tmp_path, tmp_path / "data.yaml"):
        truths = open_truth(path)
        assert truths.settings.classes == ("car", "person")
        assert truths.names == ("valid/images/a", "valid/images/b")
        assert "2 held-out images (valid/images/*); class names: data.yaml" in truths.described
        assert len(open_truth(path, "all").names) == 5
        (item,) = truths.read("valid/images/a").objects or ()
        assert item.class_id == 1


def test_a_yaml_one_folder_up_that_is_of_something_else_is_not_read(tmp_path: Path) -> None:
    part(tmp_path / "mine")
    (tmp_path / "data.yaml").write_text("train: other/images\nval: more/images\nnames: [x, y]\n")
    with pytest.raises(DataError, match=r"has no class names: .* Write them into .*labels\.txt"):
        open_truth(tmp_path / "mine")
    (tmp_path / "data.yaml").write_text("val: mine/images\nnames: [x, y]\n")
    assert open_truth(tmp_path / "mine").settings.classes == ("x", "y")


def test_coco_s_names_are_never_put_in(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no class names"):
        open_truth(part(tmp_path, line=f"0 {SQUARE}\n"))


@pytest.mark.parametrize("val", ["images/val2017", "./images/val2017/", "lists/val.txt", "[images/val2017]"])
def test_the_yaml_says_what_is_held_out(tmp_path: Path, val: str) -> None:
    for name in ("train2017", "val2017"):
        part(tmp_path / name, name[:2])
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / name / kind).rename(tmp_path / kind / name)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text("./images/val2017/v.png\r\n../images/val2017/a.png\r\n", encoding="utf-8-sig")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images/train2017\nval: {val}\nnames: [x, y]\n")
    truths = open_truth(tmp_path)
    assert truths.names == ("val2017/a", "val2017/v")
    assert len((truths.read("val2017/a").objects, open_truth(tmp_path, "all").names)[1]) == 4


def test_parts_without_a_yaml_have_names_from_a_list(tmp_path: Path) -> None:
    part(tmp_path / "train")
    part(tmp_path / "valid", "c")
    with pytest.raises(DataError, match="has no class names"):
        open_truth(tmp_path)
    (tmp_path / "classes.txt").write_text("car\nperson\n", encoding="utf-8-sig")
    assert (open_truth(tmp_path).names, open_truth(tmp_path).settings.classes) == (("valid/images/c",), ("car", "person"))


def test_two_images_of_one_label_are_told_apart(tmp_path: Path) -> None:
    part(tmp_path)
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((40, 80, 3), np.uint8))
    (tmp_path / "labels.txt").write_text("x\ny\n")
    with pytest.raises(DataError, match=r"a\.png: shares its stem with a\.jpg"):
        open_truth(tmp_path)


def test_a_label_without_an_image_is_reported_and_files_of_systems_are_not(tmp_path: Path) -> None:
    part(tmp_path)
    (tmp_path / "labels.txt").write_text("x\ny\n")
    for name in ("images/._a.png", "labels/._a.txt", "labels/.b.txt", "images/Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "B.PNG")
    truths = open_truth(tmp_path)
    assert truths.names == ("B", "a")
    (line,) = truths.left_out
    assert line.endswith("labels/b.txt: has no image")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e308", "-1e308", "110", "-3", "0x1p1024", "1e999"])
def test_a_coordinate_that_is_no_share_is_refused_before_native_code(tmp_path: Path, number: str) -> None:
    """1e308 crashed pycocotools, and NaN took 9 GB."""
    part(tmp_path, "a", f"0 {SQUARE}\n\n1 0.1 0.1 {number} 0.1 0.9 0.9\n")
    (tmp_path / "labels.txt").write_text("x\ny\n")
    with pytest.raises(DataError, match=r"a\.txt:3: (has the coordinate|not a line of numbers)"):
        open_truth(tmp_path).read("a")


def test_a_class_id_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").parent.mkdir(exist_ok=True)
    for word in ("nan", "inf", "1e308", "-1"):
        part(tmp_path, "a", f"{word} {SQUARE}\n")
        (tmp_path / "labels.txt").write_text("x\ny\n")
        with pytest.raises(DataError, match=r"a\.txt:1: class id"):
            open_truth(tmp_path).read("a")


def test_the_check_and_the_evaluation_agree_on_what_a_set_is(tmp_path: Path) -> None:
    part(tmp_path / "train")
    part(tmp_path / "valid", "c", f"0 {SQUARE}\n1 {SQUARE}\n1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: train/images\nval: valid/images\nnames: [x, y]\n")
    truths = open_objects(tmp_path, "all")
    assert truths is not None
    report = check_objects(truths)
    assert (report.objects, report.images, report.empty) == ({1: 2}, {1: 2}, 0)
    (fault,) = report.faults
    assert "c.txt:3: is a box" in fault


def test_objects_listed_twice_count_once_and_images_without_labels_are_counted(tmp_path: Path) -> None:
    part(tmp_path)
    (tmp_path / "labels.txt").write_text("x\ny\n")
    label = tmp_path / "labels" / "a.txt"
    line = label.read_text().strip()
    label.write_text(f"{line}\n{line}\n")
    (tmp_path / "labels" / "b.txt").unlink()
    truths = open_truth(tmp_path)
    assert len(truths.read("a").objects or ()) == len(set(line.splitlines()))
    assert truths.left_out == [f"{label}: 1 of its objects are there twice"]
    assert "1 without a label file count as without objects, such as b" in truths.described
