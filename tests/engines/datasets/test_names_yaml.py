"""Names in the yaml of a set: the ids count and not the order of lines, and nothing is made up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engines.datasets.names_yaml import read_yaml
from engines.errors import DataError


def names_in(folder: Path, text: str | bytes) -> tuple[str, ...]:
    (folder / "data.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(folder / "data.yaml").names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, 'b c', \"d\"]\n", ("a", "b c", "d")),
        ("names: {0: a, 1: b}\n", ("a", "b")),
        ("names: {1: b, 0: a}\n", ("a", "b")),
        ("names:\n  2: c\n  '1': b\n  \"0\": a\n", ("a", "b", "c")),
        ("names: [a,\n  b]\nnc: 2\n", ("a", "b")),
        ("names:\n- a\n- b\nnc: 2\n", ("a", "b")),
        ("names:\n  # people\n  0: a # small\n\n  1: b c\n", ("a", "b c")),
        ("---\n\"names\" : ['it''s', \"tab\\there\", a#b, '#c']\n...\n", ("it's", "tab\there", "a#b", "#c")),
        ("names: [no, yes, 1e3, 2024-01-01, 007, 'null']\n", ("no", "yes", "1e3", "2024-01-01", "007", "null")),
        ("x: &n [a, b]\nnames: *n\n", ("a", "b")),
        ("names: ['traffic, light', 'a]b', 'c}d']\n", ("traffic, light", "a]b", "c}d")),
        ("names:\n  0: >-\n    folded\n    name\n  1: |-\n    b\n", ("folded name", "b")),
        ("nc: 2\n", ()),
        ("names:\n", ()),
        ("", ()),
        ("names: !!python/object/apply:os.system [touch]\n", ("touch",)),
    ],
)
def test_names_by_their_ids(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert names_in(tmp_path, text) == names
    assert names_in(tmp_path, b"\xef\xbb\xbf" + text.encode()) == names
    assert names_in(tmp_path, text.replace("\n", "\r\n").encode("utf-16")) == names


def test_from_the_eleventh_class_on_ids_are_still_numbers(tmp_path: Path) -> None:
    lines = "".join(f"  '{class_id}': n{class_id}\n" for class_id in sorted(map(str, range(30))))
    assert names_in(tmp_path, f"names:\n{lines}") == tuple(f"n{class_id}" for class_id in range(30))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: {0: a, 2: c}\n", r"data\.yaml:1: names has 2 classes, but none with the id 1"),
        ("names: {1: a, 2: b}\n", r"none with the id 0"),
        ("names:\n  0: a\n  0: b\n", r"data\.yaml:3: names the class 0 twice"),
        ("names: [a, b]\nnc: 2\nnames: [b, a]\n", r"data\.yaml:3: has the key names twice"),
        ("names: {car: 0, person: 1}\n", "names has the key 'car' where an id is expected"),
        ("names: {-1: a}\n", "names has the key '-1'"),
        ("names: [a, ~, c]\n", "the class 1 has no name"),
        ("names: [a, [b, c]]\n", "the class 1 has no name"),
        ("names: coco.names\n", "names is neither a list nor a table"),
        ("nc: 3\nnames: [a, b]\n", r"data\.yaml:1: nc is 3, but names has 2 classes"),
        ("names: [a, b\n", "is not valid YAML"),
        ("- a\n- b\n", "is not a table of keys"),
        ("[" * 5_000, "is not valid YAML"),
        ("- " * 5_000, "is not valid YAML"),
        ("x" * 300_000, "larger than 256 KiB"),
        (b"names: [\xff\xff]\n", r"cannot be read as YAML .* Save it as UTF-8"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        names_in(tmp_path, text)


def test_aliases_that_would_make_billions_take_no_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 {k: lol}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)), "names: [x]"]
    started_s = time.monotonic()
    assert names_in(tmp_path, "\n".join(lines)) == ("x",)
    assert time.monotonic() - started_s < 1


def test_places_of_images(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("path: ../set\ntrain: images/train\nval: [a, b]\nvalidation: c\ntest:  # none\n")
    file = read_yaml(tmp_path / "data.yaml")
    assert (file.root, file.splits) == ("../set", {"train": ("images/train",), "val": ("c",), "test": ()})
