"""Which nodes calculate in half precision, seen from the types of their results in the cast graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engines.onnx_graph.precision import cast_precision

from .nets import check, feeds_for, made_in, net, run, weights

W = weights(4, 4, 1, 1)
BETWEEN = "(float[1,4,8,8] x) => (float[1,4,N,M] y) {{ a = Conv(x, w) {0} y = Conv(s, w) }}"
"""Nodes that turn `a` into `s`, between two convolutions."""


def between(nodes: str, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    return net(BETWEEN.format(nodes), opset, w=W, **constants)


IN_FLOAT32 = {
    "softmax": "s = Softmax<axis=1>(a)",
    "log_softmax": "s = LogSoftmax<axis=1>(a)",
    "layer_normalisation": "s = LayerNormalization(a, scale8)",
    "instance_normalisation": "s = InstanceNormalization(a, scale4, scale4)",
    "lp_normalisation": "s = LpNormalization(a)",
    "reduce_mean": "s = ReduceMean<axes=[2,3]>(a)",
    "reduce_sum": "s = ReduceSum(a, axes)",
    "reduce_l2": "s = ReduceL2<axes=[2,3]>(a)",
    "log_sum_exp": "s = ReduceLogSumExp<axes=[2,3]>(a)",
    "cumulative_sum": "s = CumSum(a, axis)",
    "global_average_pool": "s = GlobalAveragePool(a)",
    "wide_average_pool": "p = Pad(a, pads) s = AveragePool<kernel_shape=[9,9]>(p)",
    "exponent": "s = Exp(a)",
    "power": "s = Pow(a, two)",
    "square": "s = Mul(a, a)",
    "square_root": "r = Relu(a) s = Sqrt(r)",
    "softplus": "s = Softplus(a)",
    "sigmoid_read_by_a_sum": "q = Sigmoid(a) s = ReduceSum(q, axes)",
}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("nodes", IN_FLOAT32.values(), ids=IN_FLOAT32)
def test_sums_and_exponents_stay_in_float32_between_half_precision_nodes(nodes: str, precision: Any) -> None:
    model = between(
        nodes,
        scale8=np.ones(8, np.float32),
        scale4=np.ones(4, np.float32),
        axes=np.array([2, 3]),
        axis=np.array(1),
        two=np.array(2, np.float32),
        pads=np.array([0, 0, 4, 4, 0, 0, 4, 4]),
    )
    cast = cast_precision(model, precision)
    check(cast)
    (sensitive,) = [node.name for node in cast.graph.node if node.output[0] == "s"]
    assert made_in(cast, sensitive) == "fp32"
    assert made_in(cast, "Conv_a") == made_in(cast, "Conv_y") == precision


IN_HALF = {
    "relu": "s = Relu(a)",
    "sigmoid": "s = Sigmoid(a)",
    "tanh": "s = Tanh(a)",
    "leaky_relu": "s = LeakyRelu<alpha=0.1>(a)",
    "clip": "s = Clip(a, zero, six)",
    "clip_with_bounds_beyond_fp16": "s = Clip(a, lowest, highest)",
    "sum_of_maps": "s = Add(a, a)",
    "gain_of_maps": "q = Sigmoid(a) s = Mul(a, q)",
    "concat_and_slice": "c = Concat<axis=1>(a, a) s = Slice(c, zeros, fours, ones)",
    "max_pool": "s = MaxPool<kernel_shape=[2,2]>(a)",
    "small_average_pool": "s = AveragePool<kernel_shape=[8,8]>(a)",
    "resize": 's = Resize<mode="linear">(a, , scales)',
    "transposed_and_multiplied": "t = Transpose<perm=[0,1,3,2]>(a) s = MatMul(t, m)",
    "dead_factor": "s = Mul(a, dead)",
}


@pytest.mark.parametrize("nodes", IN_HALF.values(), ids=IN_HALF)
def test_safe_nodes_calculate_in_fp16(nodes: str) -> None:
    model = between(
        nodes,
        zero=np.float32(0),
        six=np.float32(6),
        lowest=np.float32(-3e38),
        highest=np.float32(3e38),
        zeros=np.array([0]),
        fours=np.array([4]),
        ones=np.array([1]),
        scales=np.array([1, 1, 2, 2], np.float32),
        m=weights(8, 8),
        dead=np.float32(1e-30),
    )
    cast = cast_precision(model, "fp16")
    check(cast)
    kinds = {node.name: made_in(cast, node.name) for node in cast.graph.node if node.op_type != "Cast"}
    assert set(kinds.values()) == {"fp16"}, kinds


def test_the_scales_of_a_resize_stay_float32_even_if_they_are_calculated() -> None:
    text = """(float[1,4,8,8] x, float[1,4,12,12] like) => (float[1,4,N,M] y) {
        a = Conv(x, w) l = Shape<start=2>(like) lf = Cast<to=1>(l) k = Shape<start=2>(a) kf = Cast<to=1>(k)
        f = Div(lf, kf) scales = Concat<axis=0>(ones, f) s = Resize(a, , scales) y = Conv(s, w) }"""
    cast = cast_precision(net(text, w=W, ones=np.ones(2, np.float32)), "fp16")
    check(cast)
    (resize,) = [node for node in cast.graph.node if node.op_type == "Resize"]
    assert made_in(cast, "Resize_s") == "fp16"
    assert made_in(cast, "Div_f") == made_in(cast, "Concat_scales") == "fp32"
    assert resize.input[2] == "scales"
    assert run(cast, feeds_for(cast))["y"].shape == (1, 4, 12, 12)


@pytest.mark.parametrize(
    ("nodes", "constant", "precision", "kind"),
    [
        ("s = Mul(a, c)", 7e4, "fp16", "fp32"),
        ("s = Mul(a, c)", 7e4, "bf16", "bf16"),
        ("s = Add(a, c)", -7e4, "fp16", "fp32"),
        ("s = Max(a, c)", -1e9, "fp16", "fp32"),
        ("s = Add(a, c)", 1e-7, "fp16", "fp32"),
        ("s = Div(a, c)", 1e-6, "fp16", "fp32"),
        ("s = Mul(a, c)", 1e-5, "fp16", "fp32"),
        ("s = Mul(a, c)", 0.0, "fp16", "fp16"),
        ("s = Mul(a, c)", 100.0, "fp16", "fp16"),
        ("s = Add(a, c)", -np.inf, "fp16", "fp16"),
    ],
)
def test_a_constant_beyond_half_precision_keeps_its_node_in_float32(
    nodes: str, constant: float, precision: Any, kind: str
) -> None:
    cast = cast_precision(between(nodes, c=np.float32(constant)), precision)
    check(cast)
    (node,) = [node for node in cast.graph.node if node.output[0] == "s"]
    assert made_in(cast, node.name) == kind


def test_weights_beyond_fp16_keep_their_convolution_in_float32_but_denormal_ones_do_not() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, big) b = Conv(a, tiny) y = Conv(b, w) }"
    cast = cast_precision(net(text, big=W * 1e6, tiny=W * np.float32(1e-9), w=W), "fp16")
    check(cast)
    assert made_in(cast, "Conv_a") == "fp32"
    assert made_in(cast, "Conv_b") == "fp16"


@pytest.mark.parametrize(("value", "kind"), [(-1e9, "fp32"), (-1000.0, "fp16")])
def test_a_number_in_an_attribute_counts_like_a_constant(value: float, kind: str) -> None:
    model = between(f's = Pad<mode="constant", pads=[0,0,1,1,0,0,1,1], value={value:.1f}>(a)', opset=10)
    cast = cast_precision(model, "fp16")
    check(cast)
    assert made_in(cast, "Pad_s") == kind


@pytest.mark.parametrize("kind", ["Reshape", "Transpose", "Slice"])
def test_a_sigmoid_stays_in_float32_if_a_sum_reads_it_through_neutral_nodes(kind: str) -> None:
    moves = {
        "Reshape": "r = Reshape(q, shape)",
        "Transpose": "r = Transpose<perm=[0,1,3,2]>(q)",
        "Slice": "r = Slice(q, start, stop)",
    }
    nodes = f"q = Sigmoid(a) {moves[kind]} m = ReduceMean(r) s = Mul(a, m)"
    constants = {"shape": np.array([1, 4, 64]), "start": np.array([0, 0, 0, 0]), "stop": np.array([1, 4, 4, 4])}
    cast = cast_precision(between(nodes, **constants), "fp16")
    check(cast)
    assert made_in(cast, "Sigmoid_q") == "fp32"
    assert made_in(cast, f"{kind}_r") == "fp32"


def test_arithmetic_on_statistics_stays_in_float32_until_the_next_heavy_node() -> None:
    """A normalisation in single nodes, as exporters write it."""
    nodes = """m = ReduceMean<axes=[1,2,3]>(a) d = Sub(a, m) q = Mul(d, d) v = ReduceMean<axes=[1,2,3]>(q)
        e = Add(v, eps) r = Sqrt(e) s = Div(d, r)"""
    cast = cast_precision(between(nodes, eps=np.float32(1e-5)), "fp16")
    check(cast)
    for name in ("ReduceMean_m", "Sub_d", "Mul_q", "ReduceMean_v", "Add_e", "Sqrt_r", "Div_s"):
        assert made_in(cast, name) == "fp32"
    assert made_in(cast, "Conv_y") == "fp16"


def test_boxes_in_pixels_are_calculated_in_float32_but_maps_are_not() -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,64] boxes, float[1,4,8,8] map) {
        a = Conv(x, w) rows = Reshape(a, shape) centre = Add(rows, half) boxes = Mul(centre, stride) map = Add(a, half) }"""
    constants = {"shape": np.array([1, 4, 64]), "half": np.float32(0.5), "stride": np.float32(32)}
    cast = cast_precision(net(text, w=W, **constants), "fp16")
    check(cast)
    assert made_in(cast, "Add_centre") == made_in(cast, "Mul_boxes") == "fp32"
    assert made_in(cast, "Add_map") == "fp16"


@pytest.mark.parametrize(("dtype", "kind"), [("uint8", "fp16"), ("bool", "fp16"), ("int64", "fp32")])
def test_only_small_integers_become_half_precision(dtype: str, kind: str) -> None:
    text = f"({dtype}[1,4,8,8] x) => (float[1,4,8,8] y) {{ f = Cast<to=1>(x) y = Conv(f, w) }}"
    cast = cast_precision(net(text, w=W), "fp16")
    check(cast)
    assert made_in(cast, "Cast_f") == kind
    assert made_in(cast, "Conv_y") == "fp16"


def test_a_choice_between_float32_values_stays_in_float32() -> None:
    nodes = "e = Exp(a) z = Sub(e, e) c = Greater(e, z) s = Where(c, e, z)"
    cast = cast_precision(between(nodes), "fp16")
    check(cast)
    assert made_in(cast, "Where_s") == "fp32"


def test_what_tensorrt_refuses_in_bfloat16_stays_in_float32() -> None:
    model = between("t = ConvTranspose(a, w) s = HardSwish(t)")
    cast = cast_precision(model, "bf16")
    assert made_in(cast, "ConvTranspose_t") == made_in(cast, "HardSwish_s") == "fp32"
    cast = cast_precision(model, "fp16")
    assert made_in(cast, "ConvTranspose_t") == "fp16"


def test_without_a_newer_opset_a_convolution_has_no_bfloat16_and_the_graph_stays_valid() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = BatchNormalization<spatial=0>(x, n, n, n, n) y = Conv(a, w) }"
    model = net(text, opset=7, w=W, n=np.ones((4, 8, 8), np.float32))
    cast = cast_precision(model, "bf16")
    check(cast)
    assert cast.opset_import[0].version == 7
    assert made_in(cast, "Conv_y") == "fp32"


def test_nodes_after_an_operator_of_unknown_type_are_not_cast() -> None:
    text = (
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = custom.Odd(a) c = Conv(b, w) d = Add(c, a) y = Relu(d) }"
    )
    cast = cast_precision(net(text, domains=', "custom": 1', w=W), "fp16")
    check(cast)
    assert made_in(cast, "Conv_a") == "fp16"
    by_name = {node.name: node for node in cast.graph.node}
    assert by_name["Conv_c"].input[:] == ["b", "w"], "in float32, as the file has them"
    kinds = {value.name: value.type.tensor_type.elem_type for value in cast.graph.value_info}
    assert kinds.get(by_name["Add_d"].input[1]) == onnx.TensorProto.FLOAT


def test_a_custom_operator_of_known_type_gets_float32_and_the_rest_is_cast() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = custom.Odd(a) y = Conv(b, w) }"
    model = net(text, domains=', "custom": 1', w=W)
    model.graph.value_info.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 4, 8, 8]))
    cast = cast_precision(model, "fp16")
    check(cast)
    assert made_in(cast, "Conv_a") == made_in(cast, "Conv_y") == "fp16"
    assert made_in(cast, "Odd_b") == "fp32"
    (odd,) = [node for node in cast.graph.node if node.op_type == "Odd"]
    kinds = {value.name: value.type.tensor_type.elem_type for value in cast.graph.value_info}
    assert kinds[odd.input[0]] == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("kept", ["Conv_a", "Relu_s", "Conv_y"])
def test_only_the_node_named_in_keep_fp32_stays_in_float32(kept: str) -> None:
    cast = cast_precision(between("s = Relu(a)"), "fp16", keep_fp32=[kept])
    check(cast)
    assert {name: made_in(cast, name) for name in ("Conv_a", "Relu_s", "Conv_y")} == {
        name: "fp32" if name == kept else "fp16" for name in ("Conv_a", "Relu_s", "Conv_y")
    } | ({"Relu_s": "fp32"} if kept == "Conv_a" else {}), "a neutral node takes the type of its input"
