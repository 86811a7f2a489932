"""Every backend that opens here keeps the protocol: a new file in the folder is tested by being there."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper

from engines import backends
from engines.backends import Choice, Engine, EngineOptions, Inference, open_engine
from engines.errors import BackendUnavailableError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.model import Model, load_model
from engines.types import Size

from ...fakes import host_kernels
from ..gpu_machine import fake_machine

GPU_BACKENDS = ("trt", "ort-cuda")

Opener = Callable[[Model, str], Engine]


@pytest.fixture(params=backends.names())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(backend: str, cpu_backends: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Opens an engine: on the CPU here, on a GPU that is a stand-in; skips where a CPU backend is not for this machine."""
    if backend not in GPU_BACKENDS:
        if backend not in cpu_backends:
            pytest.skip(f"{backend} is not for this kind of machine")
        yield lambda model, name: open_engine(model, name).engine
        return
    if not host_kernels.is_available():
        pytest.skip("needs g++, to run the GPU's kernel on the CPU")
    with fake_machine(tmp_path / "gpu", monkeypatch) as machine:
        yield lambda model, name: machine.open(model, name).engine


def seen(engine: Engine, run: Inference) -> npt.NDArray[np.uint8]:
    """The class map in an engine's outputs, which may be fused."""
    class_map = open_family(engine.card).decode(run.outputs, run.geometry, DecodeSettings()).class_map
    assert class_map is not None
    return class_map


@pytest.fixture(scope="module")
def colours(session_nets) -> Model:
    return load_model(session_nets.semantic("contract_colours"))


@pytest.fixture
def engine(opened: Opener, backend: str, colours: Model) -> Iterator[Engine]:
    engine = opened(colours, backend)
    yield engine
    engine.close()


def class_map_of(size: Size) -> npt.NDArray[np.uint8]:
    """Blocks of the classes 0, 1, 2 that keep their place when scaled."""
    rows, columns = np.indices((size.height, size.width))
    return ((rows * 2 // size.height + columns * 4 // size.width) % 3).astype(np.uint8)


def test_its_description_is_one_line(engine: Engine) -> None:
    assert engine.description
    assert "\n" not in engine.description


def test_outputs_come_by_the_names_of_its_card(engine: Engine, painted: Callable[..., Any]) -> None:
    run = engine.infer(painted(class_map_of(Size(64, 48))))
    assert set(run.outputs) == set(engine.card.outputs.values())
    assert seen(engine, run).shape == (24, 32)
    assert run.preprocess_ms > 0
    assert run.inference_ms > 0


def test_frames_of_any_size_may_follow_each_other(engine: Engine, painted: Callable[..., Any]) -> None:
    for size in (Size(64, 48), Size(128, 96), Size(32, 24), Size(640, 480), Size(64, 48)):
        class_map = class_map_of(size)
        run = engine.infer(painted(class_map))
        assert run.geometry.frame == size
        # The network sees RGB, so blue is channel 2.
        found = 2 - seen(engine, run)
        assert (found == class_map_of(Size(32, 24))).mean() >= 0.9
        assert found[2, 2] == class_map[2 * size.height // 24, 2 * size.width // 32]


def test_the_same_frame_gives_the_same_numbers(engine: Engine, painted: Callable[..., Any]) -> None:
    frame = painted(class_map_of(Size(64, 48)))
    first = {name: array.copy() for name, array in engine.infer(frame).outputs.items()}
    engine.infer(np.zeros_like(frame))
    again = engine.infer(frame).outputs
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_a_read_only_frame_is_enough(engine: Engine, painted: Callable[..., Any]) -> None:
    frame = painted(class_map_of(Size(32, 24)))
    frame.flags.writeable = False
    assert seen(engine, engine.infer(frame)).shape == (24, 32)


def test_another_array_than_an_image_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"an image is \(H, W, 3\) uint8"):
        engine.infer(np.zeros((24, 32), np.uint8))


def test_closing_frees_the_runtime(opened: Opener, backend: str, colours: Model, painted: Callable[..., Any]) -> None:
    if backend in GPU_BACKENDS:
        pytest.skip("the stand-in GPU itself tells what was not freed")
    engine = opened(colours, backend)
    engine.infer(painted(class_map_of(Size(32, 24))))
    runtimes = ("onnxruntime", "openvino")
    held = [weakref.ref(part) for part in vars(engine).values() if type(part).__module__.split(".")[0] in runtimes]
    assert held
    engine.close()
    assert [reference() for reference in held] == [None] * len(held)


DTYPES = ("uint8", "float32", "float16")
FORMS = ("logits", "labels", "labels_nhwc", "labels_uint8")
KINDS = [
    (("nchw", "nhwc")[(row + column) % 2], dtype, form) for row, dtype in enumerate(DTYPES) for column, form in enumerate(FORMS)
]
"""Every two of layout, type and form meet; all three need not: a layout is turned at one end of a graph, a form at the other."""


@pytest.mark.parametrize(("layout", "dtype", "form"), KINDS)
def test_every_kind_of_input_and_output_is_run(
    nets, painted: Callable[..., Any], opened: Opener, backend: str, layout: str, dtype: str, form: str
) -> None:
    card = 'classes = ["red", "green", "blue"]\n'
    if dtype != "uint8":
        card += "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
    engine = opened(load_model(nets.semantic(layout=layout, dtype=dtype, form=form, card=card)), backend)
    class_map = class_map_of(Size(32, 24))

    run = engine.infer(painted(class_map))

    outputs = run.outputs
    if backend in GPU_BACKENDS:
        found = seen(engine, run)
    elif form == "logits":
        found = outputs["logits"][0].argmax(axis=0)
        assert outputs["logits"].dtype == (np.float16 if dtype == "float16" else np.float32)
    else:
        found = outputs["labels"].reshape(24, 32)
        assert outputs["labels"].dtype == (np.uint8 if form == "labels_uint8" else np.int64)
    np.testing.assert_array_equal(2 - found.astype(int), class_map)
    engine.close()


def test_an_input_of_open_size_takes_the_card_s(nets, painted: Callable[..., Any], opened: Opener, backend: str) -> None:
    card = "[input]\nsize_px = [32, 24]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
    engine = opened(load_model(nets.semantic(size=("w", "h"), channels="c", card=card)), backend)
    assert seen(engine, engine.infer(painted(class_map_of(Size(64, 48))))).shape == (24, 32)
    engine.close()


def test_weights_in_a_second_file_are_found(nets, painted: Callable[..., Any], opened: Opener, backend: str) -> None:
    engine = opened(load_model(nets.semantic(external_data=True)), backend)
    assert seen(engine, engine.infer(painted(class_map_of(Size(32, 24))))).any()
    engine.close()


def random_net(nets, name: str) -> Path:
    """Three layers of convolution with noise for weights: what differs between runtimes shows."""
    rng = np.random.default_rng(11)
    widths = (3, 16, 16, 5)
    nodes, weights, tensor = [], {}, "image"
    for layer, (count_in, count_out) in enumerate(pairwise(widths)):
        kernel = rng.standard_normal((count_out, count_in, 3, 3)) / np.sqrt(9 * count_in)
        weights[f"w{layer}"] = kernel.astype(np.float32)
        result = "logits" if layer == 2 else f"c{layer}"
        nodes.append(helper.make_node("Conv", [tensor, f"w{layer}"], [result], pads=[1, 1, 1, 1]))
        if layer < 2:
            nodes.append(helper.make_node("Relu", [result], [f"r{layer}"]))
            tensor = f"r{layer}"
    path: Path = nets.save(name, nodes, [("image", "float32", [1, 3, 48, 64])], [("logits", "float32", [1, 5, 48, 64])], weights)
    path.with_suffix(".toml").write_text("[input]\nmean = [127, 127, 127]\nstd = [64, 64, 64]\n")
    return path


def test_backends_agree(session_nets, opened: Opener, backend: str) -> None:
    """With ONNX Runtime in float32. Half precision keeps 8 bits (bfloat16): 2^-8 of the range a layer, three layers."""
    model = load_model(random_net(session_nets, "random"))
    frame = np.random.default_rng(4).integers(0, 256, (96, 128, 3), np.uint8)
    reference_engine, engine = open_engine(model, "ort").engine, opened(model, backend)

    expected, found = reference_engine.infer(frame), engine.infer(frame)

    assert (seen(engine, found) == seen(reference_engine, expected)).mean() >= 0.97
    if backend not in GPU_BACKENDS:  # whose logits stay there
        logits = expected.outputs["logits"]
        assert np.abs(found.outputs["logits"] - logits).max() <= 3 * 2**-8 * np.abs(logits).max()
    reference_engine.close()
    engine.close()


def test_a_graph_it_cannot_run_is_refused_in_one_line(nets, cpu_backends: tuple[str, ...], backend: str) -> None:
    path = nets.save(
        "foreign",
        [helper.make_node("Enhance", ["image"], ["logits"], domain="some.vendor")],
        [("image", "float32", [1, 3, 16, 16])],
        [("logits", "float32", [1, 3, 16, 16])],
    )
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    with pytest.raises(BackendUnavailableError) as caught:
        open_engine(load_model(path), backend)
    assert "\n" not in str(caught.value)
    if backend in cpu_backends:
        assert "foreign.onnx" in str(caught.value)
        assert "some.vendor" in str(caught.value)


def test_a_file_that_went_bad_after_its_card_was_made_is_refused(nets, backend: str) -> None:
    model = load_model(nets.semantic())
    model.path.write_bytes(b"no network any more")
    with pytest.raises(BackendUnavailableError):
        open_engine(model, backend)


def fixed_reshape(nets) -> Model:
    """A graph with open rows and columns that works at 16x16 only; its card says 20x20."""
    path = nets.save(
        "fixed",
        [helper.make_node("Reshape", ["image", "shape"], ["logits"])],
        [("image", "float32", [1, 3, "h", "w"])],
        [("logits", "float32", [1, 3, 16, 16])],
        {"shape": np.array([1, 3, 16, 16], np.int64)},
    )
    path.with_suffix(".toml").write_text("[input]\nsize_px = [20, 20]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    return load_model(path)


def test_a_run_that_fails_is_an_inference_error(nets) -> None:
    engine = open_engine(fixed_reshape(nets), "ort").engine
    with pytest.raises(InferenceError, match="ONNX Runtime failed while running") as caught:
        engine.infer(np.zeros((20, 20, 3), np.uint8))
    assert "\n" not in str(caught.value)
    engine.close()


def test_auto_takes_the_next_when_one_refuses_and_keeps_the_reason(nets, cpu_backends: tuple[str, ...]) -> None:
    if "openvino" not in cpu_backends:
        pytest.skip("no OpenVINO on this kind of machine")
    choice = open_engine(fixed_reshape(nets), "auto")
    assert choice.backend == "ort"
    assert "OpenVINO cannot compile fixed.onnx: Requested output shape [1,3,16,16]" in choice.refusals["openvino"]
    assert list(choice.refusals) == [name for name in backends.ranked() if name != "ort"]
    choice.engine.close()


def test_auto_takes_the_first_that_opens(colours: Model) -> None:
    choice: Choice = open_engine(colours)
    ranked = backends.ranked()
    tried = ranked[: ranked.index(choice.backend)]
    assert tuple(choice.refusals) == tried
    for name in tried:
        with pytest.raises(BackendUnavailableError):
            open_engine(colours, name)
    choice.engine.close()


def test_auto_reports_every_refusal(nets) -> None:
    path = nets.save(
        "foreign",
        [helper.make_node("Enhance", ["image"], ["logits"], domain="some.vendor")],
        [("image", "float32", [1, 3, 16, 16])],
        [("logits", "float32", [1, 3, 16, 16])],
    )
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    with pytest.raises(BackendUnavailableError, match="no backend can run foreign here") as caught:
        open_engine(load_model(path))
    for name in backends.names():
        assert f"{name}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_backend_is_taken_or_refused_never_replaced(colours: Model, cpu_backends: tuple[str, ...], backend: str) -> None:
    try:
        choice = open_engine(colours, backend)
    except BackendUnavailableError:
        assert backend not in cpu_backends
        return
    assert (choice.backend, choice.refusals) == (backend, {})
    choice.engine.close()


def test_an_unknown_backend_is_answered_with_the_known_ones(colours: Model) -> None:
    with pytest.raises(BackendUnavailableError) as caught:
        open_engine(colours, "openvin")
    assert str(caught.value) == 'unknown backend "openvin". Did you mean "openvino"?'
    with pytest.raises(BackendUnavailableError, match=r"Known: auto, openvino, ort, ort-cuda, trt$"):
        open_engine(colours, "zzz")


def test_the_fastest_are_tried_first_and_those_of_this_machine_are_listed(cpu_backends: tuple[str, ...]) -> None:
    assert backends.ranked() == ("trt", "ort-cuda", "openvino", "ort")
    assert sorted(backends.ranked()) == list(backends.names())
    assert set(cpu_backends) <= set(backends.here())
    for name in ("auto", *backends.names()):
        backends.check_backend(name)


def test_options_that_a_backend_does_not_use_are_refused() -> None:
    for name in ("auto", *backends.names()):
        backends.check_options(name, ["input_px"])
    backends.check_options("trt", ["precision", "inflight", "trust"])
    with pytest.raises(BackendUnavailableError, match=r"^--dla, --inflight: not with --backend ort\. Add --backend trt$"):
        backends.check_options("ort", ["input_px", "dla_core", "inflight"])


def test_another_size_of_the_input_is_made_when_the_model_is_loaded(
    colours: Model, painted: Callable[..., Any], cpu_backends: tuple[str, ...], backend: str
) -> None:
    if backend not in cpu_backends:
        pytest.skip("an engine of a GPU is built for its size")
    own = colours.card.input.size
    asked = Size(2 * own.width, 2 * own.height)
    engine = open_engine(colours, backend, EngineOptions(input_px=(asked.width, asked.height))).engine
    try:
        rows, columns = seen(engine, engine.infer(painted(class_map_of(asked)))).shape
    finally:
        engine.close()
    assert engine.card.input.size == asked
    assert (rows, columns) == (asked.height, asked.width)
    assert colours.card.input.size == own
