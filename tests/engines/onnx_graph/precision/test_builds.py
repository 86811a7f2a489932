"""Engines built from the casts by TensorRT-RTX, which needs no GPU to build for other machines' GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engines.models.model import load_model
from engines.models.sizing import with_input_size
from engines.onnx_graph.precision import cast_precision
from engines.onnx_graph.precision.quantise import quantise_qdq
from engines.onnx_graph.suiting import bytes_through_float, suited
from tests.fakes.gpu.tensorrt_rules import refusals

from ...models.test_shared_models import VOC, Case, with_card
from .models import BUNDLED, LARGER, SHARED, cast_of
from .nets import feeds_for, net, weights

pytestmark = pytest.mark.slow

trt = pytest.importorskip("tensorrt_rtx")

ROAD = next(path for path in BUNDLED if path.parent.name == "road")


class Refused(Exception):
    """With the parser's message."""


def build(model: onnx.ModelProto, batches: tuple[int, int, int] = (1, 1, 1)) -> tuple[int, Mapping[str, Any]]:
    """A strongly typed engine for an RTX 30: its size in bytes, and the type of each input and output.

    batches: the smallest, usual and largest, if the model's batch is open.
    """
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise Refused("; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    is_open = [tensor for tensor in inputs if -1 in tuple(tensor.shape)]
    if is_open:
        profile = builder.create_optimization_profile()
        for tensor in is_open:
            assert tuple(tensor.shape).count(-1) == 1
            assert tensor.shape[0] == -1
            profile.set_shape(tensor.name, *[(batch, *tuple(tensor.shape)[1:]) for batch in batches])
        config.add_optimization_profile(profile)
    types = {tensor.name: tensor.dtype for tensor in (*inputs, *outputs)}
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Refused("the builder gave no engine")
    return engine.nbytes, types


def small_net() -> onnx.ModelProto:
    text = """(float[1,4,16,16] x) => (float[1,4,16,16] y) {
        a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) c = Conv<pads=[1,1,1,1]>(b, w) d = Add(c, b) e = Conv<pads=[1,1,1,1]>(d, v)
        f = Sigmoid(e) g = Mul(e, f) h = Conv<pads=[1,1,1,1]>(g, u) i = Relu(h) j = Conv<pads=[1,1,1,1]>(i, w)
        y = Softmax<axis=1>(j) }"""
    dead = weights(4, 4, 3, 3, seed=2)
    dead[1], dead[2] = 0, dead[2] * np.float32(1e-12)
    return net(text, w=weights(4, 4, 3, 3), v=weights(4, 4, 3, 3, seed=1), u=dead)


def small_int8() -> onnx.ModelProto:
    return quantise_qdq(small_net(), [feeds_for(small_net(), seed) for seed in range(4)])


@pytest.mark.parametrize("file", [file for file in SHARED if file not in LARGER])
def test_a_shared_model_in_fp16_becomes_an_engine(shared: Path, file: str) -> None:
    path = shared / "models" / f"{file}.onnx"
    assert refusals(cast_of(path, "fp16")) == []
    size, types = build(cast_of(path, "fp16"))
    assert size > 100_000
    assert trt.DataType.HALF not in types.values(), "inputs and outputs keep their types"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("path", BUNDLED, ids=[path.parent.name for path in BUNDLED])
def test_a_bundled_model_becomes_an_engine(path: Path, precision: Any) -> None:
    assert build(cast_of(path, precision))[0] > 100_000


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("path", BUNDLED, ids=[path.parent.name for path in BUNDLED])
def test_the_parser_of_tensorrt_10_3_would_take_a_bundled_model(path: Path, precision: Any) -> None:
    """Its labels are INT64 -> UINT8 in the file."""
    assert refusals(bytes_through_float(cast_of(path, precision))) == []


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_small_network_becomes_an_engine(precision: Any) -> None:
    """In INT8 with channels whose scale FP16 would round to zero, which TensorRT refuses."""
    model = small_int8() if precision == "int8" else cast_precision(small_net(), precision)
    assert build(model)[0] > 1000


def test_an_engine_can_have_float16_inputs_and_outputs() -> None:
    _, types = build(cast_precision(small_net(), "fp16", io_dtype="float16"))
    assert types == {"x": trt.DataType.HALF, "y": trt.DataType.HALF}


def test_road_in_int8_becomes_an_engine() -> None:
    feed = {"image": np.random.default_rng(0).integers(0, 256, (1, 256, 448, 3), np.uint8)}
    assert build(quantise_qdq(onnx.load(ROAD), [feed]))[0] > 100_000


DYNAMIC = ("road", "coral")
"""A YOLO is built with an open batch in test_fusing_built.py, with fused outputs like all engines."""


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_network_with_an_open_batch_becomes_an_engine_for_one_to_four_frames(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "road":
        model = load_model(ROAD)
    else:
        case = Case("coral-deeplab/deeplabv3_mnv2_dm05_pascal_quant", VOC, "background", "", 0, 0)
        model = load_model(with_card(request.getfixturevalue("shared"), tmp_path, case))
    opened, card = with_input_size(onnx.load(model.path), model.card, None, "dynamic")
    (image,) = [value for value in opened.graph.input if value.name == card.input.tensor]
    assert image.type.tensor_type.shape.dim[0].dim_param
    assert build(cast_precision(opened, "fp16"), (1, 2, 4))[0] > 100_000


def test_rewritten_networks_become_engines() -> None:
    """Group normalisation of both kinds, two rounds of a TopK, and bytes that are moved inside."""
    text = """(uint8[1,32,130,4] x) => (float[1,4000] v, uint8[1,130,32] y) {
        t = Transpose<perm=[0,3,2,1]>(x) c = Cast<to=1>(t) a = Conv<pads=[1,1,1,1]>(c, w)
        g = GroupNormalization<num_groups=2>(a, s, s) f = Flatten<axis=1>(g) v, i = TopK<sorted=0>(f, k)
        n = ArgMax<axis=1, keepdims=0>(g) b = Cast<to=2>(n) y = Identity(b) }"""
    model = net(text, opset=21, ir_version=10, w=weights(4, 4, 3, 3), s=weights(4), k=np.array([4000]))
    assert refusals(model)
    made = suited(model)
    assert refusals(made) == []
    assert build(made)[0] > 1000


def test_a_wrongly_typed_network_is_refused() -> None:
    """The tests above would notice an error: a strongly typed network refuses a Conv of a float16 and a float32."""
    cast = cast_precision(small_net(), "fp16")
    (first,) = [node for node in cast.graph.node if node.name == "Conv_a"]
    first.input[0] = "x"
    with pytest.raises(Refused):
        build(cast)
