"""A panoptic network as a graph: whatever else is done to networks leaves its objects as they are, or says that it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from engines.building.network import prepare, run_on_cpu
from engines.building.parity import compare, shortfall
from engines.errors import ModelFileError
from engines.families import DecodeSettings
from engines.models.exporting import export_model, fuse_outputs
from engines.models.model import Model, load_model
from engines.models.sizing import with_input_size
from engines.onnx_graph.precision import cast_precision, rounded_for_cpu
from engines.segmenter import Segmenter
from engines.trt.builder import BuildOptions, build_plan
from engines.trt.runtime import open_tensorrt
from engines.types import U8, Instances, Segmentation, Size

from ..conftest import ZERO_TO_ONE, Nets

SIZE = Size(128, 64)
CELL_PX, PEAKS, REACH_PX = 4, 8, 128
CARD = f'classes = ["road", "car"]\nthings = ["car"]\n{ZERO_TO_ONE}size_px = [{SIZE.width}, {SIZE.height}]\n'


def panoptic(nets: Nets, *, is_open: bool = False, form: str = "labels", name: str = "cars") -> Model:
    """Red is car, green the heat of a centre, blue how far to the right the centre is: 0 to 1 stand for -64 to 64 pixels.

    is_open: of any size, as a dynamic export is; else the number of cells in a row is a constant.
    """
    f32 = np.float32
    width = np.array(SIZE.width // CELL_PX, np.int64)
    weights: dict[str, npt.NDArray[np.generic]] = {
        "class_weights": np.array([[0, 0, 0], [2, 0, 0]], f32).reshape(2, 3, 1, 1),
        "class_bias": np.array([1, 0], f32),
        "heat_weights": np.array([[0, 1, 0]], f32).reshape(1, 3, 1, 1),
        "way_weights": np.array([[0, 0, REACH_PX], [0, 0, 0]], f32).reshape(2, 3, 1, 1),
        "way_bias": np.array([-REACH_PX / 2, 0], f32),
        "flat": np.array([1, -1], np.int64),
        "count": np.array([PEAKS], np.int64),
        "half": np.array(0.5, f32),
        "cell": np.array(CELL_PX, f32),
        "full": np.array(255, f32),
        "last": np.array([2], np.int64),
        "three": np.array(3, np.int64),
    }
    node = helper.make_node
    float32, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    nodes = [
        node("Conv", ["image", "class_weights", "class_bias"], ["logits"]),
        node("AveragePool", ["image"], ["cells"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        node("Conv", ["cells", "heat_weights"], ["heat"]),
        node("Conv", ["cells", "way_weights", "way_bias"], ["offsets"]),
        node("MaxPool", ["heat"], ["highest"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        node("Equal", ["heat", "highest"], ["is_peak"]),
        node("Cast", ["is_peak"], ["peak_share"], to=float32),
        node("Mul", ["heat", "peak_share"], ["peak_heat"]),
        node("Reshape", ["peak_heat", "flat"], ["row"]),
        node("TopK", ["row", "count"], ["values", "places"]),
        node("Mod", ["places", "width"], ["column_index"]),
        node("Div", ["places", "width"], ["row_index"]),
    ]
    if form == "labels":
        nodes += [node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0), node("Cast", ["index"], ["labels"], to=uint8)]
    else:
        weights["car_weights"] = np.array([[1, 0, 0]], f32).reshape(1, 3, 1, 1)
        nodes += [node("Conv", ["image", "car_weights"], ["share"]), node("Mul", ["share", "full"], ["scaled"])]
        nodes += [node("Squeeze", ["scaled", "one"], ["flat_alpha"]), node("Cast", ["flat_alpha"], ["alpha"], to=uint8)]
        weights["one"] = np.array([1], np.int64)
    if is_open:
        nodes.insert(3, node("Shape", ["heat"], ["heat_shape"]))
        nodes.insert(4, node("Gather", ["heat_shape", "three"], ["width"]))
    else:
        weights["width"] = width
    for index, place in (("column_index", "x"), ("row_index", "y")):
        nodes += [
            node("Cast", [index], [f"{place}_cell"], to=float32),
            node("Add", [f"{place}_cell", "half"], [f"{place}_middle"]),
            node("Mul", [f"{place}_middle", "cell"], [place]),
        ]
    for place in ("x", "y", "values"):
        nodes.append(node("Unsqueeze", [place, "last"], [f"{place}_last"]))
    nodes.append(node("Concat", ["x_last", "y_last", "values_last"], ["peaks"], axis=2))
    rows, columns = ("h", "w") if is_open else (SIZE.height // CELL_PX, SIZE.width // CELL_PX)
    height, across = ("height", "width_px") if is_open else (SIZE.height, SIZE.width)
    outputs = [
        (form, "uint8", [1, height, across]),
        ("peaks", "float32", [1, PEAKS, 3]),
        ("offsets", "float32", [1, 2, rows, columns]),
    ]
    card = CARD if form == "labels" else CARD.replace('classes = ["road", "car"]', 'classes = ["car"]')
    (nets.folder / f"{name}.toml").write_text(card)
    return load_model(nets.save(name, nodes, [("image", "float32", [1, 3, height, across])], outputs, weights))


def street(size: Size = SIZE, cars: tuple[tuple[int, int, int, int], ...] = ((8, 24, 56, 32), (56, 24, 104, 32))) -> U8:
    """A BGR frame that the network sees `cars` in: x, y, x, y in whole cells, two cells high."""
    frame = np.zeros((size.height, size.width, 3), np.uint8)
    for x0, y0, x1, y1 in cars:
        middle = (x0 + x1) / 2
        frame[y0:y1, x0:x1, 2] = 255
        cells = np.arange(x0, x1) // CELL_PX * CELL_PX + CELL_PX / 2
        frame[y0:y1, x0:x1, 0] = np.rint(255 * (0.5 + (middle - cells) / REACH_PX)).astype(np.uint8)
        at = int(middle) // CELL_PX * CELL_PX
        frame[y0 : y0 + CELL_PX, at : at + CELL_PX, 1] = 230
    return frame


def see(model: Model, backend: str, frame: U8) -> Segmentation:
    with Segmenter(model, backend) as segmenter:
        return segmenter(frame, DecodeSettings(score_threshold=0.3))


def check(found: Segmentation) -> None:
    assert sorted(found.instances.boxes_px.tolist()) == [[8, 24, 56, 32], [56, 24, 104, 32]]
    np.testing.assert_allclose(found.instances.scores, 230 / 255, atol=2e-3)


def test_it_sees_the_cars_on_every_backend(nets: Nets, cpu_backend: str) -> None:
    model = panoptic(nets)
    assert model.card.family == "panoptic"
    assert model.card.outputs == {role: role for role in ("labels", "peaks", "offsets")}
    check(see(model, cpu_backend, street()))
    found = see(panoptic(nets, form="alpha", name="alpha"), cpu_backend, street())
    assert sorted(found.instances.boxes_px.tolist()) == [[8, 24, 56, 32], [56, 24, 104, 32]]
    assert found.alpha is not None
    assert found.alpha.max() == 255


def test_there_is_nothing_to_fuse(nets: Nets) -> None:
    model = panoptic(nets)
    network = onnx.load(model.path)
    assert fuse_outputs(network, model.card) == (network, model.card)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_export_sees_the_same(nets: Nets, tmp_path: Path, cpu_backend: str, precision: str) -> None:
    (tmp_path / "out").mkdir()
    written = export_model(panoptic(nets), tmp_path / "out" / "cars.onnx", fuse=True, precision=precision)
    assert written.card.outputs == {role: role for role in ("labels", "peaks", "offsets")}
    found = see(written, cpu_backend, street())
    assert sorted(found.instances.boxes_px.tolist()) == [[8, 24, 56, 32], [56, 24, 104, 32]]


@pytest.mark.parametrize(("form", "precision"), [("labels", "fp16"), ("alpha", "fp16"), ("labels", "bf16")])
def test_what_a_gpus_engine_is_built_of_agrees_with_fp32(nets: Nets, form: str, precision: str) -> None:
    """BF16 has eight bits of mantissa: coordinates must not be rounded to it."""
    model = panoptic(nets, form=form)
    frames = [street(), street(cars=((24, 40, 88, 48),))]
    made = prepare(onnx.load(model.path), model.card, precision=precision, size=SIZE, largest_batch=1, frames=frames)
    assert made.parity is not None
    assert shortfall(made.parity, precision) == ""
    found = run_on_cpu(rounded_for_cpu(made.network), made.card, frames[:1], DecodeSettings(score_threshold=0.3))[0]
    assert found is not None
    assert sorted(found.instances.boxes_px.tolist()) == [[8, 24, 56, 32], [56, 24, 104, 32]]
    assert (made.parity.label_agreement is not None) == (form == "labels")
    assert (made.parity.alpha_difference is not None) == (form == "alpha")


def test_parity_compares_the_surface_too() -> None:
    def seen(surface: U8) -> Segmentation:
        return Segmentation(Instances.none(Size(8, 8)), np.zeros((8, 8), np.uint8), surface=surface)

    ahead = np.ones((8, 8), np.uint8)
    assert compare([seen(ahead)], [seen(ahead)]).label_agreement == 1
    assert "of the labels agree" in shortfall(compare([seen(ahead)], [seen(0 * ahead)]), "fp16")


def test_a_size_that_is_baked_in_is_an_error(nets: Nets) -> None:
    model = panoptic(nets)
    with pytest.raises(ModelFileError, match="cars: the input size 64x128 is a constant of its graph"):
        with_input_size(onnx.load(model.path), model.card, Size(192, 96), 1)


def test_a_size_that_is_open_is_set(nets: Nets, tmp_path: Path, cpu_backend: str) -> None:
    model = panoptic(nets, is_open=True)
    network, card = with_input_size(onnx.load(model.path), model.card, Size(192, 96), 1)
    path = tmp_path / "wide.onnx"
    onnx.save(network, str(path))
    cars = ((8, 24, 56, 32), (120, 64, 184, 72))
    found = see(Model(card, path), cpu_backend, street(Size(192, 96), cars))
    assert sorted(found.instances.boxes_px.tolist()) == [list(map(float, car)) for car in cars]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_it(nets: Nets, precision: str) -> None:
    """TensorRT-RTX does so without a GPU: a top-k, whole-number division and bytes at the outputs."""
    pytest.importorskip("tensorrt_rtx")
    network = onnx.load(panoptic(nets).path)
    if precision == "fp16":
        network = cast_precision(network, "fp16", io_dtype="float16")
    options = BuildOptions(workspace_bytes=2**30, targets=("86",))
    assert len(build_plan(open_tensorrt("tensorrt-rtx"), network.SerializeToString(), options).plan) > 10_000
