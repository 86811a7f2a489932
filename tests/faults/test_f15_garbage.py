"""F15: a network that gives garbage: found in its file, or in the frame where it appears; nothing of it is shown."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engines.backends
from engines.decoding.guard import NUMBERS, WHOLE_FRAMES, OutputGuard
from engines.errors import InferenceError, ModelFileError
from engines.models import zoo
from engines.models.model import load_model
from engines.onnx_graph.finite import check_weights
from engines.segmenter import Segmenter
from realtime.app import Run
from realtime.sessions.live import LiveSession
from realtime.settings import Settings
from realtime.streams import recovery

from ..engines.conftest import Nets
from ..realtime.runs import run_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

BUNDLED = zoo.bundled_names()


def damaged(name: str, folder: Path, change: Callable[[Any], None], op_type: str = "Conv") -> tuple[Path, str]:
    """A copy of a bundled model with one number of one weight changed; its card has no hash. Returns the file and the weight."""
    _, path = zoo.card_of(name)
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [node for node in model.graph.node if node.op_type == op_type and node.input[1] in weights]
    tensor = weights[readers[len(readers) // 2].input[1]]
    array = numpy_helper.to_array(tensor).copy()
    change(array)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    target = folder / "model.onnx"
    onnx.save(model, str(target))
    text = (path.parent / "card.toml").read_text()
    (folder / "card.toml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("sha256")))
    return target, tensor.name


# Weights


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), (3e38, "above 1e\\+30")]
)
def test_a_damaged_weight_is_found_when_the_model_is_opened(tmp_path: Path, name: str, value: float, said: str) -> None:
    path, weight = damaged(name, tmp_path, lambda array: array.reshape(-1).__setitem__(array.size // 2, value))
    with pytest.raises(ModelFileError, match=rf"damaged: 1 of the \d+ numbers in '{weight}' are {said}") as caught:
        load_model(path)
    assert "Export it again" in caught.value.cure


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_file_with_a_flipped_bit_is_not_the_one_of_its_card(tmp_path: Path, name: str) -> None:
    folder = zoo.card_of(name)[1].parent
    shutil.copytree(folder, tmp_path / name)
    path = tmp_path / name / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"changed or damaged|damaged:|not a readable"):
        load_model(path)


def parsed(text: str, **constants: Any) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    return model


INF = np.float32(np.inf)
MASK = np.array([[0, -INF], [0, 0]], np.float32)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("m (float[2,2] x) => (float[2,2] y) { y = Add (x, c) }", {"c": MASK}),
        ("m (float[2,2] x, bool[2,2] k) => (float[2,2] y) { y = Where (k, x, c) }", {"c": -INF}),
        ("m (float[2,2] x) => (float[2,2] y) { y = Clip (x, c, d) }", {"c": np.float32(0), "d": INF}),
        ("m (float[2] x) => (float[4] y) { y = Pad (x, p, c) }", {"c": -INF, "p": np.array([1, 1])}),
        ("m (float[2,2] x) => (float[2,2] y) { y = Add (x, c) }", {"c": np.full((2, 2), -3.4e38, np.float32)}),
    ],
    ids=["attention mask", "masked score", "open limit", "padding", "least number as a mask"],
)
def test_infinity_that_is_meant_is_accepted(text: str, constants: dict[str, Any]) -> None:
    check_weights(parsed(text, **constants), Path("m.onnx"))


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("m (float[2,2] x) => (float[2,2] y) { y = Add (x, c) }", {"c": np.array([0, INF], np.float32)}),
        ("m (float[2,2] x) => (float[2,2] y) { y = Add (x, c) }", {"c": np.array([0.5, -INF], np.float32)}),
        ("m (float[2,2] x) => (float[2,2] y) { y = Mul (x, c) }", {"c": np.array([np.nan, 1], np.float16)}),
        ("m (float[2,2] x) => (float[2,2] y) { y = MatMul (x, c) }", {"c": np.array([[1, np.inf], [1, 1]], np.float32)}),
        ("m (float[2,2] x) => (float[2,2] y) { c = Constant <value = float[2] {nan, 1.0}> () y = Add (x, c) }", {}),
        (
            "m (float[1,2,2,2] x) => (float[1,2,2,2] y) { y = BatchNormalization (x, a, b, a, c) }",
            {"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32), "c": np.array([1, -0.5], np.float32)},
        ),
    ],
    ids=["bias", "bias below", "half precision", "matrix", "constant node", "variance"],
)
def test_damage_that_nothing_shows_is_found(text: str, constants: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=r"its weights are damaged: .*'c'"):
        check_weights(parsed(text, **constants), Path("m.onnx"))


# Outputs


def test_nan_is_noticed_within_one_frame_and_later_too() -> None:
    guard, sound = OutputGuard("net"), {"logits": np.zeros((1, 3, 600, 800), np.float32), "ids": np.zeros(4, np.uint8)}
    assert sound["logits"].size > 4 * NUMBERS
    for _ in range(3 * WHOLE_FRAMES):
        guard.check(sound)
    garbage = {**sound, "logits": np.full((1, 3, 600, 800), np.nan, np.float32)}
    with pytest.raises(InferenceError, match="net: output logits contains NaN"):
        guard.check(garbage)
    one = sound["logits"].copy()
    one[0, 1, 300, 400] = np.nan
    with pytest.raises(InferenceError, match="contains NaN"):
        OutputGuard("net").check({"logits": one})
    with pytest.raises(InferenceError, match="contains NaN"):
        check_often(guard, {"logits": one})


def test_the_guard_reads_few_cache_lines_and_reaches_every_number() -> None:
    """Single numbers far apart cost a cache line each: ten times what they are."""
    guard, output = OutputGuard("net"), np.zeros((1, 3, 600, 801), np.float32)
    guard._frames = WHOLE_FRAMES
    parts = -(-output.size // NUMBERS)
    for _ in range(2 * parts + WHOLE_FRAMES):
        part = guard._part(output)
        assert part.strides[-1] == output.itemsize
        assert NUMBERS / 2 < part.size <= NUMBERS
        np.copyto(part, 1)  # a view
        guard._frames += 1
    assert output.all()
    one_channel = np.zeros((1, 19, 300, 400), np.float32)
    one_channel[0, 7] = np.nan
    with pytest.raises(InferenceError, match="contains NaN"):
        guard.check({"logits": one_channel})


def check_often(guard: OutputGuard, outputs: dict[str, Any]) -> None:
    """Of later frames a part is looked at: a single NaN that stays is met after a few."""
    for _ in range(8):
        guard.check(outputs)


def test_boxes_of_nothing_may_be_infinite_but_not_most() -> None:
    rows = np.ones((1, 100, 6), np.float32)
    rows[0, :10, 2:4] = np.inf
    OutputGuard("net").check({"rows": rows})
    with pytest.raises(InferenceError, match="infinite"):
        OutputGuard("net").check({"rows": np.full((1, 100, 6), np.inf, np.float32)})


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_every_float_is_looked_at(kind: str) -> None:
    with pytest.raises(InferenceError, match="contains NaN"):
        OutputGuard("net").check({"rows": np.full(10, np.nan, kind)})


GARBLED_ENGINE = """
from dataclasses import replace
import numpy as np
from engines.backends.ort import OrtEngine, open_engine as open_ort

garble = lambda array: array
frames, starts_at = 0, 8

class GarbledEngine(OrtEngine):
    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)

    def infer(self, image, *stream):
        global frames
        frames += 1
        run = super().infer(image, *stream)
        if frames < starts_at or image.shape[0] > 100:
            return run
        return replace(run, outputs={name: garble(np.array(array)) for name, array in run.outputs.items()})

def open_engine(model, *options):
    return GarbledEngine(open_ort(model, *options))
"""


@pytest.fixture
def garbled(plug_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    plug_in(engines.backends, "garbled", GARBLED_ENGINE)
    monkeypatch.setattr(recovery, "PAUSES_S", (0.02, 0.02, 0.02))
    return importlib.import_module("engines.backends.garbled")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return Nets(tmp_path).semantic()


@pytest.mark.parametrize(
    ("garble", "said"),
    [
        (lambda array: np.full_like(array, np.nan), "contains NaN"),
        (lambda array: np.full_like(array, np.inf), "infinite"),
        (lambda array: array[:, :2], "not logits"),
        (lambda array: array[0, 0, 0], "not logits|cannot be read"),
    ],
    ids=["nan", "infinite", "channels", "shape"],
)
def test_garbage_is_never_shown_and_ends_in_a_clear_stop(
    garbled: ModuleType, colours: Path, MemorySource: Any, MemorySink: Any, garble: Callable[[Any], Any], said: str
) -> None:
    garbled.garble, sink = garble, MemorySink()
    run: Run = run_of(Settings(model=str(colours), backend="garbled", width=160), lambda: MemorySource(40), [sink])
    run.start()
    with pytest.raises(InferenceError, match=said):
        run.wait(20)
    assert run.stream.reading().failed >= 3
    assert all(result.error == "" for result in sink.results[:6])
    assert all(not len(result.segmentation.instances) and not result.tracks for result in sink.results[6:])


def test_all_zero_and_class_255_are_no_objects(garbled: ModuleType, tiny_model: Path, MemorySource: Any, MemorySink: Any) -> None:
    for value in (0, 255):
        garbled.garble, sink = (lambda array, value=value: np.full_like(array, value)), MemorySink()
        run: Run = run_of(Settings(model=str(tiny_model), backend="garbled", width=160), lambda: MemorySource(20), [sink])
        run.start()
        try:
            run.wait(20)
        except InferenceError as error:
            assert "255" in str(error)  # noqa: PT017  a class without a name is refused
        assert all(not len(result.segmentation.instances) for result in sink.results[8:])


def test_a_screen_says_what_is_wrong_and_then_that_it_has_ended(
    garbled: ModuleType, colours: Path, MemorySource: Any, wait_until: Callable[..., None], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(recovery, "PAUSES_S", (0.2,) * 3)
    garbled.garble = lambda array: np.full_like(array, np.nan)
    settings = Settings(model=str(colours), backend="garbled", width=160)
    source = MemorySource(None, is_live=True, fps=60)
    session = LiveSession(settings, "memory", lambda: source, lambda: zoo.find(settings.model), lambda: None, tmp_path)
    try:
        wait_until(lambda: "contains NaN" in session.state().recovering)
        wait_until(lambda: session.state().phase == "failed")
        assert "contains NaN or infinite values; opening it again did not help, 3 times" in session.state().message
        assert session.reading().failed == 4
    finally:
        session.close()


def test_one_frame_of_a_program_is_an_error_too(garbled: ModuleType, colours: Path) -> None:
    garbled.garble, garbled.starts_at = lambda array: np.full_like(array, np.nan), 0
    with Segmenter(load_model(colours), "garbled") as segmenter, pytest.raises(InferenceError, match="colours: output logits"):
        segmenter(np.zeros((24, 32, 3), np.uint8))
