"""Several sources on one TensorRT engine for batches, on stand-ins for CUDA and TensorRT that keep their rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends import EngineOptions
from engines.models import zoo
from engines.models.model import Model, load_model
from engines.segmenter import Segmenter
from realtime.app import Run
from realtime.settings import Settings
from realtime.streams import recovery

from ...engines.conftest import Nets
from ...engines.gpu_machine import GpuMachine, fake_machine
from ...fakes import host_kernels
from ..runs import plan_of

pytestmark = [
    pytest.mark.usefixtures("no_thread_is_left"),
    pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU"),
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuMachine]:
    with fake_machine(tmp_path / "machine", monkeypatch) as machine:
        yield machine


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(Nets(tmp_path).semantic())


@pytest.mark.parametrize("streams", [2, 4])
def test_a_run_of_several_sources_takes_batches(
    machine: GpuMachine, model: Model, MemorySource: Any, MemorySink: Any, streams: int
) -> None:
    """Each source has the results that it has alone, with two batches in flight."""
    machine.build(model, batch=4)
    settings = Settings(model=str(model.path), backend="trt", width=320, tracker="none")
    sinks = [MemorySink() for _ in range(streams)]
    plans = [plan_of(settings, lambda: MemorySource(12), [sink]) for sink in sinks]
    run = Run(settings, lambda: zoo.find(settings.model), plans)
    machine.reset_counts()
    run.start()
    assert run.wait(60)
    assert run.model is not None
    assert run.model.backend.endswith("batches of 4")
    warm_up = 2 * 2 * (1 + 2 + 3 + 4)
    assert machine.world.calls["launch"] == warm_up + 12 * streams, "each frame is fitted to the input once"
    assert machine.world.calls["Event.synchronize"] - 4 * 4 < 12 * streams, "fewer runs of the network than frames"
    with Segmenter(model, "trt", EngineOptions(batch=4)) as alone:
        for sink in sinks:
            assert sink.indices == list(range(12))
            for result in sink.results:
                wanted = alone(result.frame.image, settings.decode_settings(0.3))
                np.testing.assert_array_equal(result.segmentation.class_map, wanted.class_map)


@pytest.mark.parametrize("inflight", [1, 2])
def test_a_batch_that_fails_loses_no_frame_of_any_stream(
    machine: GpuMachine, model: Model, MemorySource: Any, MemorySink: Any, monkeypatch: pytest.MonkeyPatch, inflight: int
) -> None:
    """Its frames, and those of the batch behind it, are run again on the engine that is opened again."""
    monkeypatch.setattr(recovery, "PAUSES_S", (0.02,) * 3)
    machine.build(model, batch=3)
    engine = EngineOptions(inflight=inflight)
    settings = Settings(model=str(model.path), backend="trt", width=320, tracker="none", engine=engine)
    sinks = [MemorySink() for _ in range(3)]
    run = Run(settings, lambda: zoo.find(settings.model), [plan_of(settings, lambda: MemorySource(12), [one]) for one in sinks])
    machine.reset_counts()
    machine.world.fail("cuGraphLaunch", 3 * inflight + 5, 999)  # the fifth after the warm-up
    run.start()
    assert run.wait(60)
    for sink in sinks:
        assert sink.indices == list(range(12))
        assert not any(result.error for result in sink.results)
    assert run.inference.recoveries == 1
