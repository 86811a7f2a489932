"""The TensorRT backend, whole, on stand-ins for CUDA and TensorRT that keep their rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.backends import EngineOptions, open_engine
from engines.backends.trt import TrtEngine
from engines.errors import BackendUnavailableError, CardError, EngineNotBuiltError, InferenceError, NoGpuError, WrongThreadError
from engines.models.fitting import Fitting
from engines.models.model import Model, load_model
from engines.models.sizing import content_of
from engines.plans.store import Store
from engines.segmenter import Segmenter
from engines.trt.runtime import open_tensorrt
from engines.types import Size
from tests.threads import raised_elsewhere

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine
from ..spots import picture, spots

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

Paint = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
NET = Size(32, 24)
VERSIONS = ("10.3.0", "10.13.3", "11.4.0")


@pytest.fixture
def model(nets) -> Model:
    return load_model(nets.semantic())


def class_map_of(size: Size) -> npt.NDArray[np.uint8]:
    """Blocks of the classes 0, 1, 2 that keep their place when scaled."""
    rows, columns = np.indices((size.height, size.width))
    return ((rows * 2 // size.height + columns * 4 // size.width) % 3).astype(np.uint8)


def frames_of(count: int, size: Size = NET) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 3, (size.height, size.width)).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_runs_under_every_tensorrt(tmp_path: Path, monkeypatch, nets, painted: Paint, version: str) -> None:
    with fake_machine(tmp_path, monkeypatch, World(tensorrt_version=version)) as machine:
        machine.build(model := load_model(nets.semantic()))
        with Segmenter(model, "trt") as segmenter:
            for wanted in frames_of(4):
                np.testing.assert_array_equal(2 - segmenter(painted(wanted)).class_map, wanted)
            assert segmenter.choice.engine.description == f"TensorRT {version}, Fake RTX 4000, fp16"


def test_the_network_is_fused_and_half_its_input_too(machine: GpuMachine, model: Model) -> None:
    engine = machine.open(model).engine
    assert set(engine.card.outputs) == {"labels", "logit_mean"}
    assert engine.card.input.dtype == "float16"
    engine.close()


def test_frames_of_any_size_may_follow_each_other(machine: GpuMachine, model: Model, painted: Paint) -> None:
    machine.build(model)
    with Segmenter(model, "trt") as segmenter:
        for size in (Size(64, 48), Size(128, 96), NET, Size(640, 480), Size(64, 48), Size(64, 48)):
            found = 2 - segmenter(painted(class_map_of(size))).class_map
            assert (found == class_map_of(NET)).mean() >= 0.9


def test_the_first_frame_runs_eagerly_and_all_later_ones_as_a_graph(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = machine.open(model, options=EngineOptions(inflight=1)).engine
    machine.reset_counts()
    calls = machine.world.calls
    frame = painted(class_map_of(NET))
    engine.infer(frame)
    assert calls["IExecutionContext.execute_async_v3"] == 1
    assert calls["cuGraphLaunch"] == 0
    for _ in range(5):
        engine.infer(frame)
    assert calls["cuGraphLaunch"] == 5
    assert calls["IExecutionContext.execute_async_v3"] == 2, "once more, into the graph"
    for _ in range(2):
        engine.infer(painted(class_map_of(Size(64, 48))))
    assert calls["cuStreamBeginCapture_v2"] == 2, "another size of frame is another graph"
    engine.close()


def test_frames_of_alternating_sizes_are_not_recorded_each_time(machine: GpuMachine, model: Model, painted: Paint) -> None:
    """As those of two cameras: recording takes longer than running without a graph."""
    engine = machine.open(model, options=EngineOptions(inflight=1)).engine
    machine.reset_counts()
    for _ in range(4):
        for size in (NET, Size(64, 48)):
            found = 2 - engine.infer(painted(class_map_of(size))).outputs["labels"][0]
            assert (found == class_map_of(NET)).mean() >= 0.9
    assert machine.world.calls["cuStreamBeginCapture_v2"] == 0
    assert engine.description.endswith("fp16"), "it is not one that cannot be recorded"
    engine.close()


def test_one_wait_a_frame_and_no_pageable_copy(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = machine.open(model).engine
    frame = painted(class_map_of(NET))
    engine.infer(frame)
    before = machine.world.calls.copy()
    for _ in range(10):
        engine.infer(frame)
    waits = {name: machine.world.calls[name] - before[name] for name in ("Event.synchronize", "Stream.synchronize")}
    assert sum(waits.values()) == 10
    assert machine.world.unpinned_copies == 0
    assert machine.world.default_stream_uses == 0
    engine.close()


def test_a_network_that_cannot_be_recorded_runs_without_a_graph_and_its_description_says_so(
    machine: GpuMachine, model: Model, painted: Paint
) -> None:
    engine = machine.open(model).engine
    frame = painted(class_map_of(NET))
    engine.infer(frame)
    machine.reset_counts()
    machine.world.fail("cuGraphInstantiateWithFlags", 1, 900)
    for _ in range(3):
        np.testing.assert_array_equal(2 - engine.infer(frame).outputs["labels"][0], class_map_of(NET))
    assert machine.world.calls["cuGraphLaunch"] == 0
    assert engine.description.endswith("fp16, no CUDA graph")
    engine.close()


def test_two_are_in_flight_unless_one_is_asked_for(machine: GpuMachine, model: Model) -> None:
    machine.build(model)
    with Segmenter(model, "trt") as segmenter:
        assert segmenter.inflight == 2
    with Segmenter(model, "trt", EngineOptions(inflight=1)) as segmenter:
        assert segmenter.inflight == 1


def test_a_gpu_without_memory_for_a_second_frame_takes_one_at_a_time_and_says_so(
    machine: GpuMachine, model: Model, painted: Paint, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that ran before two were the default still does. What the second had taken is given back."""
    machine.build(model)
    frame = painted(class_map_of(NET))
    machine.reset_counts()
    with Segmenter(model, "trt", EngineOptions(inflight=1)) as segmenter:
        allocations = machine.world.calls["mem_alloc"]
        free_bytes = machine.world.memory.free_bytes
        live = len(machine.world.live())
    for nth in range(allocations + 1, 2 * allocations):  # they share the scratch memory
        caplog.clear()
        machine.reset_counts()
        machine.world.fail("mem_alloc", nth, 2)
        with Segmenter(model, "trt") as segmenter:
            assert segmenter.inflight == 1
            assert "could not allocate" in caplog.text
            assert "so 1 of 2 frames are in flight" in caplog.text
            assert machine.world.memory.free_bytes == free_bytes
            assert len(machine.world.live()) == live + 1, "a stream for the uploads"
            for _ in range(3):
                np.testing.assert_array_equal(2 - segmenter(frame).class_map, class_map_of(NET))


def test_frames_in_flight_share_the_scratch_memory(machine: GpuMachine, model: Model) -> None:
    """They are computed one after the other; each had its own, which doubled the need of an engine."""
    machine.build(model)
    free_bytes = []
    for inflight in (1, 3):
        with Segmenter(model, "trt", EngineOptions(inflight=inflight)):
            free_bytes.append(machine.world.memory.free_bytes)
    assert free_bytes[0] - free_bytes[1] < machine.world.workspace_bytes / 10


@pytest.mark.parametrize("inflight", [1, 2, 3])
def test_frames_in_flight_come_back_in_order(machine: GpuMachine, model: Model, painted: Paint, inflight: int) -> None:
    machine.build(model)
    wanted = frames_of(12)
    with Segmenter(model, "trt", EngineOptions(inflight=inflight)) as segmenter:
        assert segmenter.inflight == inflight
        found = []
        for index, class_map in enumerate(wanted):
            frame = painted(class_map)
            segmenter.start(frame)
            frame[:] = 0  # it may change once it was started
            if index + 1 >= inflight:
                found.append(segmenter.finish().class_map)
        found += [segmenter.finish().class_map for _ in range(inflight - 1)]
    for class_map, seen in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(2 - seen, class_map)


def test_with_two_in_flight_the_upload_has_its_own_stream(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = machine.open(model, options=EngineOptions(inflight=2)).engine
    assert machine.world.calls["Stream.wait_for_event"] == 0
    engine.infer(painted(class_map_of(NET)))
    assert machine.world.calls["Stream.wait_for_event"] == 1
    engine.close()


def test_the_time_of_a_run_does_not_contain_that_of_the_run_before(machine: GpuMachine, model: Model, painted: Paint) -> None:
    """With two in flight a run waits on the GPU for the one before; its "inference" was shown as nearly twice as long."""
    engine: Any = machine.open(model, options=EngineOptions(inflight=2)).engine
    frame = painted(class_map_of(NET))
    for _ in range(4):
        engine.infer(frame)
    machine.world.fail("work:graph", 1, lambda: time.sleep(0.1))
    engine.start(frame)
    engine.start(frame)
    engine.runner._uploads.synchronise()
    times_ms = [engine.finish().inference_ms for _ in range(2)]
    assert times_ms[0] >= 100
    assert times_ms[1] < 60
    engine.close()


def test_more_than_are_allowed_in_flight_is_refused(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine: Any = machine.open(model, options=EngineOptions(inflight=2)).engine
    frame = painted(class_map_of(NET))
    engine.start(frame)
    engine.start(frame)
    with pytest.raises(InferenceError, match="2 images are in flight already"):
        engine.start(frame)
    engine.finish()
    engine.finish()
    with pytest.raises(InferenceError, match="no image is in flight"):
        engine.finish()
    engine.start(frame)
    engine.close()  # with a frame under way


def test_another_thread_is_refused_by_our_own_check(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = machine.open(model).engine
    calls = (lambda: engine.infer(painted(class_map_of(NET))), engine.close)
    raised = [raised_elsewhere(call) for call in calls]
    assert [type(error) for error in raised] == [WrongThreadError, WrongThreadError]
    engine.infer(painted(class_map_of(NET)))
    engine.close()


@pytest.mark.slow
def test_two_thousand_frames_take_no_more_memory_than_ten(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = machine.open(model).engine
    frames = [painted(class_map) for class_map in (*frames_of(3), *frames_of(2, Size(64, 48)))]
    for frame in (*frames, *frames[3:]):  # the last size twice in each slot
        engine.infer(frame)
    taken, live = machine.world.memory.free_bytes, len(machine.world.live())
    for index in range(2_000):
        engine.infer(frames[index // 400])
    assert (machine.world.memory.free_bytes, len(machine.world.live())) == (taken, live)
    engine.close()


def test_fifty_times_open_and_close_leave_nothing(machine: GpuMachine, model: Model, painted: Paint) -> None:
    machine.build(model)
    for _ in range(50):
        engine = open_engine(model, "trt").engine
        engine.infer(painted(class_map_of(NET)))
        engine.close()
        assert machine.world.live() == []


ONCE = (
    *("Device.retain_primary_context", "Stream", "module_from_buffer", "Module.get_function"),
    "Runtime.deserialize_cuda_engine",
)
SEVERAL = ("mem_alloc", "pagelocked_empty", "Event")
LOADING = [*((name, 1) for name in ONCE), *((name, nth) for name in SEVERAL for nth in (1, 2))]


@pytest.mark.parametrize(("name", "nth"), LOADING)
def test_a_load_that_fails_half_way_gives_everything_back(machine: GpuMachine, model: Model, name: str, nth: int) -> None:
    """F14. Opening again then works."""
    machine.build(model)
    machine.reset_counts()
    machine.world.fail(name, nth, 2 if name in ("mem_alloc", "pagelocked_empty") else 999)
    with pytest.raises(BackendUnavailableError) as caught:
        open_engine(model, "trt")
    assert "\n" not in str(caught.value)
    del caught
    assert machine.world.live() == []
    open_engine(model, "trt").engine.close()


RUNNING = (
    "memcpy_htod_async",
    "launch",
    "IExecutionContext.execute_async_v3",
    "memcpy_dtoh_async",
    "Event.record",
    "cuGraphLaunch",
)


@pytest.mark.parametrize("name", [*RUNNING, "work:htod", "work:letterbox_float16", "work:tensorrt", "work:dtoh", "work:graph"])
def test_a_run_that_fails_is_an_inference_error_and_closing_gives_all_back(
    tmp_path: Path, monkeypatch, nets, painted: Paint, name: str
) -> None:
    with fake_machine(tmp_path, monkeypatch) as machine:
        model = load_model(nets.semantic())
        engine = machine.open(model).engine
        frame = painted(class_map_of(NET))
        if "raph" in name:
            for _ in range(2):
                engine.infer(frame)
        machine.world.fail(name, 1, 700)
        with pytest.raises(InferenceError) as caught:
            engine.infer(frame)
        assert "\n" not in str(caught.value)
        engine.close()
        machine.world.violations.clear()


def test_the_error_of_a_full_gpu_names_the_need_and_proposes_a_smaller_size(machine: GpuMachine, model: Model) -> None:
    machine.build(model)
    machine.world.workspace_bytes = machine.world.total_bytes * 2
    with pytest.raises(
        BackendUnavailableError, match=r"could not allocate 8192 MiB to run colours: \d+ of its 4096 MiB are free\. .*--size"
    ):
        open_engine(model, "trt")


def test_without_an_engine_the_error_says_how_to_build_one(machine: GpuMachine, model: Model) -> None:
    with pytest.raises(EngineNotBuiltError, match=r"no engine for colours \(fp16, 24x32\) yet\. .* build \S+colours.onnx$"):
        open_engine(model, "trt")


def test_another_driver_or_tensorrt_makes_the_engine_outdated(machine: GpuMachine, model: Model) -> None:
    machine.build(model)
    machine.world.driver_version = 13010
    with pytest.raises(EngineNotBuiltError, match=r"built with CUDA 13.0; this machine has CUDA 13.1\. Build it again"):
        open_engine(model, "trt")


def test_a_changed_model_makes_the_engine_outdated(machine: GpuMachine, nets, model: Model) -> None:
    machine.build(model)
    changed = load_model(nets.semantic(weights=np.eye(3) * 9))
    with pytest.raises(EngineNotBuiltError, match="the model file of colours changed since its engine was built"):
        open_engine(changed, "trt")


def test_an_engine_of_another_precision_is_chosen_by_name(machine: GpuMachine, model: Model, painted: Paint) -> None:
    machine.build(model, precision="fp32")
    with pytest.raises(EngineNotBuiltError, match="only one for fp32"):
        open_engine(model, "trt")
    engine = open_engine(model, "trt", EngineOptions(precision="fp32")).engine
    assert engine.description.endswith("fp32")
    assert engine.card.input.dtype == "float32"
    np.testing.assert_array_equal(2 - engine.infer(painted(class_map_of(NET))).outputs["labels"][0], class_map_of(NET))
    engine.close()


def test_an_engine_of_another_size_is_chosen_by_size(machine: GpuMachine, nets, painted: Paint) -> None:
    model = load_model(nets.semantic(size=("w", "h"), card="[input]\nsize_px = [32, 24]\nmean = [0,0,0]\nstd = [255,255,255]\n"))
    machine.build(model, size=Size(64, 48))
    engine = open_engine(model, "trt", EngineOptions(input_px=(64, 48))).engine
    assert engine.infer(painted(class_map_of(Size(64, 48)))).outputs["labels"].shape == (1, 48, 64)
    engine.close()


def test_the_engine_that_fits_the_pictures_is_taken_or_else_that_of_the_models_own_size(
    machine: GpuMachine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rather than the CPU; and it says so."""
    image = picture(Size(256, 144), (0.2, 0.3), (0.75, 0.6))
    model = spots(tmp_path)
    spec, options = model.card.input, EngineOptions(precision="fp32")

    def opened(options: EngineOptions = options) -> tuple[Size, str]:
        fitting = Fitting(spec, content_of(spec, Size.of(image)), image)
        engine = open_engine(replace(model, fitting=fitting), "trt", options).engine
        size = engine.card.input.size
        engine.close()
        return size, fitting.refused

    with pytest.raises(EngineNotBuiltError, match=r"no engine for .* \(fp32, 96x128\) yet.*--size 96x128"):
        opened()
    machine.build(model, precision="fp32")
    assert opened() == (Size(128, 128), "no engine of another size is built")
    assert "no engine for spots-open-128x128-letterbox (fp32, 96x128) yet" in caplog.text
    assert "the one of the model's own size runs. Build it: run.py build" in caplog.text
    machine.build(model, precision="fp32", size=Size(128, 96))
    assert opened() == (Size(128, 96), "")
    assert opened(EngineOptions(precision="fp32", input_px="model")) == (Size(128, 128), "")


def test_damaged_bytes_never_reach_tensorrt(machine: GpuMachine, model: Model) -> None:
    """F17."""
    machine.build(model)
    (found,) = Store().engines()
    plan = bytearray(found.plan_path.read_bytes())
    plan[len(plan) // 2] ^= 1
    found.plan_path.write_bytes(plan)
    before = machine.world.calls["Runtime.deserialize_cuda_engine"]
    with pytest.raises(EngineNotBuiltError, match="was changed after it was built"):
        open_engine(model, "trt")
    assert machine.world.calls["Runtime.deserialize_cuda_engine"] == before


def test_an_engine_that_tensorrt_refuses_is_an_error_in_its_words(machine: GpuMachine, model: Model, tmp_path: Path) -> None:
    junk = tmp_path / "junk.plan"
    junk.write_bytes(b"FAKEPLAN of another kind")
    with pytest.raises(BackendUnavailableError, match=r"TensorRT 10.13.3 cannot load this engine: \w"):
        open_engine(model, "trt", EngineOptions(trust=str(junk)))
    machine.world.violations.clear()  # the stand-in disapproves of junk; so do we


def test_a_trusted_engine_runs_with_the_card_of_its_passport(
    machine: GpuMachine, model: Model, tmp_path: Path, painted: Paint
) -> None:
    machine.build(model)
    (found,) = Store().engines()
    copied = tmp_path / "from-a-friend.plan"
    copied.write_bytes(found.plan_path.read_bytes())
    copied.with_suffix(".json").write_bytes(found.plan_path.with_suffix(".json").read_bytes())
    engine = open_engine(model, "trt", EngineOptions(trust=str(copied))).engine
    assert engine.description.endswith("of unknown origin")
    np.testing.assert_array_equal(2 - engine.infer(painted(class_map_of(NET))).outputs["labels"][0], class_map_of(NET))
    engine.close()


def test_a_trusted_engine_of_another_model_is_refused_by_its_tensors(
    machine: GpuMachine, nets, model: Model, tmp_path: Path
) -> None:
    machine.build(model)
    (found,) = Store().engines()
    copied = tmp_path / "from-a-friend.plan"
    copied.write_bytes(found.plan_path.read_bytes())  # without its passport
    with pytest.raises(CardError, match="the engine has no output logits, only image, labels"):
        open_engine(model, "trt", EngineOptions(trust=str(copied)))


def test_host_code_is_never_allowed(machine: GpuMachine, model: Model) -> None:
    machine.open(model).engine.close()
    assert machine.world.violations == []  # a violation is recorded there


def test_nan_in_the_network_is_noticed(machine: GpuMachine, model: Model, painted: Paint) -> None:
    """F15. Bytes hold no NaN; the fused mean of the logits does."""
    machine.build(model)
    with Segmenter(model, "trt") as segmenter:
        frame = painted(class_map_of(NET))
        segmenter(frame)
        outputs = segmenter.choice.engine.infer(frame).outputs
        outputs["logit_mean"][:] = np.nan
        assert np.isnan(outputs["logit_mean"]).all()
        segmenter(frame)  # written anew by each frame


def test_layers_are_timed_also_after_a_graph_was_recorded(machine: GpuMachine, model: Model, painted: Paint) -> None:
    """A graph tells a profiler nothing."""
    engine = machine.open(model).engine
    assert isinstance(engine, TrtEngine)
    frame = painted(class_map_of(NET))
    for _ in range(3):
        engine.infer(frame)
    assert engine.runner.layer_times(frame)
    engine.close()


@pytest.mark.parametrize("inflight", [1, 2])
def test_the_parts_of_a_frame_are_timed(machine: GpuMachine, model: Model, painted: Paint, inflight: int) -> None:
    engine = machine.open(model, options=EngineOptions(inflight=inflight)).engine
    assert isinstance(engine, TrtEngine)
    times = engine.runner.part_times(painted(class_map_of(NET)), 5)
    assert list(times) == ["upload", "kernel", "network", "download"]
    assert all(len(values) == 5 and min(values) >= 0 for values in times.values())
    engine.infer(painted(class_map_of(NET)))
    engine.close()


def test_all_runners_share_one_logger(machine: GpuMachine, model: Model) -> None:
    """TensorRT has one for the whole process, the first that it is given."""
    machine.build(model)
    first, second = open_engine(model, "trt").engine, open_engine(model, "trt").engine
    assert isinstance(first, TrtEngine)
    assert isinstance(second, TrtEngine)
    assert open_tensorrt("tensorrt").logger is open_tensorrt("tensorrt").logger
    second.close()
    first.close()


def test_a_family_that_refuses_leaves_no_engine_open(machine: GpuMachine, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.build(model)

    def refuse_fused(card: Any) -> Any:
        if "labels" in card.outputs:
            raise CardError("no such family")

    monkeypatch.setattr("engines.segmenter.open_family", refuse_fused)
    with pytest.raises(CardError):
        Segmenter(model, "trt")
    assert machine.world.live() == []


def test_a_machine_without_a_gpu_is_the_first_error(model: Model) -> None:
    with pytest.raises(NoGpuError, match="un on the CPU: --backend auto"):
        open_engine(model, "trt")


@pytest.mark.parametrize(
    ("lacks", "expected_text"), [("has_tensorrt", "TensorRT is not installed"), ("has_pycuda", "PyCUDA is not installed")]
)
def test_a_missing_package_is_an_error_with_the_cure(tmp_path: Path, monkeypatch, nets, lacks: str, expected_text: str) -> None:
    model = load_model(nets.semantic())
    with fake_machine(tmp_path, monkeypatch) as machine:
        machine.build(model)
    with (
        fake_machine(tmp_path, monkeypatch, World(**{lacks: False})),
        pytest.raises(BackendUnavailableError, match=expected_text),
    ):
        open_engine(model, "trt", EngineOptions(runtime="tensorrt"))


def test_auto_takes_the_engine_where_there_is_one(machine: GpuMachine, model: Model) -> None:
    choice = open_engine(model, "auto")
    assert choice.backend != "trt"
    assert "no engine for " in choice.unbuilt
    choice.engine.close()
    machine.build(model)
    choice = open_engine(model, "auto")
    assert (choice.backend, choice.unbuilt) == ("trt", "")
    choice.engine.close()
