"""Bytes are only inputs and outputs, cast from and to floats, and the results stay the same."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engines.onnx_graph.precision import cast_precision
from engines.onnx_graph.suiting import bytes_through_float
from tests.fakes.gpu.tensorrt_rules import refusals

from ..precision.nets import check, feeds_for, net, run, weights

LABELS = """(float[1,3,4,5] x) => (uint8[1,4,5] y) { a = ArgMax<axis=1, keepdims=0>(x) y = Cast<to=2>(a) }"""
MOVED = (
    """(float[1,3,4,5] x) => (uint8[4,5] y) { a = ArgMax<axis=1>(x) b = Cast<to=2>(a) c = Squeeze(b, axes) y = Identity(c) }"""
)
TWICE = """(float[1,3,4,5] x) => (uint8[1,4,5] y, int64[1,4,5] z) {
    a = ArgMax<axis=1, keepdims=0>(x) y = Cast<to=2>(a) z = Cast<to=7>(y) }"""
INSIDE = """(float[1,3,4,5] x) => (float[1,3,4,5] y) { a = Abs(x) b = Mul(a, ten) c = Cast<to=2>(b) y = Cast<to=1>(c) }"""
FIRST = """(uint8[1,4,5,3] x) => (float[1,3,4,5] y) { t = Transpose<perm=[0,3,1,2]>(x) y = Cast<to=1>(t) }"""
FOCUS = """(uint8[1,4,6,3] x) => (float[1,4,3,6] y) {
    a = Slice(x, zero, end, axes, steps) b = Slice(x, one, end, axes, steps) c = Concat<axis=3>(a, b)
    f = Cast<to=1>(c) y = Transpose<perm=[0,1,2,3]>(f) }"""
WHOLE = """(uint8[1,4] x) => (int32[1,4] y) { y = Cast<to=6>(x) }"""
BOOLEAN = """(float[1,4] x) => (uint8[1,4] y) { a = Greater(x, zero) y = Cast<to=2>(a) }"""
THROUGH = """(uint8[1,4] x) => (uint8[4] y) { y = Reshape(x, shape) }"""
MASKED = """(float[1,4] x, uint8[1,4] old) => (uint8[1,4] y) { a = Greater(x, zero) y = Where(a, seven, old) }"""

CONSTANTS = {
    MOVED: {"axes": np.array([0, 1])},
    INSIDE: {"ten": np.float32(10)},
    FOCUS: {
        **{"zero": np.array([0, 0]), "one": np.array([1, 0]), "end": np.array([99, 99]), "axes": np.array([2, 3])},
        "steps": np.array([2, 1]),
    },
    BOOLEAN: {"zero": np.float32(0)},
    THROUGH: {"shape": np.array([4])},
    MASKED: {"zero": np.float32(0), "seven": np.array([7], np.uint8)},
}
REFUSED = [LABELS, MOVED, TWICE, INSIDE, FIRST, FOCUS, WHOLE, BOOLEAN, THROUGH, MASKED]
NAMES = ["labels", "moved", "twice", "inside", "first", "focus", "whole", "boolean", "through", "masked"]


@pytest.mark.parametrize("text", REFUSED, ids=NAMES)
def test_what_tensorrt_refuses_is_rewritten_with_the_same_results(text: str) -> None:
    model = net(text, **CONSTANTS.get(text, {}))
    before = copy.deepcopy(model)
    assert refusals(model)
    made = bytes_through_float(model)
    assert model == before
    check(made)
    assert refusals(made) == []
    assert [value.type for value in made.graph.output] == [value.type for value in model.graph.output]
    feeds = feeds_for(model)
    found = run(made, feeds)
    for name, wanted in run(model, feeds).items():
        np.testing.assert_array_equal(found[name], wanted)
        assert found[name].dtype == wanted.dtype


GOOD = "(uint8[1,4] x) => (uint8[1,4] y) { a = Cast<to=1>(x) b = Relu(a) y = Cast<to=2>(b) }"


def test_what_is_right_comes_back_as_it_is() -> None:
    model = net(GOOD)
    assert refusals(model) == []
    assert bytes_through_float(model) is model
    no_bytes = net("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    assert bytes_through_float(no_bytes) is no_bytes


def test_bfloat16_reaches_bytes_through_float_too() -> None:
    """From BF16 there is no conversion to bytes."""
    text = "(float[1,3,8,8] x) => (uint8[1,3,6,6] y) { a = Conv(x, w) b = Relu(a) c = Mul(b, ten) y = Cast<to=2>(c) }"
    cast = cast_precision(net(text, w=weights(3, 3, 3, 3), ten=np.float32(10)), "bf16")
    assert any("BFLOAT16 -> UINT8" in reason for _, reason in refusals(cast))
    assert refusals(bytes_through_float(cast)) == []


def test_unsigned_quantised_values_are_left_to_tensorrt() -> None:
    text = "(float[1,4] x) => (float[1,4] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    model = net(text, s=np.float32(0.1), z=np.uint8(128))
    assert bytes_through_float(model) is model


def test_nodes_in_any_order_are_rewritten() -> None:
    model = net(LABELS)
    nodes = [copy.deepcopy(node) for node in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    made = bytes_through_float(model)
    kinds = [attribute.i for node in made.graph.node for attribute in node.attribute if attribute.name == "to"]
    assert kinds == [TensorProto.FLOAT, TensorProto.UINT8]
    onnx.checker.check_model(made, full_check=True)
