"""Lists of class names: a name has the id that the file gives it, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.datasets.settings import SetSettings, check_settings, open_settings
from engines.datasets.texts import MAX_TEXT_BYTES, read_lines, read_names
from engines.errors import DataError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", ("a", "b")),
        ("\ufeffa\r\nb c\r\n\r\n", ("a", "b c")),
        ("1 b\n0 a\n", ("a", "b")),
        ("0: a\n1: b c\n", ("a", "b c")),
        ("".join(f"{number},n{number}\n" for number in sorted(range(12), key=str)), tuple(f"n{number}" for number in range(12))),
        ("7 up\nwater\n", ("7 up", "water")),
        ("7 up\n", ("7 up",)),
        ("zebra\nant\u2028bee\n".replace("\u2028", " "), ("zebra", "ant bee")),
    ],
)
def test_names_by_their_ids(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert read_names(tmp_path / "labels.txt") == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n\nb\n", r"labels\.txt:2: is empty, so that the names below it may belong to other ids"),
        ("1 a\n2 b\n", r"its ids are not 0 to 1, each once"),
        ("0 a\n0 b\n", "each once"),
        ("\n \n", "has no class names"),
        ("", "has no class names"),
    ],
)
def test_names_whose_ids_are_not_sure_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        read_names(tmp_path / "labels.txt")


def test_only_ends_of_lines_end_lines(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes("a\u2028b\r\nc\x0bd\n".encode())
    assert read_lines(tmp_path / "val.txt", "names") == ("a\u2028b", "c\x0bd")


def test_what_is_no_list_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "val.txt").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    for name, words in (("val.txt", "larger than 64 MiB"), ("", "not a file"), ("absent.txt", "no such file")):
        with pytest.raises(DataError, match=words):
            read_lines(tmp_path / name, "names")


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "\u202eabc", "a\x00"])
def test_a_class_name_that_would_steer_a_terminal_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="has control characters") as caught:
        check_settings(SetSettings("set", ("road", name)), "dataset.toml")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/x", "a\\\\b"])
def test_a_set_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    """Its pictures are files of that name: a downloaded dataset.toml does not choose their folder."""
    (tmp_path / "dataset.toml").write_text(f'name = "{name}"\nclasses = ["a"]\n')
    with pytest.raises(DataError, match="is a path"):
        open_settings(tmp_path)


def test_a_settings_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('classes = ["a"]\r\n', encoding="utf-8-sig")
    assert open_settings(tmp_path)[1].classes == ("a",)
