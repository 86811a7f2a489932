"""ONNX Runtime on CUDA, on stand-ins: the same kernel, the same stream, one wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper

from engines.backends import EngineOptions, here, open_engine
from engines.errors import BackendUnavailableError, InferenceError, NoGpuError, WrongThreadError
from engines.models.model import Model, load_model
from engines.segmenter import Segmenter

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

Paint = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


@pytest.fixture
def model(nets) -> Model:
    return load_model(nets.semantic())


def maps(count: int) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 3, (24, 32)).astype(np.uint8) for _ in range(count)]


def test_it_sees_what_the_cpu_sees(machine: GpuMachine, model: Model, painted: Paint) -> None:
    with Segmenter(model, "ort-cuda") as segmenter:
        for wanted in maps(4):
            np.testing.assert_array_equal(2 - segmenter(painted(wanted)).class_map, wanted)
        description = segmenter.choice.engine.description
    assert description.startswith("ONNX Runtime ")
    assert description.endswith(", CUDA, Fake RTX 4000, fp32")


def test_its_outputs_are_fused_so_that_little_comes_down(machine: GpuMachine, model: Model) -> None:
    engine = open_engine(model, "ort-cuda").engine
    assert set(engine.card.outputs) == {"labels", "logit_mean"}
    engine.close()


def test_one_wait_a_frame_on_our_own_stream(machine: GpuMachine, model: Model, painted: Paint) -> None:
    engine = open_engine(model, "ort-cuda").engine
    frame = painted(maps(1)[0])
    engine.infer(frame)
    machine.reset_counts()
    for _ in range(5):
        engine.infer(frame)
    assert machine.world.calls["Event.synchronize"] == 5
    assert machine.world.unpinned_copies == 0
    assert machine.world.default_stream_uses == 0
    engine.close()


def test_frames_of_any_size_may_follow_each_other(machine: GpuMachine, model: Model, painted: Paint) -> None:
    with Segmenter(model, "ort-cuda") as segmenter:
        for scale in (1, 4, 2, 1):
            wanted = maps(1)[0]
            frame = painted(np.kron(wanted, np.ones((scale, scale), np.uint8)))
            assert (2 - segmenter(frame).class_map == wanted).mean() >= 0.9


def test_a_fall_back_to_the_cpu_is_an_error_that_names_what_is_missing(tmp_path: Path, monkeypatch, nets) -> None:
    model = load_model(nets.semantic())
    with (
        fake_machine(tmp_path, monkeypatch, World(cuda_provider_fails=True)),
        pytest.raises(BackendUnavailableError, match=r"fell back to the CPU, .*onnxruntime-gpu\[cuda,cudnn\]"),
    ):
        open_engine(model, "ort-cuda")


def test_an_onnx_runtime_without_cuda_is_an_error_with_the_cure(tmp_path: Path, monkeypatch, nets) -> None:
    model = load_model(nets.semantic())
    expected_text = r"pip uninstall -y onnxruntime, then pip install 'onnxruntime-gpu\[cuda,cudnn\]' pycuda"
    with fake_machine(tmp_path, monkeypatch, World(has_cuda_provider=False)):
        assert "ort-cuda" not in here(), "run.py models lists only what can run"
        with pytest.raises(BackendUnavailableError, match=expected_text):
            open_engine(model, "ort-cuda")


def test_where_it_can_run_it_is_listed(machine: GpuMachine) -> None:
    assert "ort-cuda" in here()


def test_without_a_gpu_that_is_said_first(model: Model) -> None:
    with pytest.raises(NoGpuError, match="un on the CPU: --backend auto"):
        open_engine(model, "ort-cuda")


def test_a_graph_that_it_refuses_is_an_error_of_one_line(machine: GpuMachine, nets) -> None:
    path = nets.save(
        "foreign",
        [helper.make_node("Enhance", ["image"], ["logits"], domain="some.vendor")],
        [("image", "float32", [1, 3, 16, 16])],
        [("logits", "float32", [1, 3, 16, 16])],
    )
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    with pytest.raises(BackendUnavailableError) as caught:
        open_engine(load_model(path), "ort-cuda")
    assert "foreign" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["launch", "memcpy_htod_async", "work:dtoh", "Event.synchronize"])
def test_a_run_that_fails_is_an_inference_error(machine: GpuMachine, model: Model, painted: Paint, name: str) -> None:
    engine = open_engine(model, "ort-cuda").engine
    frame = painted(maps(1)[0])
    engine.infer(frame)
    machine.world.fail(name, 1, 700)
    with pytest.raises(InferenceError):
        engine.infer(frame)
    engine.close()
    machine.world.violations.clear()


def test_fifty_times_open_and_close_leave_nothing(machine: GpuMachine, model: Model, painted: Paint) -> None:
    for _ in range(50):
        engine = open_engine(model, "ort-cuda").engine
        engine.infer(painted(maps(1)[0]))
        engine.close()
        assert machine.world.live() == []


def test_it_belongs_to_its_thread(machine: GpuMachine, model: Model, painted: Paint) -> None:
    from concurrent.futures import ThreadPoolExecutor

    engine = open_engine(model, "ort-cuda").engine
    with ThreadPoolExecutor(1) as other, pytest.raises(WrongThreadError):
        other.submit(engine.infer, painted(maps(1)[0])).result()
    engine.close()


def test_auto_takes_it_where_tensorrt_is_missing(tmp_path: Path, monkeypatch, nets) -> None:
    model = load_model(nets.semantic())
    with fake_machine(tmp_path, monkeypatch, World(has_tensorrt=False)):
        choice = open_engine(model, options=EngineOptions(runtime="tensorrt"))
        assert choice.backend == "ort-cuda"
        assert "TensorRT is not installed" in choice.refusals["trt"]
        choice.engine.close()
