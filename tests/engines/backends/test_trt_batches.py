"""TensorRT engines for batches, on stand-ins for CUDA and TensorRT that keep their rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.backends import EngineOptions, PipelinedBatchEngine
from engines.errors import EngineNotBuiltError
from engines.families import DecodeSettings
from engines.models.model import Model, load_model
from engines.segmenter import Segmenter
from engines.types import GpuOutputs, Size

from ...fakes import host_kernels, host_masks
from ..gpu_machine import GpuMachine
from ..masked import pictures as masked_pictures
from ..masked import yolo_model

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

SIZES = (Size(64, 48), Size(32, 24), Size(96, 72), Size(64, 48))


@pytest.fixture
def model(nets: Any) -> Model:
    return load_model(nets.semantic())


def pictures(count: int, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Of several sizes."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        size = SIZES[index % len(SIZES)]
        blocks = rng.integers(0, 255, (6, 8, 3), np.uint8)
        found.append(np.kron(blocks, np.ones((size.height // 6, size.width // 8, 1), np.uint8)))
    return found


def maps_of(segmentations: Any) -> list[npt.NDArray[np.uint8]]:
    return [segmentation.class_map.copy() for segmentation in segmentations]


@pytest.mark.parametrize("inflight", [1, 2])
def test_batches_of_any_number_give_what_single_images_give(machine: GpuMachine, model: Model, inflight: int) -> None:
    machine.build(model)
    images = pictures(4)
    with Segmenter(model, "trt", EngineOptions(inflight=inflight)) as segmenter:
        assert segmenter.batch == 1
        wanted = maps_of(segmenter(image) for image in images)
    machine.build(model, batch=4)
    with Segmenter(model, "trt", EngineOptions(inflight=inflight, batch=4)) as segmenter:
        assert segmenter.batch == 4
        for count in (4, 1, 3, 4, 2, 3, 3):
            found = maps_of(segmenter.run_batch(images[:count], [DecodeSettings()] * count))
            for one, other in zip(found, wanted, strict=False):
                np.testing.assert_array_equal(one, other)
            assert len(found) == count
        with pytest.raises(ValueError, match="a batch of 5 images; this engine takes 1 to 4"):
            segmenter.run_batch(pictures(5), [DecodeSettings()] * 5)


def test_batches_in_flight_come_back_in_order(machine: GpuMachine, model: Model) -> None:
    machine.build(model, batch=3)
    batches = [pictures(count, seed) for seed, count in enumerate((3, 2, 3, 1, 3, 3, 2))]
    with Segmenter(model, "trt", EngineOptions(batch=3)) as segmenter:
        wanted = [maps_of(segmenter(image) for image in images) for images in batches]
        found = []
        for index, images in enumerate(batches):
            segmenter.start_batch(images)
            for image in images:
                image[:] = 0  # they may change once they were started
            if index:
                found.append(maps_of(segmenter.read(run) for run in segmenter.wait()))
        found.append(maps_of(segmenter.read(run) for run in segmenter.wait()))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))


def test_each_number_of_images_has_its_graph_and_frames_of_another_size_keep_it(machine: GpuMachine, model: Model) -> None:
    """Recording again at each change would cost a camera of another size more than the graph gains."""
    machine.build(model, batch=3)
    with Segmenter(model, "trt", EngineOptions(batch=3, inflight=1)) as segmenter:
        engine = segmenter.choice.engine
        assert isinstance(engine, PipelinedBatchEngine)
        images = pictures(3)
        for count in (3, 2, 3, 2):
            engine.infer_batch(images[:count])
        calls = machine.world.calls
        machine.reset_counts()
        engine.infer_batch(images)
        engine.infer_batch(images[::-1])
        engine.infer_batch(images[1:])
        engine.infer_batch(images[:2])
        assert calls["cuGraphLaunch"] == 4
        assert calls["cuStreamBeginCapture_v2"] == 0
        assert calls["Event.synchronize"] + calls["Stream.synchronize"] == 4, "one wait for a batch"
        assert calls["launch"] == 3 + 3 + 2 + 2


def test_after_the_warm_up_no_batch_sets_anything_up(machine: GpuMachine, model: Model) -> None:
    """TensorRT-RTX compiles for each shape that it first sees, for seconds."""
    machine.build(model, batch=3)
    with Segmenter(model, "trt", EngineOptions(batch=3)) as segmenter:
        segmenter.warm_up(Size(64, 48))
        machine.reset_counts()
        for count in (1, 2, 3, 3, 2, 1):
            segmenter.run_batch([pictures(1)[0]] * count, [DecodeSettings()] * count)
        calls = machine.world.calls
        for name in ("cuStreamBeginCapture_v2", "ICudaEngine.create_execution_context", "mem_alloc"):
            assert calls[name] == 0, name
        assert calls["cuGraphLaunch"] == 6


def test_only_the_outputs_of_the_images_in_a_run_are_downloaded(machine: GpuMachine, model: Model) -> None:
    machine.build(model, batch=4)
    with Segmenter(model, "trt", EngineOptions(batch=4, inflight=1)) as segmenter:
        slot = segmenter.choice.engine.runner._loaded.slots[0]  # type: ignore[attr-defined]
        (labels,) = segmenter.choice.engine.infer_batch(pictures(1))  # type: ignore[attr-defined]
        assert labels.outputs["labels"].shape == (1, 24, 32)
        untouched = slot.buffers["labels"].array[1:]
        assert (untouched == 0xCD).all(), "as it was allocated"


def opened(model: Model, streams: int = 1, **options: Any) -> tuple[int, str]:
    """The engine's batch, and its description."""
    with Segmenter(replace(model, streams=streams), "trt", EngineOptions(**options)) as segmenter:
        return segmenter.batch, segmenter.choice.engine.description


def test_the_engine_for_as_many_images_as_there_are_streams_is_taken_or_else_the_nearest(
    machine: GpuMachine, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is built serves any number of streams: one after the other, if need be. A line says what to build."""
    with pytest.raises(
        EngineNotBuiltError, match=r"\(fp16, 24x32, 3 images at a time\) yet\. Build it: .*colours.onnx --batch 3$"
    ):
        opened(model, streams=3)
    machine.build(model, batch=4)
    assert opened(model, streams=4) == (4, "TensorRT 10.13.3, Fake RTX 4000, fp16, batches of 4")
    assert caplog.text.count("images at a time runs") == 0
    assert opened(model)[0] == 4
    assert "no engine for colours (fp16, 24x32) yet, only one for batches of 4" in caplog.text
    assert "so the one for up to 4 images at a time runs. Build it: run.py build" in caplog.text
    machine.build(model)
    machine.build(model, batch=2)
    caplog.clear()
    assert [opened(model, streams)[0] for streams in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 4]
    assert caplog.text.count("images at a time runs") == 2
    assert [opened(model, batch=number)[0] for number in (1, 2, 3)] == [1, 2, 4]
    with pytest.raises(EngineNotBuiltError, match="5 images at a time"):
        opened(model, batch=5)  # for a program that gives it so many


def test_several_streams_are_served_by_an_engine_for_single_images_too(
    machine: GpuMachine, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    machine.build(model)
    assert opened(model, streams=2) == (1, "TensorRT 10.13.3, Fake RTX 4000, fp16")
    assert "so the one for single images, each stream in its turn, runs. Build it: run.py build" in caplog.text
    assert "--batch 2 (about" in caplog.text


def test_masks_of_a_batch_are_painted_on_the_gpu(machine: GpuMachine, tmp_path: Path) -> None:
    if not host_masks.is_available():
        pytest.skip("needs g++, to run the kernels on the CPU")
    model = yolo_model(tmp_path, batch="batch")
    machine.build(model, batch=3)
    images = masked_pictures(3)
    with Segmenter(model, "trt", EngineOptions(batch=3)) as segmenter:
        alone = [segmenter(image).instances.label_map for image in images]
        segmenter.start_batch(images)
        runs = segmenter.wait()
        assert all(isinstance(run.outputs, GpuOutputs) for run in runs)
        for run, wanted in zip(runs, alone, strict=True):
            np.testing.assert_array_equal(segmenter.read(run).instances.label_map, wanted)
            staying = run.outputs.on_gpu["output1"].array()  # type: ignore[attr-defined]
            assert staying.shape[0] == 1
            np.testing.assert_array_equal(segmenter.read(run).instances.label_map, wanted)
    assert len({label_map.tobytes() for label_map in alone}) == 3
