"""The precision in which a file stores its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.onnx_graph.precision import cast_precision, main_precision

from .nets import net, weights

W = weights(4, 4, 1, 1)
QUANTISED = (W * 100).astype(np.int8)
SCALES = {"s": np.float32(0.01), "z": np.int8(0)}


def two_convolutions() -> onnx.ModelProto:
    return net("(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Relu(a) y = Conv(b, w) }", w=W)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_cast_network_has_the_precision_of_its_cast(precision: Any) -> None:
    assert main_precision(two_convolutions()) == "fp32"
    assert main_precision(cast_precision(two_convolutions(), precision)) == precision


def test_a_network_kept_in_float32_node_by_node_is_in_float32() -> None:
    assert main_precision(cast_precision(two_convolutions(), "fp16", keep_fp32=["Conv_a", "Conv_y"])) == "fp32"


def test_weights_count_as_the_type_they_are_stored_in() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { d = DequantizeLinear(w, s, z) r = Identity(d) y = Conv(x, r) }"
    assert main_precision(net(text, w=QUANTISED, **SCALES)) == "int8"
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { f = Cast<to=1>(w) y = Conv(x, f) }"
    assert main_precision(net(text, w=W.astype(np.float16))) == "fp16"


def test_the_larger_part_of_the_weights_decides() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { d = DequantizeLinear(w, s, z) a = Conv(x, d) y = Conv(a, v) }"
    assert main_precision(net(text, w=QUANTISED, v=weights(4, 4, 3, 3), **SCALES)) == "fp32"
    assert main_precision(net(text, w=np.tile(QUANTISED, (1, 1, 5, 5)), v=weights(4, 4, 3, 3), **SCALES)) == "int8"


def test_weights_in_constant_nodes_count() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { k = Constant() d = Cast<to=1>(k) y = Conv(x, d) }"
    model = net(text)
    assert main_precision(model) == "fp32", "a constant without a value must not fail"
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(W.astype(np.float16))))
    assert main_precision(model) == "fp16"


def test_operators_that_multiply_integers_are_int8() -> None:
    text = "(uint8[1,4,8,8] x) => (uint8[1,4,8,8] y) { y = QLinearConv(x, s, u, w, s, z, s, u) }"
    assert main_precision(net(text, w=QUANTISED, u=np.uint8(0), **SCALES)) == "int8"
    text = "(uint8[1,4] x) => (int32[1,4] y) { y = MatMulInteger(x, w) }"
    assert main_precision(net(text, w=QUANTISED[:, :, 0, 0])) == "int8"


@pytest.mark.parametrize(
    "text",
    [
        "(float[1,4] x) => (float[1,4] y) { y = Relu(x) }",
        "(float16[1,4] x) => (float16[1,4] y) { t = Transpose(x) y = MatMul(x, t) }",
        "(float[1,4] x) => (float[1,4] y) { a = Identity(b) b = Identity(a) y = MatMul(x, a) }",
    ],
    ids=["no_product", "no_weights", "a_cycle"],
)
def test_a_network_without_weights_is_in_float32(text: str) -> None:
    assert main_precision(net(text)) == "fp32"
