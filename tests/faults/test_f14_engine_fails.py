"""F14: an engine that fails is opened again, three times at most; every frame has a result, or is named; then a clear stop."""

from __future__ import annotations

import gc
import importlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import engines.backends
from engines.backends import EngineOptions
from engines.errors import InferenceError
from engines.models import zoo
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.app import Run
from realtime.bench.measuring import Bench
from realtime.commands.common.running import run_to_files
from realtime.errors import BenchError
from realtime.sessions.live import LiveSession
from realtime.settings import Settings
from realtime.streams import recovery

from ..engines.conftest import Nets
from ..engines.gpu_machine import fake_machine
from ..fakes import host_kernels
from ..realtime.bench.test_bench import job
from ..realtime.conftest import scene
from ..realtime.runs import run_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

FAILING_ENGINE = """
from engines.backends.ort import OrtEngine, open_engine as open_ort
from engines.errors import BackendUnavailableError, InferenceError

calls, opened, closed = 0, 0, 0
fails = lambda call, image: False
opening_fails = lambda number: False
closing_fails = False
error = InferenceError("the device is lost", "Wait")

class FailingEngine(OrtEngine):
    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)

    def infer(self, image, *stream):
        global calls
        calls += 1
        if fails(calls, image):
            raise error
        return super().infer(image, *stream)

    def close(self):
        global closed
        closed += 1
        super().close()
        if closing_fails:
            raise RuntimeError("the memory cannot be freed")

def open_engine(model, *options):
    global opened
    opened += 1
    if opening_fails(opened):
        raise BackendUnavailableError("the device is gone")
    return FailingEngine(open_ort(model, *options))
"""


@pytest.fixture
def engine(plug_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend "failing", and short pauses."""
    plug_in(engines.backends, "failing", FAILING_ENGINE)
    monkeypatch.setattr(recovery, "PAUSES_S", (0.02, 0.02, 0.02))
    return importlib.import_module("engines.backends.failing")


@pytest.fixture
def run_of_frames(tiny_model: Path, MemorySource: Any) -> Callable[..., Run]:
    def make(sink: Any, count: int = 20, **source: Any) -> Run:
        settings = Settings(model=str(tiny_model), backend="failing", width=320)
        return run_of(settings, lambda: MemorySource(count, **source), [sink])

    return make


def test_a_failure_that_passes_loses_no_frame_of_a_recording(
    engine: ModuleType, run_of_frames: Callable[..., Run], MemorySink: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fails, sink = lambda call, image: call in (8, 10, 15), MemorySink()  # 1 and 9 warm up
    run = run_of_frames(sink)
    run.start()
    assert run.wait(20)
    assert sink.indices == list(range(20))
    assert sink.results[6].error == "the device is lost", "it failed twice, and goes without"
    assert [result.frame.index for result in sink.results if result.error] == [6]
    assert run.stream.reading().failed == 1
    assert run.stream.reading().processed == 19
    assert (engine.opened, engine.closed) == (3, 3)
    assert "Recovering, attempt 1 of 3: the device is lost" in caplog.text
    assert "frame 6 has no result: the device is lost" in caplog.text


def test_frames_at_fault_are_named_and_the_others_have_their_results(
    engine: ModuleType, run_of_frames: Callable[..., Run], MemorySink: Any
) -> None:
    bad = [scene(5).tobytes(), scene(11).tobytes(), scene(12).tobytes()]
    engine.fails, sink = lambda call, image: image.tobytes() in bad, MemorySink()
    run = run_of_frames(sink)
    run.start()
    assert run.wait(20)
    assert sink.indices == list(range(20))
    assert [result.frame.index for result in sink.results if result.error] == [5, 11, 12]
    assert all(not result.tracks for result in sink.results if result.error)
    ids = {track.id for result in sink.results for track in result.tracks or ()}
    assert len(ids) == 2, "tracks go on behind the gap"
    assert list(run.stream.failed_frames) == [5, 11, 12]
    assert engine.opened == 4


def test_the_figures_add_up_while_a_frame_is_given_up(
    engine: ModuleType, run_of_frames: Callable[..., Run], MemorySink: Any, request: pytest.FixtureRequest
) -> None:
    """In that moment one frame too few, or fewer than none, was processed."""
    bad, readings = scene(0).tobytes(), []
    engine.fails = lambda call, image: image.tobytes() == bad
    run = run_of_frames(MemorySink(), 5)

    class Reading(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            readings.append(run.stream.reading())

    handler = Reading()
    logging.getLogger("realtime.streams.port").addHandler(handler)
    request.addfinalizer(lambda: logging.getLogger("realtime.streams.port").removeHandler(handler))
    run.start()
    assert run.wait(20)
    assert [(reading.processed, reading.failed) for reading in readings] == [(0, 1)]


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("kind", [InferenceError("the device is lost", "Wait"), MemoryError()])
def test_after_three_attempts_there_is_a_clear_stop(
    engine: ModuleType,
    run_of_frames: Callable[..., Run],
    MemorySink: Any,
    kind: BaseException,
    is_live: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine.fails, engine.error, sink = lambda call, image: call > 6 and image.shape[0] < 100, kind, MemorySink()
    run = run_of_frames(sink, 200, is_live=is_live, fps=100)
    run.start()
    with pytest.raises(InferenceError, match="opening it again did not help, 3 times"):
        run.wait(20)
    assert engine.opened == 4
    assert engine.closed == 4, "nothing stays open"
    assert sink.closed == 1
    sound = [result.frame.index for result in sink.results if not result.error]
    assert sound[:5] == list(range(5)) or (is_live and len(sound) >= 5 and sound == sorted(set(sound)))
    assert "has no result" in caplog.text
    assert run.stream.reading().failed >= 3


def test_an_engine_that_opens_again_only_at_the_third_try(
    engine: ModuleType, run_of_frames: Callable[..., Run], MemorySink: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fails, sink = lambda call, image: call == 8, MemorySink()
    engine.opening_fails, engine.closing_fails = lambda number: number in (2, 3), True
    run = run_of_frames(sink)
    run.start()
    assert run.wait(20)
    assert [result.frame.index for result in sink.results if not result.error] == list(range(20))
    assert engine.opened == 4
    assert caplog.text.count("could not be closed: RuntimeError: the memory cannot be freed") == 2


def test_a_good_stretch_gives_all_attempts_back(
    engine: ModuleType, run_of_frames: Callable[..., Run], MemorySink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "GOOD_STRETCH_S", 0.1)
    engine.fails, sink = lambda call, image: call % 20 == 0, MemorySink()
    run = run_of_frames(sink, 150, is_live=True, fps=100)
    run.start()
    assert run.wait(20)
    assert engine.opened > 4
    assert len(sink.results) > 60


def test_a_run_that_is_stopped_does_not_wait_for_the_pause(
    engine: ModuleType,
    run_of_frames: Callable[..., Run],
    MemorySink: Any,
    wait_until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "PAUSES_S", (30.0,) * 3)
    engine.fails = lambda call, image: call == 5
    run = run_of_frames(MemorySink(), None, is_live=True)
    run.start()
    wait_until(lambda: run.inference.recovering)
    run.stop()
    assert run.wait(2)


def test_a_screen_shows_the_camera_meanwhile_and_says_so(
    engine: ModuleType, tiny_model: Path, MemorySource: Any, wait_until: Callable[..., None], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(recovery, "PAUSES_S", (1.0,) * 3)
    engine.fails = lambda call, image: call == 10
    settings = Settings(model=str(tiny_model), backend="failing", width=320)
    source = MemorySource(None, is_live=True, fps=60)
    session = LiveSession(settings, "memory", lambda: source, lambda: zoo.find(settings.model), lambda: None, tmp_path)
    try:
        wait_until(lambda: session.state().recovering)
        assert session.state().phase == "running"
        assert session.state().recovering == "Recovering, attempt 1 of 3: the device is lost"
        indices = []
        while session.state().recovering:
            canvas = session.canvas.poll()
            indices += [canvas.index] if canvas is not None else []
        assert len(indices) >= 3, "pictures go on"
        assert indices == sorted(indices)
        assert session.reading().failed == 1
        processed = session.reading().processed
        wait_until(lambda: session.reading().processed > processed + 3)
        assert session.state().phase == "running"
    finally:
        session.close()


def test_nothing_is_measured_on_an_engine_that_failed(engine: ModuleType, tiny_model: Path, MemorySource: Any) -> None:
    engine.fails = lambda call, image: call == 40
    with pytest.raises(BenchError, match="the model failed and was opened again during the measurement"):
        Bench(job(tiny_model, lambda: MemorySource(400), None, seconds=30, backend="failing")).measure()


# On ONNX Runtime, with a network that fails on some pictures


def write_picky_model(folder: Path) -> Path:
    """The mean of a picture is an index into a table: out of range for bright pictures."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["value"]),
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["grey", "value"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "picky",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 48, 64, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, 48, 64])],
        [numpy_helper.from_array(np.zeros(250, np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(exist_ok=True)
    path = folder / "picky.onnx"
    save(model, str(path))
    path.with_suffix(".toml").write_text('classes = ["a", "b"]\nlicence = "MIT"\n[input]\nfit = "stretch"\nchannels = "bgr"\n')
    return path


class Bright:
    """A source whose frames 4 and 9 are too bright for that network."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.__dict__.update({name: getattr(source, name) for name in ("name", "is_live", "fps", "frame_count", "close")})

    @property
    def status(self) -> Any:
        return self._source.status

    def __iter__(self) -> Iterator[Any]:
        for frame in self._source:
            if frame.index in (4, 9):
                frame.image[:] = 255
            yield frame


def test_process_names_the_frames_without_a_result_and_ends_with_1(
    tmp_path: Path, MemorySource: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recovery, "PAUSES_S", (0.02,) * 3)
    settings = Settings(model=str(write_picky_model(tmp_path / "model")), backend="ort", width=320)
    outputs = {"jsonl": tmp_path / "o.jsonl", "video": tmp_path / "o.mp4"}
    assert run_to_files(settings, lambda: Bright(MemorySource(14)), outputs, None) == 1
    text = capsys.readouterr().out
    assert "frames   12 " in text
    assert "failed   2 frames have no result: 4, 9" in text
    assert "reopened 2 times" in text
    lines = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()][1:]
    assert [line["index"] for line in lines] == list(range(14)), "no gap"
    assert [line["index"] for line in lines if "ONNX Runtime failed" in line.get("error", "")] == [4, 9]
    assert outputs["video"].is_file()


# On the GPU's stand-in


@pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")
@pytest.mark.parametrize("inflight", [1, 2])
@pytest.mark.parametrize(
    ("fault", "recovers"),
    [
        (("cuGraphLaunch", 4, 999), True),
        (("Event.synchronize", 6, 999), True),
        (("mem_alloc", "at the second opening", 2), True),
        (("DeviceAllocation.free", 1, 999), True),
        (("work:graph", 4, 700), False),
    ],
    ids=["execute", "synchronise", "load", "free", "for good"],
)
def test_a_gpu_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    MemorySource: Any,
    MemorySink: Any,
    fault: tuple[str, Any, int],
    recovers: bool,
    inflight: int,
) -> None:
    """CUDA_ERROR_UNKNOWN passes; after an illegal address everything fails until the process ends. What was open is freed."""
    monkeypatch.setattr(recovery, "PAUSES_S", (0.02,) * 3)
    with fake_machine(tmp_path / "machine", monkeypatch) as machine:
        model = load_model(Nets(tmp_path).semantic())
        machine.build(model)
        name, nth, code = fault
        machine.reset_counts()
        with Segmenter(model, "trt", EngineOptions(inflight=inflight)) as segmenter:
            segmenter.warm_up(Size(1280, 720))
        allocations = machine.world.calls["mem_alloc"]
        machine.reset_counts()
        machine.world.fail(name, allocations + 1 if nth == "at the second opening" else nth, code)
        machine.world.fail("cuGraphLaunch", 4, 999)
        settings = Settings(model=str(model.path), backend="trt", width=160, engine=EngineOptions(inflight=inflight))
        sink = MemorySink()
        run = run_of(settings, lambda: MemorySource(12), [sink])
        run.start()
        if recovers:
            assert run.wait(20)
            assert [result.frame.index for result in sink.results if not result.error] == list(range(12))
            if name == "DeviceAllocation.free":
                gc.collect()  # the fake counts the piece that it refused to free; CUDA frees it with the context
                machine.world.leaks.clear()
                machine.world.violations.clear()
            return
        with pytest.raises(InferenceError, match="opening it again did not help, 3 times"):
            run.wait(20)
        assert run.stream.reading().failed >= 1
