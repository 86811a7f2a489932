"""The fake parser refuses what the parsers of the oldest supported TensorRT refuse, and names the node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engines.errors import BuildError
from engines.trt.builder import BuildOptions, build_plan
from engines.trt.runtime import open_tensorrt
from tests.fakes.gpu.fake_gpu import World, install
from tests.fakes.gpu.tensorrt_rules import refusals

RULES: list[tuple[str, str, dict[str, Any]]] = [
    ("(float[1,4] x) => (uint8[1,4] y) { a = Cast<to=7>(x) y = Cast<to=2>(a) }", "UINT8 conversions are only supported for", {}),
    ("(float[1,4] x) => (uint8[1,4] y) { a = Cast<to=16>(x) y = Cast<to=2>(a) }", "BFLOAT16 -> UINT8", {}),
    ("(uint8[1,4] x) => (int32[1,4] y) { y = Cast<to=6>(x) }", "UINT8 -> INT32", {}),
    ("(uint8[1,4] x) => (uint8[4,1] y) { y = Transpose(x) }", "Transpose has no UINT8", {}),
    ("(float[1,4] x) => (float[1,4] y) { a = Cast<to=2>(x) y = Cast<to=1>(a) }", "only supported as network input or output", {}),
    ("(float[1,9] x) => (float[1,n] y) { y, i = TopK(x, k) }", "K exceeds the maximum", {"k": np.array([3840])}),
    ("(float[1,9] x) => (float[1,2] y) { y, i = TopK<sorted=0>(x, k) }", "sorted must be 1", {"k": np.array([2])}),
    (
        "(float[1,4,2] x) => (float[1,4,2] y) { y = GroupNormalization<num_groups=2>(x, s, s) }",
        "number of groups",
        {"s": np.ones(4)},
    ),
    (
        "(float[1,4] x) => (float[n,4] y) { y = Compress<axis=0>(x, c) }",
        "No importer registered for op: Compress",
        {"c": np.array([True])},
    ),
]


def network(text: str, constants: dict[str, Any], opset: int = 21) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> g {text}')
    for name, values in constants.items():
        array = values.astype(np.float32) if values.dtype == np.float64 else values
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in model.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return model


@pytest.mark.parametrize(("text", "words", "constants"), RULES, ids=[words for _, words, _ in RULES])
def test_it_is_refused_and_the_node_named(text: str, words: str, constants: dict[str, Any]) -> None:
    model = network(text, constants)
    ((node, reason), *_) = refusals(model)
    assert words in reason
    with (
        install(World(tensorrt_version="10.3.0")),
        pytest.raises(BuildError, match=f"cannot read the network .node {node.name}: "),
    ):
        build_plan(open_tensorrt("tensorrt"), model.SerializeToString(), BuildOptions(workspace_bytes=2**20))


def test_what_they_take_is_not_refused() -> None:
    text = """(uint8[1,4,4,2] x) => (uint8[1,2,2] y, float[1,8] v) {
        c = Cast<to=1>(x) t = Transpose<perm=[0,3,1,2]>(c) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t)
        n = ArgMax<axis=1, keepdims=0>(p) f = Cast<to=1>(n) y = Cast<to=2>(f) r = Flatten<axis=1>(p) v, i = TopK(r, k) }"""
    assert refusals(network(text, {"k": np.array([8])})) == []
