"""Engines that were built elsewhere: loaded at the user's request, with obvious mistakes refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engines.errors import BackendUnavailableError, EngineNotBuiltError
from engines.plans.passport import TRUST_WARNING, load_foreign
from engines.plans.store import Store

from .examples import PLAN, passport_of


def test_the_warning_names_the_risk() -> None:
    assert "native code" in TRUST_WARNING
    assert "lets its author run anything as you" in TRUST_WARNING


def test_a_foreign_engine_is_loaded_with_its_passport_if_there_is_one(store: Store, tmp_path: Path) -> None:
    alone = tmp_path / "their.engine"
    alone.write_bytes(PLAN)
    assert load_foreign(alone) == (PLAN, None)
    theirs = Store(tmp_path / "theirs", tmp_path / "their.key").save(passport_of(), PLAN)
    assert load_foreign(theirs.plan_path) == (PLAN, passport_of())


def test_files_that_are_not_engines_are_refused_by_name(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty.plan").touch()
    with (tmp_path / "vast.plan").open("wb") as file:
        file.truncate(2**32 + 1)
    (tmp_path / "folder.plan").mkdir()
    for path, why in (
        (tiny_model, r"this is an ONNX file, not an engine\. Run it with --model, or build an engine"),
        (tmp_path / "empty.plan", "this file is empty"),
        (tmp_path / "vast.plan", r"4\.0 GiB is too large"),
        (tmp_path / "folder.plan", "not a file"),
        (tmp_path / "missing.plan", "No such file"),
    ):
        with pytest.raises(BackendUnavailableError, match=why) as caught:
            load_foreign(path)
        assert str(path) in str(caught.value)
        assert not isinstance(caught.value, EngineNotBuiltError), "the user did not ask for a build"


def test_the_passport_of_another_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "their.plan"
    path.write_bytes(PLAN)
    sidecar = path.with_suffix(".json")
    sidecar.write_bytes(msgspec.json.encode({"passport": passport_of(b"another"), "signature": ""}))
    with pytest.raises(BackendUnavailableError, match="this is the passport of another engine"):
        load_foreign(path)
    sidecar.write_bytes(b"{")
    with pytest.raises(BackendUnavailableError, match=r"passport is damaged.*\. Copy it again, or remove it"):
        load_foreign(path)
