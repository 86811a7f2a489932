"""dataset.toml: written, read back, found, and never lost."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.datasets.settings import SetSettings, open_settings, settings_to_toml, write_settings
from engines.errors import DataError

FULL = SetSettings(
    "set",
    ("sky", 'a "quoted" name', "naïve 道路"),
    share=2.5,
    hold_out=("clip7_*", "[[]odd]"),
    hold_out_list="val.txt",
    means={"sky": ("sky", "cloud"), 'a "quoted" name': ()},
    surface="lane",
    instances="inst",
    licence="research only",
)


@pytest.mark.parametrize(
    "settings", [FULL, SetSettings("set", ("a",)), SetSettings("set", tuple(f"class{i}" for i in range(80)))]
)
def test_what_is_written_is_read_back(tmp_path: Path, settings: SetSettings) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    assert write_settings(settings, folder / "dataset.toml", folder)
    assert open_settings(folder) == (folder, settings)
    assert max(map(len, (folder / "dataset.toml").read_text().splitlines())) <= 130
    assert not write_settings(settings, folder / "dataset.toml", folder), "the file has this content already"


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=8),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_name_is_read_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    whole = tuple(dict.fromkeys(name.encode("utf-8", "replace").decode() for name in names))
    path = tmp_path_factory.mktemp("set") / "dataset.toml"
    path.write_text(settings_to_toml(SetSettings("x", whole), named=True), encoding="utf-8", newline="")
    assert open_settings(path)[1] == SetSettings("x", whole)


def test_a_file_elsewhere_names_its_folder(tmp_path: Path) -> None:
    folder, target = tmp_path / "set", tmp_path / "notes" / "mine.toml"
    folder.mkdir()
    write_settings(FULL, target, folder)
    assert 'folder = "../set"' in target.read_text()
    found, settings = open_settings(target)
    assert found.resolve() == folder.resolve()
    assert settings == FULL
    assert open_settings(target)[1] == FULL


def test_a_far_folder_is_named_whole(tmp_path: Path) -> None:
    folder, target = tmp_path / "a" / "b" / "set", tmp_path / "c" / "d" / "e" / "mine.toml"
    folder.mkdir(parents=True)
    write_settings(FULL, target, folder)
    assert f'folder = "{folder.resolve()}"' in target.read_text()


def test_a_name_of_its_own_is_kept(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(FULL, name="other")
    write_settings(settings, tmp_path / "dataset.toml", tmp_path)
    assert open_settings(tmp_path)[1] == settings


def test_an_edited_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text('classes = ["mine"]\n')
    with pytest.raises(DataError, match=r"exists with other content\. Edit it by hand, or overwrite it with --force"):
        write_settings(FULL, path, tmp_path)
    assert path.read_text() == 'classes = ["mine"]\n'
    assert write_settings(FULL, path, tmp_path, overwrite=True)
    assert open_settings(tmp_path)[1].classes == FULL.classes
    assert [entry.name for entry in tmp_path.iterdir()] == ["dataset.toml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes = [", "is not valid TOML"),
        ('classes = ["a"]\nfolder = 3\n', "expected a path as text"),
        ('classes = ["a"]\nfolder = "nowhere"\n', "there is no folder"),
        ('clases = ["a"]\n', 'unknown key "clases". Did you mean "classes"'),
        ('classes = ["a"]\nhold_out = "b"\n', "hold_out"),
    ],
)
def test_a_fault_in_a_file_is_reported(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        open_settings(path)


def test_a_folder_without_settings_is_an_error_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Name a folder with images/ and labels/, a data\.yaml, or COCO's JSON"):
        open_settings(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"Make one: run\.py data check .* --write"):
        open_settings(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_settings(tmp_path / "nowhere")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_settings(FULL, tmp_path / "file" / "dataset.toml", tmp_path)
