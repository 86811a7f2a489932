"""F17: damaged, foreign and forged engine files. Bytes come out only under a valid signature of this machine."""

from __future__ import annotations

import os
import random
import resource
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.errors import BackendUnavailableError, EngineNotBuiltError
from engines.plans.passport import Environment
from engines.plans.store import Found, Store

from ..engines.plans.examples import AGAIN, ORIN, PLAN, ROAD, RTX_3060, fetch, passport_file, passport_of


@pytest.mark.parametrize("percent", range(100))
def test_a_truncated_engine_is_refused(store: Store, percent: int) -> None:
    found = store.save(passport_of(), PLAN)
    found.plan_path.write_bytes(PLAN[: len(PLAN) * percent // 100])
    with pytest.raises(EngineNotBuiltError, match=("cut off at" if percent else "empty file") + ".*" + AGAIN):
        fetch(store)


@pytest.mark.parametrize("percent", range(100))
def test_a_truncated_passport_is_refused(store: Store, percent: int) -> None:
    path = passport_file(store.save(passport_of(), PLAN))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])
    with pytest.raises(EngineNotBuiltError, match="passport is damaged"):
        fetch(store)


def test_a_thousand_flipped_bits_never_change_a_returned_byte(store: Store) -> None:
    found = store.save(passport_of(), PLAN)
    chance = random.Random(17)
    originals = {path: path.read_bytes() for path in (found.plan_path, passport_file(found))}
    refusals = []
    for turn in range(1000):
        path, data = list(originals.items())[turn % 2]
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            looked_up = store.find(ROAD, RTX_3060)
            plan = store.read(looked_up)
        except EngineNotBuiltError as error:
            refusals.append(str(error))
        else:  # a flip in the passport's indentation, which is not signed
            assert path == passport_file(found)
            assert (plan, looked_up.passport) == (PLAN, found.passport)
        path.write_bytes(data)
    assert len(refusals) > 800
    assert all(len(refusal.splitlines()) == 1 for refusal in refusals)
    assert fetch(store) == PLAN


def test_every_flipped_bit_of_a_small_engine_is_detected(store: Store) -> None:
    plan = b"engine"
    found = store.save(passport_of(plan), plan)
    for position in range(len(plan)):
        for bit in range(8):
            flipped = bytearray(plan)
            flipped[position] ^= 1 << bit
            found.plan_path.write_bytes(flipped)
            with pytest.raises(EngineNotBuiltError, match="was changed after it was built" + AGAIN):
                fetch(store)


def test_an_engine_that_grew_is_refused(store: Store) -> None:
    store.save(passport_of(), PLAN).plan_path.write_bytes(PLAN + b"!")
    with pytest.raises(EngineNotBuiltError, match=r"has 20,012 bytes instead of 20,011"):
        fetch(store)


def test_a_sparse_engine_of_4_gib_is_refused_without_being_read(store: Store) -> None:
    found = store.save(passport_of(), PLAN)
    with found.plan_path.open("r+b") as file:
        file.truncate(2**32)
    before = peak_memory_bytes()
    with pytest.raises(EngineNotBuiltError, match=r"has 4,294,967,296 bytes instead"):
        fetch(store)
    assert peak_memory_bytes() - before < 50 * 2**20


def test_a_passport_of_4_gib_is_refused_without_being_read(store: Store) -> None:
    found = store.save(passport_of(), PLAN)
    with passport_file(found).open("r+b") as file:
        file.truncate(2**32)
    before = peak_memory_bytes()
    with pytest.raises(EngineNotBuiltError, match="is too large"):
        fetch(store)
    assert peak_memory_bytes() - before < 50 * 2**20


def peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_an_onnx_file_in_place_of_the_engine_is_named(store: Store, tiny_model: Path) -> None:
    store.save(passport_of(), PLAN).plan_path.write_bytes(tiny_model.read_bytes())
    with pytest.raises(EngineNotBuiltError, match="was replaced by an ONNX file" + AGAIN):
        fetch(store)


def test_no_bundled_model_passes_for_an_engine(repo_root: Path, store: Store) -> None:
    models = sorted(repo_root.glob("assets/models/*/*.onnx"))
    assert models
    found = store.save(passport_of(), PLAN)
    for model in models:
        found.plan_path.write_bytes(model.read_bytes())
        with pytest.raises(EngineNotBuiltError, match="ONNX"):
            fetch(store)


def test_other_first_bytes_are_not_taken_for_onnx(store: Store) -> None:
    for plan in (b"ptrt\0\0\0\0", b"\x08", b"\x08\x01", b"\x08\x00\x12", b"\x08\x09\x00", b"\x00" * 10):
        store.save(passport_of(plan), plan)
        assert fetch(store) == plan


def test_a_missing_engine_is_reported(store: Store) -> None:
    store.save(passport_of(), PLAN).plan_path.unlink()
    with pytest.raises(EngineNotBuiltError, match=r"cannot be read \(No such file or directory\)" + AGAIN):
        fetch(store)


def test_a_folder_or_fifo_in_place_of_the_engine_is_refused(store: Store) -> None:
    path = store.save(passport_of(), PLAN).plan_path
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EngineNotBuiltError, match=r"cannot be read \(not a file\)"):
        fetch(store)
    path.unlink()
    path.mkdir()
    with pytest.raises(EngineNotBuiltError, match=r"cannot be read \(not a file\)"):
        fetch(store)


def test_an_engine_without_a_passport_does_not_exist(store: Store) -> None:
    passport_file(store.save(passport_of(), PLAN)).unlink()
    with pytest.raises(EngineNotBuiltError, match="no engine for road"):
        fetch(store)


def test_an_engine_of_another_machine_is_refused(store: Store, tmp_path: Path) -> None:
    """Copied with its passport from a computer that differs only in the key."""
    Store(store.root, tmp_path / "other.key").save(passport_of(), PLAN)
    with pytest.raises(EngineNotBuiltError, match="was not signed by this machine, or its passport was changed" + AGAIN):
        fetch(store)
    store.save(passport_of(environment=ORIN), PLAN)  # now this machine has a key
    with pytest.raises(EngineNotBuiltError, match="was not signed by this machine"):
        fetch(store)


@pytest.mark.parametrize(
    "forged",
    [
        {"plan_sha256": "00" * 32},
        {"plan_bytes": 3},
        {"environment": ORIN},
        {"card": {"name": "evil"}},
        {"audit": None},
        {"built_at": ""},
    ],
)
def test_a_passport_that_was_edited_is_refused(store: Store, forged: dict[str, Any]) -> None:
    found = store.save(passport_of(), PLAN)
    sealed = {"passport": msgspec.structs.replace(found.passport, **forged), "signature": found.signature}
    passport_file(found).write_bytes(msgspec.json.encode(sealed))
    with pytest.raises(EngineNotBuiltError, match="was not signed by this machine"):
        fetch(store)


@pytest.mark.parametrize(
    ("environment", "reported"),
    [(ORIN, "built for Orin with"), (msgspec.structs.replace(RTX_3060, runtime_version="10.4.0"), "built with TensorRT 10.4.0;")],
)
def test_a_signed_engine_at_the_path_of_another_is_refused(store: Store, environment: Environment, reported: str) -> None:
    """F17: another GPU or version in a passport with a valid signature."""
    here, elsewhere = store.save(passport_of(), PLAN), store.save(passport_of(environment=environment), PLAN)
    passport_file(elsewhere).replace(passport_file(here))
    elsewhere.plan_path.replace(here.plan_path)
    with pytest.raises(EngineNotBuiltError, match=reported + ".*" + AGAIN):
        fetch(store)


def test_read_verifies_the_given_passport(store: Store) -> None:
    found = store.save(passport_of(), PLAN)
    found.plan_path.write_bytes(b"evil")
    forged = Found(found.plan_path, passport_of(b"evil"), found.signature)
    with pytest.raises(EngineNotBuiltError, match="was not signed by this machine"):
        store.read(forged)


def test_the_returned_bytes_are_the_verified_ones_while_the_file_changes(store: Store) -> None:
    """Check and use are of the same bytes, while another thread replaces the file all the time."""
    found = store.save(passport_of(), PLAN)
    evil = bytes(len(PLAN))
    stop = threading.Event()

    def swap() -> None:
        spare = found.plan_path.with_name("spare")
        while not stop.is_set():
            for data in (evil, PLAN):
                spare.write_bytes(data)
                spare.replace(found.plan_path)

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes: set[bool | None] = set()
    reads, until_s = 0, time.monotonic() + 10
    try:
        while (reads < 300 or len(outcomes) < 2) and time.monotonic() < until_s:
            reads += 1
            try:
                outcomes.add(store.read(found) == PLAN)
            except EngineNotBuiltError:
                outcomes.add(None)
    finally:
        stop.set()
        thread.join()
    assert outcomes == {True, None}, "both cases occurred: verified and refused"


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b"null", b'{"passport": {}, "signature": ""}', b"\0" * 1000]
)
def test_a_damaged_passport_is_refused_with_its_path(store: Store, junk: bytes) -> None:
    path = passport_file(store.save(passport_of(), PLAN))
    path.write_bytes(junk)
    with pytest.raises(EngineNotBuiltError, match=rf"{path}: the engine's passport is damaged.*run.py build road"):
        fetch(store)
    assert store.engines() == []


def test_a_passport_of_a_later_format_is_refused(store: Store) -> None:
    path = passport_file(store.save(passport_of(), PLAN))
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(EngineNotBuiltError, match="has format 3, this program reads 2"):
        fetch(store)


def test_a_key_that_others_may_read_is_reported_instead_of_a_rebuild(store: Store, tmp_path: Path) -> None:
    store.save(passport_of(), PLAN)
    (tmp_path / "state" / "engine.key").chmod(0o644)
    with pytest.raises(BackendUnavailableError, match="Delete it: a new one is made") as caught:
        fetch(store)
    assert not isinstance(caught.value, EngineNotBuiltError)
    with pytest.raises(BackendUnavailableError, match="Delete it: a new one is made"), store.building(ROAD, RTX_3060):
        pass
