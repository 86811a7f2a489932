"""A model that gives a matte, run whole: smoothed in time or not, with a background or without."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from engines.models import zoo
from realtime.app import Run
from realtime.errors import SettingsError
from realtime.sessions.live import LiveSession
from realtime.settings import Settings

from .runs import run_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture(scope="module")
def matte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose matte is how bright the picture is, from 60 (0) to 180 (1)."""
    folder = tmp_path_factory.mktemp("matte")
    weights = {"low": np.array(60, np.float32), "range": np.array(120, np.float32)}
    weights |= {"nought": np.array(0, np.float32), "one": np.array(1, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["brightness"], axes=[3], keepdims=1),
        helper.make_node("Sub", ["brightness", "low"], ["above"]),
        helper.make_node("Div", ["above", "range"], ["share"]),
        helper.make_node("Clip", ["share", "nought", "one"], ["alpha"]),
    ]
    graph = helper.make_graph(
        nodes,
        "matte",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 72, 96, 3])],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [1, 72, 96, 1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = folder / "matte.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    path.with_suffix(".toml").write_text('family = "matting"\noutputs = {alpha = "alpha"}\nclasses = ["person"]\n')
    return path


def run_over(source: Any, sink: Any, model: Path, **settings: Any) -> Run:
    chosen = Settings(model=str(model), backend="ort", width=320, **settings)
    run = run_of(chosen, lambda: source, [sink])
    run.start()
    try:
        assert run.wait(20), "the run hangs"
    finally:
        run.stop()
    return run


def test_the_bright_person_is_an_object_with_a_matte(MemorySource: Any, MemorySink: Any, matte_model: Path) -> None:
    sink = MemorySink()
    run_over(MemorySource(12), sink, matte_model)
    seen = sink.results[-1].segmentation
    assert seen.alpha is not None
    assert seen.alpha[12, 84] == 255
    assert seen.alpha[60, 10] == 0
    assert len(sink.results[-1].tracks) >= 1
    assert (sink.canvases[-1].image[12, 84] != 230).any(), "tinted"


@pytest.mark.parametrize("smooth", [True, False])
def test_smoothing_is_switched(MemorySource: Any, MemorySink: Any, matte_model: Path, smooth: bool) -> None:
    """The car of the scene is half opaque and drives: where it has gone from, the average would linger, but that moves."""
    sink = MemorySink()
    run = run_over(MemorySource(20), sink, matte_model, smooth=smooth)
    assert ("smooth" in run.stream.reading().stages) is smooth
    raw = np.clip((sink.results[-1].frame.image.astype(float).mean(axis=2) - 60) / 120, 0, 1) * 255
    alpha = sink.results[-1].segmentation.alpha
    assert alpha is not None
    assert (np.abs(alpha - raw) < 2).mean() > (0.95 if smooth else 0.999)


def test_a_model_without_a_matte_is_not_smoothed(MemorySource: Any, MemorySink: Any, tiny_model: Path) -> None:
    run = run_over(MemorySource(5), MemorySink(), tiny_model)
    assert "smooth" not in run.stream.reading().stages


def test_the_background_is_replaced_and_nothing_else_drawn(MemorySource: Any, MemorySink: Any, matte_model: Path) -> None:
    sink = MemorySink()
    run_over(MemorySource(5), sink, matte_model, background="#00b140")
    for result, canvas in zip(sink.results, sink.canvases, strict=True):
        assert (canvas.image[60, 4:8] == (64, 177, 0)).all() or result.frame.image[60, 4, 0] != 30
        assert (canvas.image[10:20, 82:86] == 230).all(), "the person as she is"
        assert (canvas.image[4, :60] == (64, 177, 0)).all()


def test_a_background_wants_a_model_with_a_matte(MemorySource: Any, MemorySink: Any, tiny_model: Path) -> None:
    with pytest.raises(SettingsError, match="background: tiny does not separate foreground and background"):
        run_over(MemorySource(5), MemorySink(), tiny_model, background="blur")


def test_a_picture_that_is_gone_is_reported_before_anything_opens(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.png: cannot be read"):
        run_of(Settings(background=str(tmp_path / "gone.png")), lambda: pytest.fail("opened"))


def test_a_session_reports_a_matte(MemorySource: Any, matte_model: Path, tmp_path: Path, wait_until: Any) -> None:
    settings = Settings(model=str(matte_model), backend="ort", width=320)
    source = MemorySource(None, is_live=True)
    session = LiveSession(settings, "memory", lambda: source, lambda: zoo.find(str(matte_model)), lambda: None, tmp_path)
    try:
        wait_until(lambda: session.state().phase == "running")
        state = session.state()
        assert state.gives_matte
        assert (state.classes, state.shown_classes, state.colours) == (("person",), (0,), ()), "coloured by track, like objects"
    finally:
        session.close()
        deadline_s = time.monotonic() + 5
        while session._run.running and time.monotonic() < deadline_s:
            time.sleep(0.01)
