"""The store returns only complete engines that this machine signed and that fit it; otherwise an error says why not."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import BuildError, EngineNotBuiltError
from engines.plans.passport import BuildRequest, Environment
from engines.plans.store import Found, Store

from .examples import AGAIN, ORIN, PLAN, ROAD, RTX_3060, fetch, passport_file, passport_of


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_saved_engine_is_found_and_read(store: Store) -> None:
    saved = store.save(passport_of(), PLAN, b"timings")
    found = store.find(ROAD, RTX_3060)
    assert found == saved
    assert found.passport == passport_of()
    assert store.read(found) == PLAN
    assert store.timing_cache(ROAD, RTX_3060) == b"timings"


def test_the_layout_is_readable(store: Store) -> None:
    store.save(passport_of(), PLAN, b"timings")
    request = msgspec.structs.replace(ROAD, batch=4, runtime="tensorrt-rtx", target="86", dla_core=0)
    store.save(passport_of(request=request), PLAN)
    folders = {path.rpartition("/")[0] for path in files_under(store.root)}
    assert folders == {"road-a1a1a1a1/fp16-640x384-b1-tensorrt", "road-a1a1a1a1/fp16-640x384-b4-tensorrt-rtx-sm86-dla0"}
    names = [path.name for path in (store.root / "road-a1a1a1a1/fp16-640x384-b1-tensorrt").iterdir()]
    stem = store.find(ROAD, RTX_3060).plan_path.stem
    assert len(stem) == 8
    assert sorted(names) == sorted([f"{stem}.plan", f"{stem}.json", "timing.cache"])
    assert '\n    "build_seconds": 240.0,' in passport_file(store.find(ROAD, RTX_3060)).read_text()


def test_the_store_is_in_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store().root == tmp_path / "realtime-segmentation" / "engines"
    assert list(tmp_path.iterdir()) == [], "nothing is created before it is needed"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", "a/../../b", "C:\\x", "CON", "nul\0l", "é" * 300, "", ".", " "])
def test_a_models_name_cannot_leave_the_store(store: Store, name: str) -> None:
    request = msgspec.structs.replace(ROAD, model_name=name, precision="../p", runtime="../r", onnx_sha256="../../..")
    found = store.save(passport_of(request=request), PLAN)
    assert found.plan_path.resolve().parent.parent.parent == store.root.resolve()
    assert fetch(store, request) == PLAN


def test_names_that_are_equal_on_disk_do_not_share_an_engine(store: Store) -> None:
    one, two = (msgspec.structs.replace(ROAD, model_name=name) for name in ("a/b", "a:b"))
    store.save(passport_of(request=one), PLAN)
    with pytest.raises(EngineNotBuiltError, match="no engine for a:b"):
        store.find(two, RTX_3060)


def test_an_empty_store_reports_how_to_build(store: Store) -> None:
    with pytest.raises(EngineNotBuiltError, match=r"^no engine for road \(fp16, 384x640\) yet\. Build it: run.py build road$"):
        store.find(ROAD, RTX_3060)
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("request_now", "environment", "sentence"),
    [
        (ROAD, ORIN, "built for NVIDIA GeForce RTX 3060 with TensorRT 10.3.0; this is Orin with TensorRT 10.3.0" + AGAIN),
        (
            ROAD,
            msgspec.structs.replace(RTX_3060, runtime_version="10.13.3"),
            "built with TensorRT 10.3.0; this machine has TensorRT 10.13.3" + AGAIN,
        ),
        (msgspec.structs.replace(ROAD, onnx_sha256="c3" * 32), RTX_3060, "the model file of road changed since .*" + AGAIN),
        (msgspec.structs.replace(ROAD, card_sha256="c3" * 32), RTX_3060, "the card of road changed since .*" + AGAIN),
        (
            msgspec.structs.replace(ROAD, precision="fp32"),
            RTX_3060,
            r"no engine for road \(fp32, 384x640\) yet, only one for fp16\. Build it: .* --precision fp32 \(about 4 min\)$",
        ),
    ],
)
def test_the_nearest_engine_explains_the_difference(
    store: Store, request_now: BuildRequest, environment: Environment, sentence: str
) -> None:
    store.save(passport_of(), PLAN)
    with pytest.raises(EngineNotBuiltError, match=sentence):
        store.find(request_now, environment)


def test_engines_of_other_models_are_not_compared_with(store: Store) -> None:
    for name in ("road-night", "cityscapes"):
        store.save(passport_of(request=msgspec.structs.replace(ROAD, model_name=name)), PLAN)
    with pytest.raises(EngineNotBuiltError, match=r"yet\. Build it: run\.py build road$"):
        store.find(ROAD, RTX_3060)


# Engines built ahead for a compute capability.

AHEAD = msgspec.structs.replace(ROAD, runtime="tensorrt-rtx", target="86")
ANY_86 = Environment("tensorrt-rtx", "1.7.1", "", "", "any", "8.6")
RTX_HERE = Environment("tensorrt-rtx", "1.7.1", "13.0", "580.1", "NVIDIA GeForce RTX 3060", "8.6")
FOR_HERE = msgspec.structs.replace(AHEAD, target="")


def test_an_engine_built_ahead_serves_every_machine_of_its_compute_capability(store: Store) -> None:
    store.save(passport_of(request=AHEAD, environment=ANY_86), PLAN)
    for request, environment in ((AHEAD, ANY_86), (AHEAD, RTX_HERE), (FOR_HERE, RTX_HERE)):
        assert fetch(store, request, environment) == PLAN


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"compute_capability": "8.9"}, "8.6"),
        ({"runtime_version": "1.8.0"}, "1.7.1|compute capability 8.6"),
        ({"runtime": "tensorrt"}, "compute capability 8.6|TensorRT-RTX"),
    ],
)
@pytest.mark.parametrize("target", ["", "86"])
def test_an_engine_built_ahead_serves_only_its_own_kind(
    store: Store, changed: dict[str, str], reported: str, target: str
) -> None:
    store.save(passport_of(request=AHEAD, environment=ANY_86), PLAN)
    environment = msgspec.structs.replace(RTX_HERE, **changed)
    request = msgspec.structs.replace(AHEAD, target=target, runtime=environment.runtime)
    with pytest.raises(EngineNotBuiltError, match=reported):
        store.find(request, environment)


def test_an_engine_built_on_this_gpu_is_preferred(store: Store) -> None:
    store.save(passport_of(request=AHEAD, environment=ANY_86), PLAN)
    store.save(passport_of(b"measured here", request=FOR_HERE, environment=RTX_HERE), b"measured here")
    assert fetch(store, FOR_HERE, RTX_HERE) == b"measured here"


texts = st.text(max_size=20)
shares = st.dictionaries(texts, st.floats(0, 1), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_passport_is_read_back_unchanged_and_verifies(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "property"
    store = Store(folder / "engines", folder / "engine.key")
    plan = data.draw(st.binary(max_size=64).filter(lambda plan: plan[:1] not in (b"", b"\x08")))
    passport = passport_of(
        plan,
        request=data.draw(
            st.builds(BuildRequest, texts, texts, texts, texts, st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
        ),
        environment=data.draw(st.builds(Environment, texts, texts, texts, texts, texts.filter("any".__ne__), texts)),
        card=data.draw(st.dictionaries(texts, json_values, max_size=4)),
        build_seconds=data.draw(st.floats(0, 1e9)),
    )
    store.save(passport, plan)
    found = store.find(passport.request, passport.environment)
    assert found.passport == passport
    assert store.read(found) == plan


# Saving (F18): an engine is complete or absent.


def test_a_passport_of_another_plan_cannot_be_saved(store: Store) -> None:
    with pytest.raises(ValueError, match="describes another plan"):
        store.save(passport_of(), PLAN + b"!")
    assert files_under(store.root.parent) == []


def test_a_passport_that_json_cannot_represent_cannot_be_saved(store: Store) -> None:
    with pytest.raises(ValueError, match=r"damaged|cannot be represented in JSON"):
        store.save(passport_of(build_seconds=float("nan")), PLAN)
    assert not store.root.exists()


def test_saving_again_replaces(store: Store) -> None:
    store.save(passport_of(), PLAN, b"old timings")
    store.save(passport_of(b"newer"), b"newer", b"new timings")
    assert fetch(store) == b"newer"
    assert store.timing_cache(ROAD, RTX_3060) == b"new timings"
    assert len(files_under(store.root)) == 3


@contextmanager
def small_disk(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write files beyond this size, for the whole process, so only briefly."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room_bytes", [0, 100, len(PLAN) - 1])
def test_a_plan_that_does_not_fit_leaves_nothing(store: Store, room_bytes: int) -> None:
    store._key.sign(b"")
    words = r"the engine \(0.0 MB\) cannot be written there \(File too large\)\. Free some space, or"
    with pytest.raises(BuildError, match=words), small_disk(room_bytes):
        store.save(passport_of(), PLAN, b"")
    assert not store.root.exists()


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("exists_before", [False, True])
def test_a_full_disk_at_the_nth_file_leaves_the_earlier_files(
    store: Store, monkeypatch: pytest.MonkeyPatch, nth: int, exists_before: bool
) -> None:
    store._key.sign(b"")
    if exists_before:
        store.save(passport_of(), PLAN, b"timings")
    before = {name: (store.root / name).read_bytes() for name in files_under(store.root)}
    calls = 0
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BuildError, match="No space left on device"):
        store.save(passport_of(b"newer"), b"newer", b"newer timings")
    assert {name: (store.root / name).read_bytes() for name in files_under(store.root)} == before
    assert store.root.exists() == exists_before


def test_after_a_failed_move_no_incomplete_engine_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_replace(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(BuildError, match="Permission denied"):
        store.save(passport_of(), PLAN, b"timings")
    assert not store.root.exists()


def test_a_store_whose_path_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "engines", tmp_path / "engine.key")
    with pytest.raises(BuildError, match=r"cannot be written there \(.+\)\. Choose another folder with XDG_CACHE_HOME"):
        store.save(passport_of(), PLAN)
    with pytest.raises(BuildError, match="engines cannot be built there"), store.building(ROAD, RTX_3060):
        pass
    with pytest.raises(EngineNotBuiltError):
        store.find(ROAD, RTX_3060)


# Timing caches, listings, removal.


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:10], lambda data: b"", lambda data: b"\xff" * len(data)]
)
def test_a_timing_cache_that_was_changed_is_not_used(store: Store, damage: Callable[[bytes], bytes]) -> None:
    path = store.save(passport_of(), PLAN, b"timings").plan_path.parent / "timing.cache"
    path.write_bytes(damage(path.read_bytes()))
    assert store.timing_cache(ROAD, RTX_3060) is None


def test_no_timing_cache_is_none(store: Store) -> None:
    assert store.timing_cache(ROAD, RTX_3060) is None


def test_engines_are_listed_by_model_and_time(store: Store) -> None:
    assert store.engines() == []
    passports = [
        passport_of(request=msgspec.structs.replace(ROAD, model_name=name, precision=precision), built_at=built_at)
        for name, precision, built_at in (("road", "fp32", "2026-02"), ("bikes", "fp16", "2026-03"), ("road", "fp16", "2026-01"))
    ]
    for passport in passports:
        store.save(passport, PLAN)
    listed = [(found.passport.request.model_name, found.passport.built_at) for found in store.engines()]
    assert listed == [("bikes", "2026-03"), ("road", "2026-01"), ("road", "2026-02")]
    assert all(store.read(found) == PLAN for found in store.engines())


def test_removing_an_engine_leaves_the_others(store: Store) -> None:
    first = store.save(passport_of(), PLAN, b"timings")
    second = store.save(passport_of(environment=ORIN), PLAN)
    store.remove(first)
    assert store.engines() == [second]
    assert store.timing_cache(ROAD, ORIN) == b"timings"
    store.remove(second)
    store.remove(second)
    assert list(store.root.iterdir()) == []


def test_nothing_outside_the_store_is_removed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside.plan"
    outside.write_bytes(PLAN)
    for path in (outside, store.root / ".." / "outside.plan"):
        with pytest.raises(ValueError, match="is not in"):
            store.remove(Found(path, passport_of(), ""))
    assert outside.exists()


# Building: one at a time, with nothing left behind.


def test_the_scratch_folder_is_removed_however_the_build_ends(store: Store) -> None:
    with store.building(ROAD, RTX_3060) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_bytes(b"x")
    assert not scratch.exists()
    with pytest.raises(OSError, match="the build's own"), store.building(ROAD, RTX_3060) as scratch:
        raise OSError("the build's own")
    assert not scratch.exists()


def test_files_of_a_killed_build_are_removed_by_the_next_build_of_the_engine(store: Store) -> None:
    with store.building(ROAD, RTX_3060) as scratch:
        name = scratch.name.rpartition("-")[0]
    found = store.save(passport_of(), PLAN)
    leftover = scratch.with_name(f"{name}-killed")
    part = found.plan_path.with_name(f".{found.plan_path.stem}-abc.part")
    others = scratch.with_name("0123456789abcdef-running"), found.plan_path.with_name("01234567-abc.part")
    for path in (leftover, others[0]):
        path.mkdir()
        (path / "half an engine").write_bytes(b"x")
    for path in (part, others[1]):
        path.write_bytes(b"x")
    with store.building(ROAD, RTX_3060):
        assert not leftover.exists()
        assert not part.exists()
    assert all(path.exists() for path in others), "files of other builds are kept"
    assert fetch(store) == PLAN


def test_the_second_builder_waits_for_the_first(store: Store) -> None:
    first_is_in, release = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with store.building(ROAD, RTX_3060):
            first_is_in.set()
            release.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(10)
    with store.building(ROAD, ORIN, on_wait=lambda: order.append("waits for another engine")):
        order.append("another engine")
    with store.building(ROAD, RTX_3060, on_wait=release.set):
        order.append("second")
    thread.join()
    assert order == ["another engine", "first", "second"]


def test_a_wait_that_takes_too_long_is_reported(store: Store) -> None:
    inside, over = threading.Event(), threading.Event()

    def first() -> None:
        with store.building(ROAD, RTX_3060):
            inside.set()
            over.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    waits = []
    words = r"another process is still building this engine after 0.2 s\. Wait for it"
    with pytest.raises(BuildError, match=words), store.building(ROAD, RTX_3060, 0.2, lambda: waits.append(1)):
        pass
    over.set()
    thread.join()
    assert waits == [1]
