"""The user's folders on machines where they are missing, or another's."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from engines.errors import BackendUnavailableError, CollectionError, ModelNotFoundError, NoHomeError, printable
from engines.models import zoo
from engines.models.collection.folders import new_model
from engines.plans.signing import MachineKey
from engines.system.places import user_folder


def test_without_a_home_no_folder_called_tilde_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", str)  # what it does for a user id without a name
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(NoHomeError, match="XDG_DATA_HOME"):
        user_folder("data")
    assert zoo.own_names() == ()
    assert "road" in zoo.names()
    with pytest.raises(NoHomeError), new_model("mine"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_models_work_beside_a_folder_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in another user's home. A name that is too long is refused to root as well, like a folder without permission."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ("x" * 300)))
    with caplog.at_level(logging.WARNING):
        assert zoo.names() == zoo.bundled_names()
        assert zoo.card_of("road")[0].name == "road"
    assert caplog.text.count("models of your own cannot be read") == 1
    with pytest.raises(CollectionError, match="XDG_DATA_HOME"), new_model("mine"):
        pass


def test_a_model_whose_name_is_not_utf_8_is_refused_by_that_reason(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    path.touch()
    with pytest.raises(ModelNotFoundError, match=r"caf\\xe9\.onnx: its name is not UTF-8.*Rename it"):
        zoo.locate(str(path))


def test_a_key_in_a_folder_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    """A name that is too long is refused to root as well."""
    with pytest.raises(BackendUnavailableError, match=r"cannot be reached .*XDG_STATE_HOME"):
        MachineKey(tmp_path / ("x" * 300) / "engine.key").sign(b"")


def test_bytes_of_a_file_name_that_is_not_utf_8_are_shown() -> None:
    assert printable("caf\udce9.mp4") == r"caf\xe9.mp4"
