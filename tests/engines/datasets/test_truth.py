"""Sets to judge on, in each format: ours, YOLO's outlines, COCO's JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.datasets.truth import open_truth
from engines.errors import DataError

TOML = 'classes = ["left", "right"]\nhold_out = ["clipb_*"]\n'


def test_what_is_held_out_is_judged_on(clean_set: Path) -> None:
    (clean_set / "dataset.toml").write_text(TOML)
    truths = open_truth(clean_set)
    assert truths.names == tuple(f"clipb_{number:03}" for number in range(4, 8))
    assert truths.described == "4 held-out images (clipb_*)"
    truth = truths.read(truths.names[0])
    assert truth.label is not None
    assert (truth.image.shape, truth.label.shape) == ((24, 32, 3), (24, 32))
    assert (truth.surface, truth.objects) == (None, None)
    assert len(open_truth(clean_set, "all").names) == 8


def test_without_a_split_everything_is_and_it_says_so(clean_set: Path) -> None:
    (clean_set / "dataset.toml").write_text('classes = ["left", "right"]\n')
    assert open_truth(clean_set).described == "all 8 images, none of them held out"
    with pytest.raises(DataError, match=r"nothing is held out\. Write hold_out"):
        open_truth(clean_set, "held_out")


def test_some_of_many_are_spread_evenly(clean_set: Path) -> None:
    (clean_set / "dataset.toml").write_text('classes = ["left", "right"]\n')
    truths = open_truth(clean_set).limited(3)
    assert [name[-1] for name in truths.names] == ["0", "4", "7"]
    assert truths.limited(9) is truths


def test_maps_of_objects_and_of_the_surface_come_along(clean_set: Path) -> None:
    (clean_set / "dataset.toml").write_text(f'{TOML}surface = "lane"\ninstances = "inst"\n')
    for folder in ("lane", "inst"):
        (clean_set / folder).mkdir()
    instances = np.zeros((24, 32), np.uint8)
    instances[:, 20:24], instances[:, :4] = 1, 255
    cv2.imwrite(str(clean_set / "inst" / "clipb_004.png"), instances)
    cv2.imwrite(str(clean_set / "lane" / "clipb_005.png"), np.full((24, 32), 3, np.uint8))
    truths = open_truth(clean_set)
    first, second = truths.read("clipb_004"), truths.read("clipb_005")
    assert first.objects is not None
    assert [(item.class_id, item.is_crowd) for item in first.objects] == [(1, False)], "no object is of class 0, so no crowd"
    assert second.objects is None
    assert second.surface is not None
    assert (second.surface == 3).all()


def test_a_folder_of_nothing_known_says_what_it_wants(clean_set: Path) -> None:
    with pytest.raises(DataError, match=r"run\.py data check .* --write"):
        open_truth(clean_set)


# YOLO's outlines


@pytest.fixture
def outlines(tmp_path: Path, pair: Callable[..., None]) -> Path:
    """Two images in train and one in val; that has a square in its left upper quarter."""
    folder = tmp_path / "yolo"
    for split, names in (("train", "ab"), ("val", "c")):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(folder / "images" / split / f"{name}.png"), np.zeros((40, 80, 3), np.uint8))
    (folder / "labels" / "val" / "c.txt").write_text("1 0 0 0.5 0 0.5 0.5 0 0.5\n\n0 .1 .1 .2 .1 .2 .2\n")
    (folder / "labels.txt").write_text("cat\ndog\n")
    return folder


def test_outlines_are_read_in_pixels(outlines: Path) -> None:
    truths = open_truth(outlines)
    assert truths.names == ("val/c",)
    assert truths.described == "1 held-out images (val/*); class names: labels.txt"
    objects = truths.read("val/c").objects
    assert objects is not None
    assert [item.class_id for item in objects] == [1, 0]
    np.testing.assert_allclose(objects[0].outline, [[0, 0, 40, 0, 40, 20, 0, 20]])  # type: ignore[arg-type]
    assert open_truth(outlines, "all").read("train/a").objects == (), "no file: no objects"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "is a box"),
        ("0 0.5 0.5 0.2", "has 3 coordinates"),
        ("2 0 0 1 0 1 1", r"class id 2, but the set has 2 classes"),
        ("cat 0 0 1 0 1 1", "not a line of numbers"),
        ("0.5 0 0 1 0 1 1", "class id 0.5"),
    ],
)
def test_a_line_that_is_not_an_outline_is_reported_with_its_number(outlines: Path, line: str, words: str) -> None:
    path = outlines / "labels" / "val" / "c.txt"
    path.write_text(f"1 0 0 1 0 1 1\n{line}\n")
    with pytest.raises(DataError, match=rf"c\.txt:2: {words}"):
        open_truth(outlines).read("val/c")


def test_names_of_outlines_come_from_the_usual_files(outlines: Path) -> None:
    (outlines / "data.yaml").write_text("path: .\nnames:\n  0: kitten\n  1: 'puppy'  # small\nnc: 2\n")
    assert open_truth(outlines).settings.classes == ("kitten", "puppy")
    (outlines / "data.yaml").unlink()
    (outlines / "labels.txt").unlink()
    with pytest.raises(DataError, match=r"has no class names.*Write them into .*labels\.txt"):
        open_truth(outlines)


def test_a_file_of_names_among_the_labels_is_no_label(outlines: Path, clean_set: Path) -> None:
    shutil.move(outlines / "labels.txt", outlines / "labels" / "classes.txt")
    assert open_truth(outlines).settings.classes == ("cat", "dog")
    (clean_set / "labels" / "classes.txt").write_text("left\nright\n")
    (clean_set / "dataset.toml").write_text(TOML)
    assert open_truth(clean_set).read("clipb_004").label is not None


def test_a_toml_may_describe_outlines_elsewhere(outlines: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('folder = "yolo"\nclasses = ["x", "y"]\nhold_out = ["train/*"]\n')
    truths = open_truth(tmp_path / "mine.toml")
    assert (truths.names, truths.settings.classes) == (("train/a", "train/b"), ("x", "y"))


# COCO's JSON


def facts(**changed: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "c.png", "width": 80, "height": 40}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[0, 0, 9, 0, 9, 9]], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": {"size": [40, 80], "counts": [3200]}, "iscrowd": 1},
        ],
    } | changed


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    for name in ("annotations", "val2017"):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "val2017" / "c.png"), np.zeros((40, 80, 3), np.uint8))
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(facts()))
    (folder / "annotations" / "captions_val2017.json").write_text("{}")
    return folder


def test_coco_is_found_in_its_folder_and_read(coco: Path) -> None:
    for path in (coco, coco / "annotations" / "instances_val2017.json"):
        truths = open_truth(path)
        assert truths.settings.classes == ("car", "dog"), "by rising id"
        objects = truths.read("c").objects
        assert objects is not None
        assert [(item.class_id, item.is_crowd) for item in objects] == [(1, False), (0, True)]
        assert truths.read("c").image.shape == (40, 80, 3)


def test_of_several_files_one_must_be_named(coco: Path) -> None:
    shutil.copy(coco / "annotations" / "instances_val2017.json", coco / "annotations" / "instances_valid.json")
    with pytest.raises(DataError, match=r"several JSON files .*--data FILE\.json"):
        open_truth(coco)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": None}, "not in COCO's format"),
        ({"images": []}, "lists no image"),
        ({"images": [{"id": 7}]}, "an entry has no 'file_name'"),
        ({"images": [{"id": 7, "file_name": "nowhere.png"}]}, r"its image nowhere\.png was not found in"),
        ({"annotations": [{"id": 1, "image_id": 8, "category_id": 18, "segmentation": [[0, 0, 1, 0, 1, 1]]}]}, "not listed"),
        ({"annotations": [{"id": 5, "image_id": 7, "category_id": 18}]}, "annotation 5 has no segmentation"),
    ],
)
def test_a_fault_in_a_file_is_reported(coco: Path, changed: dict[str, Any], words: str) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(facts(**changed)))
    with pytest.raises(DataError, match=words):
        open_truth(path)


def test_a_file_that_is_not_json_is_reported(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        open_truth(path)
