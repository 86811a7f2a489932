"""TensorRT-RTX on its stand-in: CUDA graphs in memory of ours, and compiled kernels that are kept for the next start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends import EngineOptions, open_engine
from engines.backends.trt import TrtEngine
from engines.models.model import Model, load_model
from engines.plans.store import Found, Store
from engines.trt import builder

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine
from .test_trt import NET, Paint, class_map_of

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

RTX = "tensorrt-rtx"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuMachine]:
    with fake_machine(tmp_path, monkeypatch, World(tensorrt_version="1.7.1")) as machine:
        yield machine


@pytest.fixture
def model(nets) -> Model:
    return load_model(nets.semantic())


def opened(model: Model, **options: Any) -> TrtEngine:
    engine = open_engine(model, "trt", EngineOptions(runtime=RTX, **options)).engine
    assert isinstance(engine, TrtEngine)
    return engine


def compiled(machine: GpuMachine) -> int:
    return machine.world.calls["kernels compiled"]


def kernel_files(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.rglob("*.kernels"))


def found_in(store: Store) -> Found:
    (found,) = store.engines()
    return found


@pytest.mark.parametrize("inflight", [1, 2])
def test_frames_after_the_first_run_as_a_graph(machine: GpuMachine, model: Model, painted: Paint, inflight: int) -> None:
    """TensorRT-RTX allocates while it runs, unless engine and context are told to use memory of ours."""
    machine.build(model, runtime=RTX)
    engine = opened(model, inflight=inflight)
    machine.reset_counts()
    for _ in range(6):
        np.testing.assert_array_equal(2 - engine.infer(painted(class_map_of(NET))).outputs["labels"][0], class_map_of(NET))
    assert machine.world.calls["cuGraphLaunch"] == 6 - inflight
    assert "no CUDA graph" not in engine.description
    engine.close()


def test_an_engine_that_allocates_while_it_runs_has_no_graph_and_says_so(
    machine: GpuMachine, model: Model, painted: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was built elsewhere. The capture is not even tried: it would be invalidated."""
    flag = machine_flag(machine)
    configure = builder._configure
    monkeypatch.setattr(builder, "_configure", lambda *args: (configure(*args), args[3].clear_flag(flag)))
    machine.build(model, runtime=RTX)
    engine = opened(model)
    for _ in range(3):
        np.testing.assert_array_equal(2 - engine.infer(painted(class_map_of(NET))).outputs["labels"][0], class_map_of(NET))
    assert engine.description.endswith("no CUDA graph")
    assert machine.world.calls["cuStreamBeginCapture_v2"] == 0
    engine.close()


def machine_flag(machine: GpuMachine) -> Any:
    import tensorrt_rtx

    return tensorrt_rtx.BuilderFlag.REQUIRE_USER_ALLOCATION


def test_what_the_build_compiled_is_not_compiled_at_the_first_start(machine: GpuMachine, model: Model, painted: Paint) -> None:
    machine.build(model, runtime=RTX)
    assert compiled(machine) > 0
    machine.reset_counts()
    for _ in range(2):
        engine = opened(model)
        engine.infer(painted(class_map_of(NET)))
        engine.close()
    assert compiled(machine) == 0


def test_kernels_are_kept_after_the_first_frame_already(
    machine: GpuMachine, model: Model, painted: Paint, tmp_path: Path
) -> None:
    """A program that is killed closes nothing."""
    machine.build(model, runtime=RTX)
    (path,) = kernel_files(tmp_path)
    path.unlink()
    engine = opened(model)
    assert kernel_files(tmp_path) == []
    engine.infer(painted(class_map_of(NET)))
    assert kernel_files(tmp_path) == [path]
    written = path.stat().st_mtime_ns
    engine.infer(painted(class_map_of(NET)))
    engine.close()
    assert path.stat().st_mtime_ns == written, "nothing new was compiled"


@pytest.mark.parametrize("change", ["flipped", "cut", "unsigned", "empty"])
def test_changed_kernels_are_refused_and_compiled_again(
    machine: GpuMachine, model: Model, painted: Paint, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine.build(model, runtime=RTX)
    (path,) = kernel_files(tmp_path)
    good = path.read_bytes()
    flipped = good[:-2] + bytes([good[-2] ^ 1]) + good[-1:]
    path.write_bytes({"flipped": flipped, "cut": good[:-9], "unsigned": good[64:], "empty": b""}[change])
    machine.reset_counts()
    engine = opened(model)
    engine.infer(painted(class_map_of(NET)))
    engine.close()
    assert compiled(machine) > 0
    assert "was not written by this machine for this engine, and is not used" in caplog.text
    assert path.read_bytes() == good, "they are kept again"


def test_kernels_of_another_engine_are_refused(machine: GpuMachine, nets, model: Model, painted: Paint, tmp_path: Path) -> None:
    machine.build(model, runtime=RTX)
    (mine,) = kernel_files(tmp_path)
    other = load_model(nets.semantic("others", weights=np.eye(3) * 9))
    machine.build(other, runtime=RTX)
    (theirs,) = [path for path in kernel_files(tmp_path) if path != mine]
    mine.write_bytes(theirs.read_bytes())
    machine.reset_counts()
    engine = opened(model)
    engine.infer(painted(class_map_of(NET)))
    engine.close()
    assert compiled(machine) > 0


def test_a_new_driver_has_kernels_of_its_own_and_the_old_ones_are_removed(
    machine: GpuMachine, model: Model, painted: Paint, tmp_path: Path
) -> None:
    """Of an engine that lies elsewhere: one of this store is built again."""
    machine.build(model, runtime=RTX)
    copied = tmp_path / "from-a-friend.plan"
    copied.write_bytes(found_in(Store()).plan_path.read_bytes())
    copied.with_suffix(".json").write_bytes(found_in(Store()).plan_path.with_suffix(".json").read_bytes())
    (own,) = kernel_files(tmp_path)
    names = []
    for driver in (13000, 13010, 13010):
        machine.world.driver_version = driver
        engine = opened(model, trust=str(copied))
        before = compiled(machine)
        engine.infer(painted(class_map_of(NET)))
        engine.close()
        (path,) = [path for path in kernel_files(tmp_path) if path != own]
        assert path.parent.name == ".foreign"
        names.append((path.name, compiled(machine) > before))
    assert names[0][0] != names[1][0]
    assert [is_compiled for _, is_compiled in names] == [True, True, False]


def test_kernels_go_with_their_engine(machine: GpuMachine, model: Model, tmp_path: Path) -> None:
    machine.build(model, runtime=RTX)
    assert kernel_files(tmp_path)
    Store().remove(found_in(Store()))
    assert kernel_files(tmp_path) == []


def test_a_disk_that_refuses_costs_only_time(
    machine: GpuMachine, model: Model, painted: Paint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine.build(model, runtime=RTX)
    (path,) = kernel_files(tmp_path)
    path.unlink()
    path.mkdir()
    engine = opened(model)
    engine.infer(painted(class_map_of(NET)))
    engine.close()
    assert "the next start compiles kernels again" in caplog.text


def test_a_full_gpu_is_reported(machine: GpuMachine, model: Model) -> None:
    machine.build(model, runtime=RTX)
    machine.world.workspace_bytes = machine.world.total_bytes * 2
    with pytest.raises(Exception, match="could not allocate 8192 MiB to run colours"):
        opened(model)
