from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import CardError, ModelFileError
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.model import Model, load_model
from engines.models.sizing import content_of, tight_size, with_input_size
from engines.onnx_graph.editing import run_on_zeros
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.sources import open_source

from ..conftest import ZERO_TO_ONE


def dims(network: onnx.ModelProto) -> dict[str, list[Any]]:
    values = (*network.graph.input, *network.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def reshaping(folder: Path, shape: list[int], batch: int | str = 1, allowzero: int = 0) -> Model:
    """A network of 24 x 32 whose logits are reshaped to rows and back, with `shape` written into the first."""
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["maps"]),
        helper.make_node("Reshape", ["maps", "rows_shape"], ["rows"], allowzero=allowzero),
        helper.make_node("Relu", ["rows"], ["active"]),
        helper.make_node("Shape", ["maps"], ["maps_shape"]),
        helper.make_node("Reshape", ["active", "maps_shape"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reshaping",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 24, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3, 24, 32])],
        [
            numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "weights"),
            numpy_helper.from_array(np.array(shape), "rows_shape"),
        ],
    )
    path = folder / "reshaping.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    path.with_suffix(".toml").write_text(ZERO_TO_ONE)
    return load_model(path)


def sized(model: Model, size: Size | None, batch: Any = 1) -> tuple[onnx.ModelProto, ModelCard]:
    return with_input_size(onnx.load(model.path), model.card, size, batch)


def test_without_a_change_the_same_network_comes_back() -> None:
    model = zoo.find(zoo.DEFAULT_MODEL)
    network = onnx.load(model.path)
    for size in (None, model.card.input.size):
        assert with_input_size(network, model.card, size, 1) == (network, model.card)
        assert with_input_size(network, model.card, size, 1)[0] is network


def test_the_bundled_network_gives_similar_results_at_half_its_size(tmp_path: Path) -> None:
    model = zoo.find(zoo.DEFAULT_MODEL)
    before = onnx.load(model.path)
    network, card = with_input_size(before, model.card, Size(224, 128), 1)
    maps_of = {"labels": [1, 64, 112], "surface": [1, 64, 112], "confidence": [1, 16, 28], "offsets": [1, 2, 32, 56]}
    assert dims(network) == {"image": [1, 128, 224, 3], "peaks": [1, 64, 3], **maps_of}
    assert card.input.size == Size(224, 128)
    assert card.sha256 == "", "the hash was the other file's"
    assert before == onnx.load(model.path), "the given network is not changed"
    onnx.save(network, str(tmp_path / "half.onnx"))
    maps = []
    streets = [frame.image for frame in islice(open_source("synthetic://street?width=640&height=384&objects=4"), 4)]
    for candidate in (model, Model(card, tmp_path / "half.onnx")):
        with Segmenter(candidate, "ort") as segmenter:
            maps.append([segmenter(frame).class_map for frame in streets])
    agreement = np.mean([np.mean(full[::2, ::2] == half) for full, half in zip(*maps, strict=True)])
    assert agreement > 0.6, "another size is not another network"


@pytest.mark.parametrize(
    ("size", "near"),
    [(Size(100, 100), "96x96, 128x96, 96x128, 128x128"), (Size(330, 192), "192x320, 192x352"), (Size(9, 384), "384x32")],
    ids=str,
)
def test_a_size_that_fails_proposes_the_nearest_that_work_as_values_of_the_option(size: Size, near: str) -> None:
    with pytest.raises(ModelFileError, match=rf"road: its network cannot run at {size.height}x{size.width}") as caught:
        sized(zoo.find(zoo.DEFAULT_MODEL), size)
    assert caught.value.cure == f"Use a size that works: {near}"
    for height, width in (word.split("x") for word in near.split(", ")):
        assert sized(zoo.find(zoo.DEFAULT_MODEL), Size(int(width), int(height)))[1].input.size == Size(int(width), int(height))


def test_a_size_that_is_a_constant_of_the_graph_is_reported_with_the_node_that_fails(tmp_path: Path) -> None:
    model = reshaping(tmp_path, [1, 3, 24 * 32])
    for size in (Size(64, 64), Size(33, 24)):
        with pytest.raises(ModelFileError, match=r"another size is a constant of its graph .*\. Export it again at that size"):
            sized(model, size)


@pytest.mark.parametrize("shape", [[1, 3, -1], [1, 3, 768], [-1, 3, 768], [1, -1], [3, -1]], ids=str)
def test_a_constant_batch_of_one_in_a_reshape_is_opened(tmp_path: Path, shape: list[int]) -> None:
    network, card = sized(reshaping(tmp_path, shape), None, "dynamic")
    assert dims(network) == {"image": ["batch", 3, 24, 32], "logits": ["batch", 3, 24, 32]}
    (two,) = run_on_zeros(network, card.input, ["logits"], 2)
    assert two.shape == (2, 3, 24, 32)


def test_a_batch_that_is_a_constant_of_the_graph_is_reported(tmp_path: Path) -> None:
    """A reshape where 0 means zero cannot be opened. Other sizes would not help."""
    model = reshaping(tmp_path, [1, 3, 768], allowzero=1)
    with pytest.raises(
        ModelFileError, match=r"cannot run at 24x32.*, batch dynamic: its batch is a constant of its graph .*\. Export it again"
    ):
        sized(model, None, "dynamic")


def test_an_output_that_does_not_follow_the_batch_is_reported(tmp_path: Path) -> None:
    """It runs, with one result for the whole batch."""
    model = reshaping(tmp_path, [1, 3, -1])
    network = onnx.load(model.path)
    network.graph.node.append(helper.make_node("ReduceMax", ["logits"], ["one"], axes=[0], keepdims=1))
    network.graph.output[0].name = "one"
    card = ModelCard(model.card.name, "semantic", model.card.input, {"logits": "one"}, model.card.classes)
    with pytest.raises(ModelFileError, match=r"its batch is a constant .*output one does not follow the batch"):
        with_input_size(network, card, None, "dynamic")


def test_an_open_batch_and_an_open_size_are_pinned(nets) -> None:
    model = load_model(nets.semantic(size=("w", "h"), card=ZERO_TO_ONE + "size_px = [40, 24]\n"))
    network, card = sized(model, None)
    assert dims(network) == {"image": [1, 3, 24, 40], "logits": [1, 3, 24, 40]}
    network, card = with_input_size(network, card, Size(16, 8), 4)
    assert dims(network) == {"image": [4, 3, 8, 16], "logits": [4, 3, 8, 16]}


def test_channels_last_is_sized_in_the_same_way(nets) -> None:
    model = load_model(nets.semantic("last", layout="nhwc", dtype="uint8", form="labels", card='classes = ["a", "b", "c"]\n'))
    network, _ = sized(model, Size(48, 16), "dynamic")
    assert dims(network) == {"image": ["batch", 16, 48, 3], "labels": ["batch", 16, 48]}


def test_weights_in_an_old_format_need_no_input(nets) -> None:
    network = onnx.load(nets.semantic(batch=1))
    network.ir_version = 3
    for tensor in network.graph.initializer:
        network.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    network, card = with_input_size(network, load_model(nets.folder / "colours.onnx").card, Size(16, 8), "dynamic")
    assert run_on_zeros(network, card.input, ["logits"], 3)[0].shape == (3, 3, 8, 16)


@pytest.mark.parametrize(
    ("size", "batch", "words"),
    [
        (Size(0, 0), 1, r"an input of 0x0 is too small or too large\. Height and width must be 8 to 8192 pixels"),
        (Size(64, 7), 1, "an input of 7x64 is too small"),
        (Size(8193, 64), 1, "an input of 64x8193 is too small or too large"),
        (None, 0, r"batch 0 is out of range\. Give 1 to 256"),
        (None, 257, "batch 257 is out of range"),
        (None, "any", r'unknown batch "any"\. Give a number or "dynamic"'),
    ],
)
def test_an_impossible_size_or_batch_is_refused(size: Size | None, batch: Any, words: str) -> None:
    with pytest.raises(CardError, match=words):
        sized(zoo.find(zoo.DEFAULT_MODEL), size, batch)


@pytest.mark.parametrize("size", ["320", "640"])
def test_a_yolo_is_sized_or_reports_why_not(shared: Path, size: str) -> None:
    """That for 320 calculates its anchors from the input; that for 640 has them as constants, which can be cut but not grown."""
    model = load_model(shared / f"models/yolo11n-seg-coco/yolo11n-seg_coco_{size}.onnx")
    if size == "640":
        with pytest.raises(ModelFileError, match=r"another size is a constant of its graph.*fails at the node"):
            sized(model, Size(672, 640))
        with pytest.raises(ModelFileError, match="Use a size that works: 352x640, 384x640"):
            sized(model, Size(640, 370))
    network, _ = sized(model, Size(320, 192), "dynamic")
    assert dims(network)["images"] == ["batch", 3, 192, 320]
    assert dims(network)["output0"] == ["batch", 116, 1260]


@pytest.mark.parametrize(
    ("how", "frame", "tight"),
    [
        ("letterbox", Size(1280, 720), Size(640, 384)),
        ("letterbox", Size(720, 1280), Size(384, 640)),
        ("letterbox_top_left", Size(640, 270), Size(640, 288)),
        ("letterbox", Size(640, 560), Size(640, 640)),  # 576 rows would save a tenth
        ("stretch", Size(1280, 720), Size(640, 640)),
    ],
)
def test_the_tight_size_has_no_padding(how: str, frame: Size, tight: Size) -> None:
    spec = msgspec.structs.replace(zoo.find("people").card.input, size_px=(640, 640), fit=how)
    assert tight_size(spec, content_of(spec, frame)) == tight
