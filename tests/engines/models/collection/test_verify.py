from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ModelNotFoundError
from engines.models.collection.add import add_file
from engines.models.collection.folders import fault_of, new_model


@pytest.fixture
def mine(own_folder: Path, tiny_model: Path) -> Path:
    with new_model("mine") as folder:
        add_file(tiny_model, "mine", folder)
    return own_folder / "mine"


def test_bundled_and_own_models_are_what_their_cards_say(mine: Path) -> None:
    assert fault_of("road") == ""
    assert fault_of("mine") == ""


def test_one_changed_byte_is_found(mine: Path) -> None:
    data = bytearray((mine / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (mine / "model.onnx").write_bytes(data)
    assert "was changed or damaged: SHA-256" in fault_of("mine")


def test_a_missing_file_is_reported(mine: Path) -> None:
    (mine / "model.onnx").unlink()
    assert "model.onnx cannot be read (No such file" in fault_of("mine")


def test_a_broken_card_is_reported(mine: Path) -> None:
    (mine / "card.toml").write_text("broken")
    assert "its card cannot be read: " in fault_of("mine")


def test_a_card_without_a_hash_is_reported(mine: Path) -> None:
    card = mine / "card.toml"
    card.write_text("\n".join(line for line in card.read_text().splitlines() if not line.startswith("sha256")))
    assert fault_of("mine") == "its card has no sha256 to compare with"


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ModelNotFoundError, match='no model "mine"'):
        fault_of("mine")
