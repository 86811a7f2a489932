from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engines.errors import CollectionError
from engines.models import zoo
from engines.models.collection.folders import check_free, check_name, check_own, name_for

BAD = [
    "../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "C:\\x", "C:x", "~ada", ".hidden", "-rf", "_x", "a b", "a\nb", "a\0b",
    "CON", "con", "NUL", "nul", "aux", "PRN", "COM1", "lpt9", "com0", "x.onnx", "model.toml", "a.b", "x" * 65, "straße", "ＣＯＮ",
    "road\u200b", "٣",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_paths_and_devices_are_not_names(name: str) -> None:
    """F29: `../`, absolute, CON/NUL names."""
    with pytest.raises(CollectionError) as caught:
        check_name(name)
    assert len(str(caught.value).splitlines()) == 1 or "\n" in name


@pytest.mark.parametrize("name", ["a", "yolo11n-seg_640", "7", "Road", "x" * 64, "console", "com10", "null"])
def test_valid_names(name: str) -> None:
    assert check_name(name) == name


@given(st.text(max_size=80) | st.from_regex(re.compile(r"[A-Za-z0-9_.\-/\\: ]{1,12}"), fullmatch=True))
@example("aux")
def test_a_valid_name_is_one_folder_on_every_system(name: str) -> None:
    try:
        check_name(name)
    except CollectionError:
        return
    assert Path("models", name).parent == Path("models")
    assert PureWindowsPath("models", name).parent == PureWindowsPath("models")
    assert not re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name, re.IGNORECASE)
    assert name not in (".", "..")
    assert Path(name).suffix == ""


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("yolo11n-seg.onnx", "yolo11n-seg"),
        ("seg (640).onnx", "seg-640"),
        ("/weights/best/model.onnx", "best"),
        ("v1.2.onnx", "v1-2"),
        ("_private.onnx", "private"),
        ("ünicode.onnx", "nicode"),
        ("x" * 200 + ".onnx", "x" * 64),
    ],
)
def test_a_name_is_made_from_a_file_s(file: str, name: str) -> None:
    assert name_for(Path(file)) == name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the folder, which this does not touch
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_a_name_made_from_a_file_s_is_valid(stem: str) -> None:
    try:
        name = name_for(Path("folder", f"{stem}.onnx"))
    except CollectionError:
        return  # an error: see below
    check_name(name)


@pytest.mark.parametrize("file", ["nul.onnx", "模型.onnx", "...onnx"])
def test_a_file_without_a_usable_name_is_an_error(file: str) -> None:
    with pytest.raises(CollectionError, match="--name NAME"):
        name_for(Path(file))


@pytest.mark.parametrize("name", ["road", "Road", "ROAD"])
def test_a_bundled_name_is_never_shadowed(name: str) -> None:
    assert "road" in zoo.bundled_names()
    with pytest.raises(CollectionError, match="bundled"):
        check_free(name)


def test_a_taken_name_is_an_error_with_the_cure(own_folder: Path) -> None:
    (own_folder / "mine").mkdir(parents=True)
    (own_folder / "mine" / "card.toml").write_text("")
    check_free("other")
    check_own("mine")
    with pytest.raises(CollectionError, match=r"run\.py models remove mine"):
        check_free("MINE")
    with pytest.raises(CollectionError, match='Did you mean "mine"'):
        check_own("mime")
    with pytest.raises(CollectionError, match="is a bundled model"):
        check_own("road")
