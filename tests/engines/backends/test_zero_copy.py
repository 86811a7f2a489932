"""A GPU that shares the host's memory: frames and outputs stay where they are, by TensorRT and by ONNX Runtime on CUDA.

The stand-in reports a host that writes a frame before the GPU has read it, and has undefined bytes where outputs are not there
yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.backends import EngineOptions
from engines.models.model import Model, load_model
from engines.segmenter import Segmenter

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

Paint = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
COPIES = ("memcpy_htod_async", "memcpy_dtoh_async", "work:htod", "work:dtoh")


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuMachine]:
    world = World(12060, gpu_name="NVIDIA Orin", compute_capability=(8, 7), is_integrated=True, tensorrt_version="10.3.0")
    with fake_machine(tmp_path / "jetson", monkeypatch, world) as machine:
        yield machine


@pytest.fixture
def model(nets) -> Model:
    return load_model(nets.semantic())


def maps(count: int) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 3, (24, 32)).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("backend", ["trt", "ort-cuda"])
def test_nothing_is_copied_and_the_description_says_so(jetson: GpuMachine, model: Model, painted: Paint, backend: str) -> None:
    jetson.build(model)
    jetson.reset_counts()
    with Segmenter(model, backend) as segmenter:
        for wanted in maps(5):
            np.testing.assert_array_equal(2 - segmenter(painted(wanted)).class_map, wanted)
        assert segmenter.choice.engine.description.endswith(", zero copy")
    assert [jetson.world.calls[name] for name in COPIES] == [0, 0, 0, 0]


@pytest.mark.parametrize("inflight", [2, 3])
def test_frames_in_flight_come_back_in_order_on_one_stream(
    jetson: GpuMachine, model: Model, painted: Paint, inflight: int
) -> None:
    jetson.build(model)
    jetson.reset_counts()
    wanted, found = maps(9), []
    with Segmenter(model, "trt", EngineOptions(inflight=inflight)) as segmenter:
        for index, class_map in enumerate(wanted):
            frame = painted(class_map)
            segmenter.start(frame)
            frame[:] = 0  # it may change once it was started
            if index + 1 >= inflight:
                found.append(segmenter.finish())
        found += [segmenter.finish() for _ in range(inflight - 1)]
    for class_map, seen in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(2 - seen.class_map, class_map)
        assert seen.stage_ms["inference"] > 0
    assert jetson.world.calls["Stream"] == 1, "there is no upload to overlap"
    assert jetson.world.calls["Stream.wait_for_event"] == 0


def test_the_parts_of_a_frame_can_still_be_measured(jetson: GpuMachine, model: Model, painted: Paint) -> None:
    engine: Any = jetson.open(model).engine
    times = engine.runner.part_times(painted(maps(1)[0]), 3)
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys(("upload", "kernel", "network", "download"), 3)
    engine.close()
