"""A list of held-out images has names, whatever characters are in them and however they are written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.datasets.checking import check_set
from engines.datasets.folder import open_set
from engines.datasets.holding import hold_out, listed_names
from engines.datasets.settings import SetSettings

NAMES = [
    "my pic 1",
    "my pic 2",
    "my",
    "img[1]",
    "img1",
    "a,b;c",
    "it's",
    'quoted "x"',
    "tür 7",
    "v1.2_frame3",
    "v1",
    "#7",
    "b.jpg 2",
]
SETTINGS = SetSettings("names", ("left", "right"), hold_out_list="val.txt")


def listed(folder: Path, text: str | bytes, names: list[str] = NAMES) -> tuple[list[str], list[str]]:
    folder.mkdir(exist_ok=True)
    (folder / "val.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return listed_names(folder / "val.txt", names)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "form",
    ["{}", "{}.jpg", "{}.PNG", "./images/{}.jpg", "/data/set/images/{}.jpg", "C:\\sets\\images\\{}.jpg", '"{}.jpg"', "'{}'",
     "{}.jpg 3", "images/{}.jpg labels/{}.png", "labels/{}.txt", "  {}\t"],
)  # fmt: skip
def test_every_form_of_a_line_is_the_name_in_it(tmp_path: Path, name: str, form: str) -> None:
    assert listed(tmp_path, form.replace("{}", name) + "\n") == ([name], [])


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_marks_ends_of_lines_and_both_forms_of_unicode_make_no_difference(tmp_path: Path, ends: str) -> None:
    text = ends.join(["my pic 1", unicodedata.normalize("NFD", "tür 7"), "", "img[1]", ""])
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        assert listed(tmp_path, data)[0] == ["my pic 1", "tür 7", "img[1]"]
    decomposed = [unicodedata.normalize("NFD", name) for name in NAMES]
    assert listed(tmp_path, "tür 7.jpg", decomposed)[0] == [unicodedata.normalize("NFD", "tür 7")]


CHARACTERS = st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), blacklist_characters="/\\\ufeff")
WORDS = st.lists(st.text(CHARACTERS, min_size=1, max_size=5), min_size=1, max_size=3).map(" ".join)
SETS = st.lists(WORDS, min_size=2, unique_by=lambda text: unicodedata.normalize("NFC", text))


@settings(max_examples=100, deadline=None)
@given(SETS)
def test_any_bare_name_is_itself(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    held = names[: len(names) // 2]
    assert listed(folder, "\n".join(held), names) == (held, [])


def test_no_other_image_is_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    """The first word of a name, the text before its last dot, and what its brackets would match are other names."""
    missing = ["my pic 3", "v1.9", "img[2]"]
    names = [name for name in NAMES if name != "img1"] + ["img2x"]
    assert listed(tmp_path, "\n".join(missing), names) == ([], missing)
    held = hold_out(tmp_path, SETTINGS, names)
    assert (held.names, held.patterns, held.unknown) == (frozenset(), (), tuple(missing))


def test_names_in_folders_are_told_apart(tmp_path: Path) -> None:
    names = ["train/7", "val/7", "val/8"]
    assert listed(tmp_path, "/data/images/val/7.jpg\n8.jpg\n7.jpg\n", names) == (["val/7", "val/8"], ["7.jpg"])


def test_brackets_and_spaces_hold_out_what_they_name(tmp_path: Path, pair) -> None:
    import numpy as np

    label = np.zeros((24, 32), np.uint8)
    label[:, 16:] = 1
    for number, stem in enumerate(("img[1]", "img1", "my pic 1", "my", "other")):
        pair(tmp_path, stem, label, shade=20 * number)
    (tmp_path / "val.txt").write_text("img[1]\nmy pic 1\nnobody\n")
    report = check_set(tmp_path, None, ("left", "right"))
    assert report.held_out == {"img[1]", "my pic 1"}
    assert any("val.txt names 1 image that does not exist, such as nobody" in warning for warning in report.warnings)
    assert {sample.name for sample in open_set(tmp_path, report.settings).held_out} == {"img[1]", "my pic 1"}


def test_files_of_systems_are_no_images_and_no_labels(clean_set: Path) -> None:
    for path in (
        "images/._clipa_000.jpg",
        "labels/._clipa_000.png",
        "images/.DS_Store",
        "labels/Thumbs.db",
        "labels/.hidden.png",
    ):
        (clean_set / path).write_bytes(b"\0\5\x16\7" * 50)
    report = check_set(clean_set, None, ("left", "right"))
    assert (report.faults, len(report.stems), report.label_count) == ((), 8, 8)
