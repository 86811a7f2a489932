"""Engines on a GPU paint masks there, from outputs that stay: on stand-ins, with the kernels run by the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.backends import EngineOptions, open_engine
from engines.decoding.guard import WHOLE_FRAMES
from engines.errors import BackendUnavailableError, InferenceError, WrongThreadError
from engines.families import DecodeSettings, open_family
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import GpuOutputs, Segmentation, Size
from tests.threads import raised_elsewhere

from ...fakes import host_masks
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine
from ..masked import pictures, rfdetr_model, yolo_model

pytestmark = pytest.mark.skipif(not host_masks.is_available(), reason="needs g++, to run the kernels on the CPU")

MAKERS = {"yolo": yolo_model, "rfdetr": rfdetr_model}
KINDS = [(kind, backend) for kind in MAKERS for backend in ("trt", "ort-cuda")]
STAYING = {"yolo": "output1", "rfdetr": "masks"}


def same(found: Segmentation, wanted: Segmentation) -> None:
    np.testing.assert_array_equal(found.instances.label_map, wanted.instances.label_map)
    np.testing.assert_array_equal(found.instances.boxes_px, wanted.instances.boxes_px)


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_the_masks_are_those_that_the_cpu_makes_of_the_same_outputs(
    machine: GpuMachine, tmp_path: Path, kind: str, backend: str
) -> None:
    engine = machine.open(MAKERS[kind](tmp_path), backend).engine
    family, maps = open_family(engine.card), []
    for size in (Size(64, 48), Size(256, 96)):
        for image in pictures(3, size):
            run = engine.infer(image)
            assert isinstance(run.outputs, GpuOutputs)
            assert set(run.outputs.on_gpu) == {STAYING[kind]}
            for settings in (DecodeSettings(), DecodeSettings(0.65, max_objects=1), DecodeSettings(map_width_px=64)):
                painted = family.decode(run.outputs, run.geometry, settings)
                same(painted, family.decode(dict(run.outputs), run.geometry, settings))
                maps.append(painted.instances.label_map)
    assert {int(label) for one in maps for label in np.unique(one)} == {0, 1, 2, 3}
    engine.close()


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_what_stays_does_not_come_down_with_a_frame(machine: GpuMachine, tmp_path: Path, kind: str, backend: str) -> None:
    engine = machine.open(MAKERS[kind](tmp_path), backend).engine
    frame, family, calls = pictures(1)[0], open_family(engine.card), machine.world.calls
    for _ in range(3):
        machine.reset_counts()
        run = engine.infer(frame)
        assert calls["work:dtoh"] in (0 if backend == "trt" else 1, len(engine.card.outputs) - 1), "a graph counts as one"
        machine.reset_counts()
        family.decode(run.outputs, run.geometry, DecodeSettings())
        assert [calls[name] for name in ("launch", "memcpy_htod_async", "memcpy_dtoh_async")] == [2, 1, 1]
        assert calls["mem_alloc"] == calls["pagelocked_empty"] == 0
    engine.close()


@pytest.mark.parametrize(("inflight", "is_integrated"), [(1, False), (2, False), (3, True)])
def test_each_frame_in_flight_has_masks_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inflight: int, is_integrated: bool
) -> None:
    """As the inference thread does it: the next frame is started before the masks of the one that came back are made."""
    with fake_machine(tmp_path / "gpu", monkeypatch, World(is_integrated=is_integrated)) as machine:
        model, frames = yolo_model(tmp_path), pictures(7)
        machine.build(model)
        with Segmenter(model, "ort") as cpu:
            wanted = [cpu(frame) for frame in frames]
        with Segmenter(model, "trt", EngineOptions(inflight=inflight)) as segmenter:
            found, waiting = [], list(frames)
            for _ in range(max(1, inflight - 1)):
                segmenter.start(waiting.pop(0))
            for _ in frames:
                (run,) = segmenter.wait()
                if waiting and inflight > 1:
                    segmenter.start(waiting.pop(0))
                found.append(segmenter.read(run))
                if waiting and inflight == 1:
                    segmenter.start(waiting.pop(0))
    for one, other in zip(found, wanted, strict=True):
        agrees = (one.instances.label_map == other.instances.label_map).mean()
        assert agrees > 0.97, "half precision moves an edge by a pixel here and there"


@pytest.mark.parametrize("backend", ["trt", "ort-cuda"])
def test_what_masks_are_painted_from_is_in_memory_of_the_gpu_also_where_that_shares_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """It is read for every object, and the GPU does not cache the host's."""
    with fake_machine(tmp_path / "gpu", monkeypatch, World(is_integrated=True)) as machine:
        engine = machine.open(yolo_model(tmp_path), backend).engine
        outputs = engine.infer(pictures(1)[0]).outputs
        (grids,) = outputs.on_gpu.values()
        assert machine.world.memory.space_of(grids.address) == "device"
        engine.close()


def test_masks_that_a_later_frame_has_overwritten_are_an_error(machine: GpuMachine, tmp_path: Path) -> None:
    engine = machine.open(yolo_model(tmp_path)).engine
    family, frames = open_family(engine.card), pictures(3)
    run = engine.infer(frames[0])
    engine.infer(frames[1])
    if engine.inflight > 1:
        engine.infer(frames[2])
    with pytest.raises(InferenceError, match="a later image has taken the place"):
        family.decode(run.outputs, run.geometry, DecodeSettings())
    engine.close()


def test_whole_masks_of_objects_are_made_from_what_is_brought_down(machine: GpuMachine, tmp_path: Path) -> None:
    model, frame = yolo_model(tmp_path), pictures(1, Size(128, 96))[0]
    machine.build(model)
    with Segmenter(model, "trt") as segmenter:
        segmenter(frame)
        instances, masks = segmenter.objects(DecodeSettings())
        found = list(masks)
    assert [mask.shape for mask in found] == [(96, 128)] * 3
    seen = np.zeros((96, 128), np.uint8)
    for row in reversed(range(3)):
        seen[found[row] > 0] = row + 1
    np.testing.assert_array_equal(seen, instances.label_map)


def spoiled(machine: GpuMachine, outputs: GpuOutputs, value: float) -> None:
    """Overwrite what is on the GPU, as a network gone wrong would."""
    (grids,) = outputs.on_gpu.values()
    count = int(np.prod(grids.shape))
    there = machine.world.memory.bytes_at(grids.address, count * grids.dtype.itemsize, "a test")  # type: ignore[attr-defined]
    there.view(grids.dtype)[:] = value


def test_nan_is_noticed_in_the_first_frames_anywhere_and_later_under_boxes(machine: GpuMachine, tmp_path: Path) -> None:
    model, frame = yolo_model(tmp_path), pictures(1)[0]
    machine.build(model)
    with Segmenter(model, "trt") as segmenter:
        for index in range(WHOLE_FRAMES + 1):
            segmenter.start(frame)
            (run,) = segmenter.wait()
            assert isinstance(run.outputs, GpuOutputs)
            spoil = index in (0, WHOLE_FRAMES)
            if spoil:
                spoiled(machine, run.outputs, np.nan)
                with pytest.raises(InferenceError, match="output output1" if index == 0 else "array of masks contains NaN"):
                    segmenter.read(run)
                segmenter(frame)
            else:
                segmenter.read(run)
        machine.reset_counts()
        segmenter(frame)
        assert machine.world.calls["memcpy_dtoh_async"] == 1, "the map alone, outside of the graph"


def test_a_frame_without_objects_asks_the_gpu_for_nothing(machine: GpuMachine, tmp_path: Path) -> None:
    engine = machine.open(yolo_model(tmp_path)).engine
    run = engine.infer(pictures(1)[0])
    machine.reset_counts()
    nothing = open_family(engine.card).decode(run.outputs, run.geometry, DecodeSettings(0.95))
    assert not nothing.instances.label_map.any()
    assert machine.world.calls["launch"] == machine.world.calls["memcpy_dtoh_async"] == 0
    engine.close()


def test_a_full_gpu_is_reported_when_the_engine_is_loaded(machine: GpuMachine, tmp_path: Path) -> None:
    """Not with the first object that is seen."""
    model = yolo_model(tmp_path)
    machine.build(model)
    machine.reset_counts()
    one = EngineOptions(inflight=1)
    open_engine(model, "trt", one).engine.close()
    allocations = machine.world.calls["mem_alloc"]
    machine.reset_counts()
    machine.world.fail("mem_alloc", allocations, 2)
    with pytest.raises(BackendUnavailableError, match="could not allocate"):
        open_engine(model, "trt", one)
    assert machine.world.live() == []


def test_a_second_frame_in_flight_does_not_take_the_memory_for_masks(machine: GpuMachine, tmp_path: Path) -> None:
    """The engine did not open where there was room for one frame and the masks."""
    model, frame = yolo_model(tmp_path), pictures(1)[0]
    machine.build(model)
    with Segmenter(model, "trt", EngineOptions(inflight=1)) as segmenter:
        segmenter(frame)
        machine.world.total_bytes -= machine.world.memory.free_bytes
    with Segmenter(model, "trt") as segmenter:
        assert segmenter.inflight == 1
        assert len(segmenter(frame).instances) == 3


def test_many_frames_of_changing_sizes_take_no_more_memory(machine: GpuMachine, tmp_path: Path) -> None:
    model = yolo_model(tmp_path)
    machine.build(model)
    settings = [DecodeSettings(map_width_px=width) for width in (64, 128, 320)]
    frames = [*pictures(2), *pictures(2, Size(320, 96))]
    with Segmenter(model, "trt") as segmenter:
        for frame in frames * 3:
            segmenter(frame, settings[-1])
        taken, live = machine.world.memory.free_bytes, len(machine.world.live())
        for index in range(24):
            found = segmenter(frames[index % 4], settings[index % 3]).instances
            assert len(found) == 3
        assert (machine.world.memory.free_bytes, len(machine.world.live())) == (taken, live)


def test_opening_and_closing_leaves_nothing(machine: GpuMachine, tmp_path: Path) -> None:
    model, frame = yolo_model(tmp_path), pictures(1)[0]
    machine.build(model)
    for _ in range(3):
        with Segmenter(model, "trt") as segmenter:
            assert len(segmenter(frame).instances) == 3
        assert machine.world.live() == []


def test_another_thread_is_refused(machine: GpuMachine, tmp_path: Path) -> None:
    engine = machine.open(yolo_model(tmp_path)).engine
    run = engine.infer(pictures(1)[0])
    raised = raised_elsewhere(lambda: open_family(engine.card).decode(run.outputs, run.geometry, DecodeSettings()))
    assert isinstance(raised, WrongThreadError)
    engine.close()


@pytest.mark.parametrize("name", ["launch", "work:mask_labels"])
def test_masks_that_fail_are_an_inference_error_and_closing_gives_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with fake_machine(tmp_path / "gpu", monkeypatch) as machine:
        engine = machine.open(yolo_model(tmp_path)).engine
        run = engine.infer(pictures(1)[0])
        machine.world.fail(name, 1, 700)
        with pytest.raises(InferenceError) as caught:
            open_family(engine.card).decode(run.outputs, run.geometry, DecodeSettings())
        assert "\n" not in str(caught.value)
        engine.close()
        machine.world.violations.clear()


def test_a_model_without_masks_takes_no_painter(machine: GpuMachine, nets) -> None:
    from engines.models.model import load_model

    model: Model = load_model(nets.semantic())
    engine = machine.open(model).engine
    assert not isinstance(engine.infer(np.zeros((24, 32, 3), np.uint8)).outputs, GpuOutputs)
    engine.close()
