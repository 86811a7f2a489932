from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.errors import ModelNotFoundError
from engines.models import zoo


def test_bundled_models_are_found_by_name() -> None:
    for name in zoo.bundled_names():
        model = zoo.find(name)
        assert model.card.name == name
        assert model.path.is_file()
    assert [path.parent.name for _, path in zoo.cards()] == list(zoo.bundled_names())


def test_bundled_cards_are_complete() -> None:
    """What we ship names its licence, its data and its fingerprint."""
    for card, path in zoo.cards():
        assert path.is_file(), path
        assert card.licence != "unknown", card.name
        assert card.data, card.name
        assert len(card.sha256) == 64, card.name


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        zoo.find("no such model at all")
    assert 'no model "no such model at all". Give a name or the path of an .onnx file. Known: ' in str(caught.value)
    assert "the path of an .onnx file" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not zoo.bundled_names(), reason="no model is bundled in this checkout")
def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    name = zoo.bundled_names()[0]
    with pytest.raises(ModelNotFoundError, match=f'Did you mean "{name}"'):
        zoo.find(name + "s")


def test_a_misspelt_path_is_answered_with_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "people.onnx").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match=r'poeple\.onnx: no such model file. Did you mean "people\.onnx"\?'):
        zoo.find(str(tmp_path / "poeple.onnx"))


def test_a_path_in_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"There is no folder .*nowhere"):
        zoo.find(str(tmp_path / "nowhere" / "a.onnx"))


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-has-this-name/a.onnx", "a\0b.onnx", "", "."])
def test_a_name_no_file_can_have_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        zoo.find(name)


def test_a_file_is_located_without_being_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no network")
    assert zoo.locate(str(path)) == path


def test_not_found_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        zoo.find("nothing")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need no rights on POSIX only")
def test_a_link_that_leads_nowhere_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").symlink_to(tmp_path / "b.onnx")
    with pytest.raises(ModelNotFoundError, match="no such model file"):
        zoo.find(str(tmp_path / "a.onnx"))
