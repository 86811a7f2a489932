"""Each fault of a set is found and reported with its file, next to all others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets.checking import check_set
from engines.datasets.folder import labelled_pairs, open_set
from engines.datasets.settings import SetSettings
from engines.errors import DataError
from engines.types import Size

SETTINGS = SetSettings("halves", ("left", "right"), hold_out=("clipb_*",))


def kinds(folder: Path, settings: SetSettings | None = SETTINGS) -> list[tuple[str, str]]:
    return [(fault.kind, fault.path.name) for fault in check_set(folder, settings).faults]


def test_the_report_of_a_clean_set(clean_set: Path) -> None:
    seen = []
    report = check_set(clean_set, SETTINGS, on_progress=lambda done, of: seen.append((done, of)))
    assert not report.faults
    assert not report.warnings
    assert (len(report.stems), report.label_count, len(report.held_out)) == (8, 8, 4)
    assert report.class_pixels[[0, 1, 255]].tolist() == [8 * 24 * 16, 8 * 24 * 15, 8 * 24]
    assert report.class_images[[0, 1, 2, 255]].tolist() == [8, 8, 0, 8]
    assert report.sizes == {Size(32, 24): 8}
    np.testing.assert_allclose(report.brightness, np.percentile(np.arange(20, 180, 20), (5, 50, 95)), atol=0.01)
    assert seen == [(done, 8) for done in range(1, 9)]
    assert set(report.examples) == set(report.stems)


def test_what_is_found_clean_can_be_opened(clean_set: Path) -> None:
    report = check_set(clean_set, None, ("left", "right"))
    assert not report.faults
    opened = open_set(clean_set, report.settings)
    assert {sample.name for sample in opened.held_out} == report.held_out
    assert report.held_out == {f"clipa_{number:03}" for number in range(4)}, "a whole clip"


def broken(folder: Path) -> dict[str, tuple[str, str]]:
    """Break a set in every way at once: what was done → the fault that must be reported."""
    images, labels = folder / "images", folder / "labels"
    good = cv2.imread(str(labels / "clipa_000.png"), cv2.IMREAD_UNCHANGED)
    (labels / "clipa_000.png").unlink()
    cv2.imwrite(str(labels / "orphan.png"), good)
    cv2.imwrite(str(labels / "clipa_000.jpg"), good)
    (images / "clipa_001.png").write_bytes(b"no picture")
    (labels / "clipa_002.png").write_bytes(b"no picture")
    cv2.imwrite(str(labels / "clipa_003.png"), np.dstack([good] * 3))
    cv2.imwrite(str(labels / "clipb_004.png"), good.astype(np.uint16))
    cv2.imwrite(str(labels / "clipb_005.png"), good[:20])
    strange = good.copy()
    strange[3, 4] = 7
    cv2.imwrite(str(labels / "clipb_006.png"), strange)
    cv2.imwrite(str(labels / "clipb_007.png"), np.full_like(good, 255))
    shutil.copy(images / "clipb_004.png", images / "clipb_004.bmp")
    return {
        "image without label": ("no label", "clipa_000.png"),
        "label without image": ("no image", "orphan.png"),
        "label that is not a PNG": ("not png", "clipa_000.jpg"),
        "broken image": ("unreadable", "clipa_001.png"),
        "broken label": ("unreadable", "clipa_002.png"),
        "three channels": ("format", "clipa_003.png"),
        "16 bits": ("format", "clipb_004.png"),
        "another size": ("size", "clipb_005.png"),
        "strange id": ("id", "clipb_006.png"),
        "all void": ("void", "clipb_007.png"),
        "two images, one stem": ("same stem", "clipb_004.png"),
    }


def test_every_fault_is_found_and_not_only_the_first(clean_set: Path) -> None:
    expected = broken(clean_set)
    found = kinds(clean_set)
    assert set(found) >= set(expected.values())
    # The label of the doubled stem is 16 bits for both of its images; nothing else is reported twice or invented.
    assert sorted(found) == sorted([*expected.values(), ("format", "clipb_004.png")])


def test_a_label_with_an_upper_case_suffix_must_be_renamed(clean_set: Path) -> None:
    (clean_set / "labels" / "clipa_000.png").rename(clean_set / "labels" / "clipa_000.PNG")
    (fault,) = [fault for fault in check_set(clean_set, SETTINGS).faults if fault.kind == "not png"]
    assert (fault.what, fault.cure) == ("is not found under this name", "Rename it to clipa_000.png")


def test_one_pair_may_have_several_faults(clean_set: Path) -> None:
    label = np.zeros((20, 32), np.uint8)
    label[0, 0] = 9
    cv2.imwrite(str(clean_set / "labels" / "clipa_000.png"), label)
    report = check_set(clean_set, SETTINGS)
    assert [fault.kind for fault in report.faults] == ["id", "size"]
    texts = {fault.kind: str(fault) for fault in report.faults}
    assert "class ids 9 in 0.2% of its pixels, but the set has 2 classes (0..1, 255 void)" in texts["id"]
    assert "is 32x20, but its image is 32x24" in texts["size"]


def test_foreground_written_as_void_is_reported(tmp_path: Path, pair: Callable[..., None]) -> None:
    """0 and 255 are how mask editors save two classes, and here the second would mean nothing at all."""
    label = np.zeros((24, 32), np.uint8)
    label[:, 16:] = 255
    for number in range(4):
        pair(tmp_path, f"{number}", label, shade=50 * number)
    report = check_set(tmp_path, None, ("cell", "membrane"))
    assert any("only 0 and 255" in warning for warning in report.warnings)
    assert any("no pixel of membrane" in warning for warning in report.warnings)


def test_the_same_bytes_on_both_sides_are_a_leak(clean_set: Path) -> None:
    images = clean_set / "images"
    shutil.copy(images / "clipa_000.png", images / "clipb_004.png")
    shutil.copy(images / "clipa_001.png", images / "clipa_002.png")
    leak, double = check_set(clean_set, SETTINGS).warnings
    assert leak == "clipa_000, clipb_004 are the same image, byte for byte, and some of them are held out: a leak. Keep one"
    assert double == "clipa_001, clipa_002 are the same image, byte for byte. Keep one"


def test_a_held_out_image_that_looks_like_a_training_one_is_reported(tmp_path: Path, pair: Callable[..., None]) -> None:
    """Saved again as JPEG and a little smaller: other bytes, the same picture."""
    rng = np.random.default_rng(3)
    label = np.zeros((60, 80), np.uint8)
    for number in range(8):
        pair(tmp_path, f"clip{'ab'[number // 4]}_{number}", label)
        coarse = rng.integers(0, 255, (8, 10, 3), np.uint8)
        picture = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "images" / f"clip{'ab'[number // 4]}_{number}.png"), picture)
    settings = SetSettings("set", ("left",), hold_out=("clipb_*",))
    assert not check_set(tmp_path, settings).warnings
    picture = cv2.imread(str(tmp_path / "images" / "clipa_1.png"))
    cv2.imwrite(str(tmp_path / "again.jpg"), cv2.resize(picture, (72, 54)))
    again = cv2.resize(cv2.imread(str(tmp_path / "again.jpg")), (80, 60))
    cv2.imwrite(str(tmp_path / "images" / "clipb_6.png"), again)
    (warning,) = check_set(tmp_path, settings).warnings
    assert warning == "1 held-out image looks nearly like a training image (clipb_6 like clipa_1): their scores will be too good"


@pytest.mark.parametrize(("clip", "words"), [("a", "cannot be learnt"), ("b", "cannot be evaluated")])
def test_a_class_on_one_side_of_the_split_is_reported(clean_set: Path, clip: str, words: str) -> None:
    for path in (clean_set / "labels").glob(f"clip{clip}_*"):
        cv2.imwrite(str(path), np.zeros((24, 32), np.uint8))
    (warning,) = check_set(clean_set, SETTINGS).warnings
    assert warning.startswith("right: ")
    assert words in warning


def test_a_split_that_splits_nothing_is_reported(clean_set: Path) -> None:
    for patterns, words in ((("other_*",), "matches no image"), (("*",), "matches every image")):
        warnings = check_set(clean_set, SetSettings("halves", ("left", "right"), hold_out=patterns)).warnings
        assert any(words in warning for warning in warnings)


def test_further_labels_are_checked_as_well(clean_set: Path) -> None:
    surface, instances = clean_set / "lane", clean_set / "inst"
    surface.mkdir()
    instances.mkdir()
    cv2.imwrite(str(surface / "clipa_000.png"), np.full((24, 32), 3, np.uint8))
    cv2.imwrite(str(surface / "clipa_001.png"), np.full((24, 32), 4, np.uint8))
    cv2.imwrite(str(surface / "nobody.png"), np.zeros((24, 32), np.uint8))
    cv2.imwrite(str(instances / "clipa_002.png"), np.zeros((12, 32), np.uint8))
    report = check_set(clean_set)
    assert (report.settings.surface, report.settings.instances) == ("lane", "inst"), "found by their usual names"
    assert kinds(clean_set, None) == [("no image", "nobody.png"), ("size", "clipa_002.png"), ("surface", "clipa_001.png")]
    elsewhere = SetSettings("halves", ("left", "right"), hold_out=("clipb_*",), instances="objects")
    assert ("no folder", "objects") in kinds(clean_set, elsewhere)


def test_names_come_from_the_caller_or_a_file_or_the_ids(clean_set: Path) -> None:
    assert check_set(clean_set).settings.classes == ("class0", "class1")
    (clean_set / "labels.txt").write_text("one\n two \n\n", encoding="utf-8")
    assert check_set(clean_set).settings.classes == ("one", "two")
    assert check_set(clean_set, SETTINGS).settings.classes == ("left", "right")
    assert check_set(clean_set, SETTINGS, ("a", "b", "c")).settings.classes == ("a", "b", "c")
    with pytest.raises(DataError, match="named twice"):
        check_set(clean_set, None, ("a", "a"))


def test_examples_show_every_class(tmp_path: Path, pair: Callable[..., None]) -> None:
    for number in range(40):
        label = np.zeros((24, 32), np.uint8)
        if number == 23:
            label[:, :8] = 2
        if number == 31:
            label[:, :8] = 1
        pair(tmp_path, f"{number:02}", label, shade=number)
    examples = check_set(tmp_path).examples
    assert {"23", "31"} <= set(examples)
    assert len(examples) == 12
    assert list(examples) == sorted(examples)


@pytest.mark.parametrize(
    ("missing", "words"), [("images", "no folder images/"), ("labels", "no folder labels/"), ("files", "has no image")]
)
def test_a_folder_that_is_not_a_set_is_an_error(clean_set: Path, missing: str, words: str) -> None:
    shutil.rmtree(clean_set / ("images" if missing == "files" else missing))
    if missing == "files":
        (clean_set / "images").mkdir()
    with pytest.raises(DataError, match=words):
        check_set(clean_set)


def test_outlines_are_not_training_labels(clean_set: Path) -> None:
    shutil.rmtree(clean_set / "labels")
    (clean_set / "labels").mkdir()
    (clean_set / "labels" / "clipa_000.txt").write_text("0 0 0 1 0 1 1\n")
    with pytest.raises(DataError, match=r"YOLO's format for its label, which run\.py evaluate reads"):
        labelled_pairs(clean_set)


def test_a_real_set_is_clean(shared: Path, tmp_path: Path) -> None:
    """CamVid's evening clip, copied into a folder of our own; its clips are distinguished by their names."""
    source = shared / "data" / "camvid"
    for kind in ("images", "labels", "lane", "inst"):
        (tmp_path / kind).mkdir()
        for path in [*sorted((source / kind).glob("0001TP_*"))[:3], *sorted((source / kind).glob("0006R0_*"))[:6]]:
            shutil.copy(path, tmp_path / kind)
    report = check_set(tmp_path, None, [f"class{number}" for number in range(11)])
    assert not report.faults
    assert report.settings.hold_out == ("0001TP_*",)
    assert (report.settings.surface, report.settings.instances) == ("lane", "inst")
