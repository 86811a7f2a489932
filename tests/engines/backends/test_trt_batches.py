"""TensorRT engines for batches, on stand-ins for CUDA and TensorRT that keep their rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.backends import EngineOptions, PipelinedBatchEngine
from engines.families import DecodeSettings
from engines.models.model import Model, load_model
from engines.segmenter import Segmenter
from engines.types import Size

from ...fakes import host_kernels
from ..gpu_machine import GpuMachine

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
