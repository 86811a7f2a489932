"""A set's folder: it is split as its settings say, and what is wrong with a file is said with the file's name."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from engines.datasets.folder import open_set
from engines.datasets.settings import SetSettings
from engines.errors import DataError

SETTINGS = SetSettings("halves", ("left", "right"), hold_out=("clipb_*",))


def held_out(folder: Path, settings: SetSettings) -> list[str]:
    return [sample.name for sample in open_set(folder, settings).held_out]


def test_the_split_follows_the_patterns(clean_set: Path) -> None:
    data_set = open_set(clean_set, SETTINGS)
    assert [sample.name for sample in data_set.held_out] == [f"clipb_00{number}" for number in (4, 5, 6, 7)]
    assert [sample.name for sample in data_set.training] == [f"clipa_00{number}" for number in range(4)]


def test_a_list_in_the_folder_holds_out_too(clean_set: Path) -> None:
    (clean_set / "val.txt").write_text("clipa_003\nclipb_00[67]\n")
    settings = msgspec.structs.replace(SETTINGS, hold_out=("clipa_000",), hold_out_list="val.txt")
    assert held_out(clean_set, settings) == ["clipa_000", "clipa_003", "clipb_006", "clipb_007"]


def test_a_pattern_in_the_list_may_have_a_space_in_it(clean_set: Path) -> None:
    for path in [*clean_set.glob("*/clipa_00[01].*")]:
        path.rename(path.with_stem(path.stem.replace("clipa", "my clip")))
    (clean_set / "val.txt").write_text("my clip_*\n")
    settings = msgspec.structs.replace(SETTINGS, hold_out=(), hold_out_list="val.txt")
    assert held_out(clean_set, settings) == ["my clip_000", "my clip_001"]


def test_a_list_that_is_not_there_is_named(clean_set: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read as the list of held-out images"):
        open_set(clean_set, msgspec.structs.replace(SETTINGS, hold_out_list="nowhere.txt"))


@pytest.mark.parametrize(("pattern", "words"), [("*", "leaves no image to train on"), ("clip9_*", "no file matches hold_out")])
def test_hold_out_that_splits_nothing_is_refused(clean_set: Path, pattern: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_set(clean_set, msgspec.structs.replace(SETTINGS, hold_out=(pattern,)))


def test_pixel_shares_leave_void_and_held_out_images_out(clean_set: Path) -> None:
    """Of 32 columns 16 are left, 15 right and one void; a held-out image is all left."""
    cv2.imwrite(str(clean_set / "labels" / "clipb_007.png"), np.zeros((24, 32), np.uint8))
    shares = open_set(clean_set, SETTINGS).pixel_shares()
    np.testing.assert_allclose(shares, [16 / 31, 15 / 31])
    assert shares.dtype == np.float32


def test_further_labels_are_read_where_there_are_some(clean_set: Path) -> None:
    for part in ("lane", "inst"):
        (clean_set / part).mkdir()
    cv2.imwrite(str(clean_set / "lane" / "clipa_000.png"), np.full((24, 32), 3, np.uint8))
    cv2.imwrite(str(clean_set / "inst" / "clipa_001.png"), np.full((24, 32), 7, np.uint8))
    first, second, *_ = open_set(clean_set, msgspec.structs.replace(SETTINGS, surface="lane", instances="inst")).training
    assert first.surface is not None
    assert (first.surface == 3).all()
    assert first.instances is None
    assert second.surface is None
    assert second.instances is not None
    assert (second.instances == 7).all()


WRONG_LABELS = {
    "id": (np.full((24, 32), 9, np.uint8), r"class id 9, but the set has 2 classes \(0\.\.1, 255 void\)"),
    "size": (np.zeros((24, 30), np.uint8), "30x24, but its image is 32x24"),
    "colours": (
        np.zeros((24, 32, 3), np.uint8),
        r"has 3 channels of 8 bits, but a label is one channel of 8-bit class ids\. Convert its colours to ids",
    ),
    "16 bits": (np.zeros((24, 32), np.uint16), r"has 16 bits per pixel, but .*\. Save it with 8 bits"),
}


@pytest.mark.parametrize(("label", "words"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_a_wrong_label_is_named(clean_set: Path, label: np.ndarray, words: str) -> None:
    cv2.imwrite(str(clean_set / "labels" / "clipa_002.png"), label)
    with pytest.raises(DataError, match=rf"labels/clipa_002\.png: {words}"):
        open_set(clean_set, SETTINGS)


def test_a_wrong_label_of_another_task_is_named(clean_set: Path) -> None:
    (clean_set / "inst").mkdir()
    cv2.imwrite(str(clean_set / "inst" / "clipa_002.png"), np.zeros((24, 30), np.uint8))
    with pytest.raises(DataError, match=r"inst/clipa_002\.png: 30x24, but its image is 32x24"):
        open_set(clean_set, msgspec.structs.replace(SETTINGS, instances="inst"))


def test_an_image_without_label_names_both(clean_set: Path) -> None:
    (clean_set / "labels" / "clipb_006.png").unlink()
    with pytest.raises(DataError, match=r"images/clipb_006\.png: has no label .*labels/clipb_006\.png. Add the label, or remove"):
        open_set(clean_set, SETTINGS)


def test_two_images_of_one_label_are_named(clean_set: Path) -> None:
    cv2.imwrite(str(clean_set / "images" / "clipa_000.jpg"), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"clipa_000\.png: shares its stem with clipa_000\.jpg"):
        open_set(clean_set, SETTINGS)


def test_an_unreadable_image_is_named(clean_set: Path) -> None:
    (clean_set / "images" / "clipa_001.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"clipa_001\.png: cannot be read as an image. Replace or remove it"):
        open_set(clean_set, SETTINGS)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no folder images/\. A data set is a folder with images/ and labels/"):
        open_set(tmp_path, SETTINGS)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images: has no image"):
        open_set(tmp_path, SETTINGS)
