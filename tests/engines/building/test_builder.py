"""From a model to a signed engine of proved precision, or an error with nothing left behind."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.building import builder as room
from engines.building.builder import BuildLimits, EngineBuilder, environment_for
from engines.building.frames import sample_clips
from engines.building.job import BuildJob, JobProgress
from engines.errors import BuildCancelledError, BuildError, ModelFileError, NoGpuError
from engines.models.model import Model, load_model
from engines.onnx_graph.precision.quantise import PERCENTILE
from engines.plans.passport import Calibration
from engines.plans.requests import request_for
from engines.plans.store import Store

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine, pictures
from .test_network import deep, overflowing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU"),
]


@pytest.fixture
def model(nets) -> Model:
    return deep(nets)


def stored(folder: Path) -> list[str]:
    """All files of the store except locks."""
    root = folder / "cache" / "realtime-segmentation"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts)


def test_a_passport_has_the_measurements(machine: GpuMachine, model: Model) -> None:
    passport = machine.build(model)
    assert passport.environment.gpu_name == "NVIDIA Fake RTX 4000"
    assert passport.environment.runtime_version == "10.13.3"
    assert passport.audit is not None
    assert passport.audit.heavy_share == {"fp16": 1.0}
    assert sum(passport.audit.layer_share.values()) == pytest.approx(1, abs=0.01)
    assert passport.parity is not None
    assert (passport.parity.measured_on, passport.parity.nan_count) == ("engine", 0)
    assert [tensor.name for tensor in passport.outputs] == ["labels", "logit_mean"]
    assert passport.inputs[0].dtype == "float16"


@pytest.mark.parametrize(("precision", "measured"), [("fp32", "fp32"), ("int8-qdq", "int8")])
def test_other_precisions_are_measured_too(machine: GpuMachine, model: Model, precision: str, measured: str) -> None:
    passport = machine.build(model, precision=precision)
    assert passport.audit is not None
    assert next(iter(passport.audit.heavy_share)) == measured
    assert (passport.calibration is None) == (precision == "fp32")


def test_an_int8_engine_says_what_its_ranges_were_measured_on_and_is_built_again_for_other_footage(
    machine: GpuMachine, model: Model, tmp_path: Path
) -> None:
    request = request_for(model, precision="int8-qdq", runtime="tensorrt")
    builds = [
        EngineBuilder(model, request, environment_for(request), Store(), calibrate=pictures(tmp_path / name, 90))
        for name in ("day", "day", "night")
    ]
    day, again = (builder.run().passport for builder in builds[:2])
    assert machine.world.calls["Builder.build_serialized_network"] == 1
    night = builds[2].run().passport
    assert day.calibration == Calibration(str(tmp_path / "day"), 72, 12, PERCENTILE)
    assert day.parity is not None
    assert day.parity.frames == 12
    assert again.calibration == day.calibration
    assert night.calibration is not None
    assert night.calibration.source == str(tmp_path / "night")
    unasked = EngineBuilder(model, request, environment_for(request), Store()).run().passport
    assert unasked.calibration == night.calibration, "view takes what is there"
    assert machine.world.calls["Builder.build_serialized_network"] == 2


def test_int8_of_a_users_model_is_not_measured_on_the_installed_clips(machine: GpuMachine, model: Model) -> None:
    request = request_for(model, precision="int8-qdq", runtime="tensorrt")
    for calibrate, words in (
        (None, "none is named. Name some minutes of it with --calibrate"),
        (sample_clips()[0], "is a sample of"),
    ):
        with pytest.raises(BuildError, match=words):
            EngineBuilder(model, request, environment_for(request), Store(), calibrate=calibrate).run()


def test_an_engine_of_another_precision_is_a_warning_where_the_graphs_types_are_binding(
    machine: GpuMachine, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    machine.world.build_ignores_precision = True
    (warning,) = machine.build(model).warnings
    assert warning.startswith("only 0% of its heavy layers are fp16, 90% are required: conv0 (fp32)")
    assert f"deep: {warning}" in caplog.text


def test_on_the_dla_of_tensorrt_10_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nets) -> None:
    """There the precision is only a hint."""
    world = World(
        tensorrt_version="10.3.0", dla_cores=2, gpu_name="Orin", compute_capability=(8, 7), build_ignores_precision=True
    )
    with fake_machine(tmp_path, monkeypatch, world) as machine:
        with pytest.raises(
            BuildError, match=r"built deep in another precision than requested: only 0% of its heavy layers are fp16, .*\(fp32\)"
        ):
            machine.build(deep(nets), dla_core=0)
        assert stored(tmp_path) == []


def test_an_engine_with_other_results_fails(machine: GpuMachine, model: Model, tmp_path: Path) -> None:
    def break_some(outputs: dict[str, Any]) -> dict[str, Any]:
        labels = np.array(outputs["labels"])
        labels[..., :2] = (labels[..., :2] + 1) % 3  # a sixteenth of the picture
        return {**outputs, "labels": labels}

    machine.world.build_breaks_parity = break_some
    with pytest.raises(
        BuildError, match=r"the engine is less accurate than its network: 93\.\d+% of the labels agree with those of FP32"
    ):
        machine.build(model, precision="fp32")
    assert stored(tmp_path) == []


def test_an_engine_that_gives_nan_fails(machine: GpuMachine, model: Model) -> None:
    machine.world.build_breaks_parity = lambda outputs: {**outputs, "logit_mean": np.full_like(outputs["logit_mean"], np.nan)}
    with pytest.raises(BuildError, match="2 frames with NaN or infinite outputs"):
        machine.build(model, precision="fp32")


def test_an_inaccurate_engine_gets_more_nodes_in_fp32(machine: GpuMachine, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the GPU rounds in another way than the CPU, the engine's results decide."""
    monkeypatch.setattr("engines.trt.audit.LEAST_SHARE", {"fp16": 0.1})

    def first_is_wrong(outputs: dict[str, Any]) -> dict[str, Any]:
        if machine.world.calls["Builder.build_serialized_network"] > 1:
            return outputs
        return {**outputs, "labels": np.zeros_like(outputs["labels"])}

    machine.world.build_breaks_parity = first_is_wrong
    passport = machine.build(model)
    assert machine.world.calls["Builder.build_serialized_network"] == 2
    assert passport.parity is not None
    assert 1 <= len(passport.parity.kept_fp32) <= 4
    assert passport.audit is not None
    assert passport.audit.heavy_share["fp32"] > 0


def test_a_network_with_an_overflow_is_built_with_that_node_in_fp32(
    machine: GpuMachine, nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.trt.audit.LEAST_SHARE", {"fp16": 0.3})
    passport = machine.build(overflowing(nets))
    assert passport.parity is not None
    assert "enlarge" in passport.parity.kept_fp32
    assert passport.parity.label_agreement is not None
    assert passport.parity.label_agreement >= 0.995


def test_a_batch_has_its_profile(machine: GpuMachine, nets) -> None:
    passport = machine.build(load_model(nets.semantic()), batch=4)
    assert passport.request.batch == 4


def test_a_second_build_returns_the_first_engine(machine: GpuMachine, model: Model) -> None:
    first = machine.build(model)
    machine.reset_counts()
    assert machine.build(model).built_at == first.built_at
    assert machine.world.calls["Builder.build_serialized_network"] == 0


def test_the_timing_cache_is_kept_for_the_next_build(machine: GpuMachine, model: Model) -> None:
    machine.build(model)
    request = request_for(model, precision="fp16", runtime="tensorrt")
    environment = environment_for(request)
    assert Store().timing_cache(request, environment)
    EngineBuilder(model, request, environment, Store()).run(force=True)


def test_tensorrts_reason_for_a_failed_build_is_reported(machine: GpuMachine, model: Model, tmp_path: Path) -> None:
    machine.world.build_error = "Error Code 2: Internal Error (Assertion engine != nullptr failed)"
    with pytest.raises(BuildError, match=r"could not build the network: Error Code 2: .*engine != nullptr"):
        machine.build(model)
    assert stored(tmp_path) == []


def test_dla_needs_a_dla(machine: GpuMachine, model: Model) -> None:
    with pytest.raises(BuildError, match=r"finds no DLA on this machine\. Build for the GPU, without --dla"):
        machine.build(model, dla_core=0)


def test_an_engine_for_a_dla_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nets) -> None:
    world = World(tensorrt_version="10.3.0", dla_cores=2, gpu_name="Orin", compute_capability=(8, 7))
    with fake_machine(tmp_path, monkeypatch, world) as machine:
        model = load_model(nets.semantic())
        with pytest.raises(BuildError, match=r"there is no DLA core 2\. Known: 0, 1"):
            machine.build(model, dla_core=2)
        assert machine.build(model, dla_core=1).request.dla_core == 1


def test_without_a_gpu_the_cure_names_a_build_ahead(model: Model) -> None:
    request = request_for(model, precision="fp16", runtime="tensorrt")
    with pytest.raises(NoGpuError, match=r"an engine is built on the GPU that it runs on\. .*--runtime tensorrt-rtx --target 86"):
        environment_for(request)


def test_a_model_file_that_is_gone_is_reported(model: Model) -> None:
    model.path.unlink()
    with pytest.raises(ModelFileError, match=r"deep\.onnx: cannot be read \(No such file or directory\)"):
        request_for(model, precision="fp16", runtime="tensorrt")


def test_targets_are_for_tensorrt_rtx(model: Model) -> None:
    with pytest.raises(BuildError, match="Use --target with --runtime tensorrt-rtx"):
        environment_for(request_for(model, precision="fp16", runtime="tensorrt", target="86"))


# The following tests run a real child process, with the fakes in it.


@pytest.fixture
def child(machine: GpuMachine, monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> GpuMachine:
    monkeypatch.syspath_prepend(str(repo_root))
    monkeypatch.setattr(room, "BuildJob", BuildJob)
    monkeypatch.setattr(room, "TARGET", "tests.fakes.gpu.child_build:build")
    return machine


def builder_of(model: Model, machine: GpuMachine, **limits: Any) -> EngineBuilder:
    request = request_for(model, precision="fp16", runtime="tensorrt")
    return EngineBuilder(model, request, environment_for(request), Store(), BuildLimits(**limits), machine._frames)


def test_a_child_builds_and_its_engine_runs_here(child: GpuMachine, model: Model) -> None:
    reported: list[JobProgress] = []
    found = builder_of(model, child).run(on_progress=reported.append)
    assert found.passport.audit is not None
    assert {"comparing precisions on the CPU", "measuring the engine"} & {progress.phase for progress in reported}
    child.open(model).engine.close()


def test_a_childs_error_arrives_unchanged(
    child: GpuMachine, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_GPU", json.dumps({"build_error": "Error Code 2: Internal Error (no engine)"}))
    with pytest.raises(BuildError, match=r"could not build the network: Error Code 2: Internal Error \(no engine\)"):
        builder_of(model, child).run()
    assert stored(tmp_path) == []


def test_two_builds_at_once_make_one_engine(child: GpuMachine, model: Model) -> None:
    """F18. Each build has its own child."""
    builders = [builder_of(model, child) for _ in range(2)]
    found: list[Any] = []
    waited: list[int] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.run(on_wait=lambda: waited.append(1)))) for each in builders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0].passport == found[1].passport
    assert waited == [1]


def test_a_cancelled_build_ends_soon_and_leaves_nothing(
    child: GpuMachine, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_GPU", json.dumps({"build_seconds": 30.0}))
    builder = builder_of(model, child)

    def cancel_when_building(progress: JobProgress) -> None:
        if progress.phase.startswith("building"):
            builder.cancel()

    begin_s = time.monotonic()
    with pytest.raises(BuildCancelledError):
        builder.run(on_progress=cancel_when_building)
    assert time.monotonic() - begin_s < 15
    assert stored(tmp_path) == []


def test_a_build_that_takes_too_long_is_ended(
    child: GpuMachine, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_GPU", json.dumps({"build_seconds": 60.0}))
    with pytest.raises(BuildError, match=r"the build took longer than 3 s\. Allow more with --timeout"):
        builder_of(model, child, timeout_s=3.0).run()
    assert stored(tmp_path) == []
