"""Preparing a graph for the caster: names, order, functions, constants, batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.onnx_graph.precision import cast_precision, name_nodes
from engines.onnx_graph.precision.prepare import prepared, with_opset
from engines.onnx_graph.precision.wiring import FLOAT16

from .nets import check, feeds_for, made_in, net, run, weights

IF = """(float[1,4] x, bool t) => (float[1,4] y) { y = If(t)<then_branch = g1 () => (float[1,4] p) { p = Relu(x) },
    else_branch = g2 () => (float[1,4] q) { q = Neg(x) }> }"""


def names(graph: onnx.GraphProto) -> list[str]:
    """The names of a graph's nodes and of those in their bodies."""
    found = []
    for node in graph.node:
        found.append(node.name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += names(attribute.g)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["first", "second"], ["first", "second"]),
        (["", ""], ["Relu_a", "Neg_y"]),
        (["same", "same"], ["same", "same_2"]),
        (["same", ""], ["same", "Neg_y"]),
        (["Neg_y", ""], ["Neg_y", "Neg_y_2"]),
        (["", "Relu_a"], ["Relu_a_2", "Relu_a"]),
    ],
)
def test_each_node_gets_a_unique_name_and_keeps_a_unique_one(given: list[str], expected: list[str]) -> None:
    model = net("(float[1] x) => (float[1] y) { a = Relu(x) y = Neg(a) }")
    for node, name in zip(model.graph.node, given, strict=True):
        node.name = name
    before = model.SerializeToString()
    assert names(name_nodes(model).graph) == expected
    assert model.SerializeToString() == before


def test_nodes_in_bodies_get_unique_names_too() -> None:
    found = names(name_nodes(net(IF)).graph)
    assert len(found) == len(set(found)) == 3
    assert all(found)


def test_nodes_of_local_functions_have_names_that_can_be_kept_in_float32() -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = local.Block(x, w) y = local.Block(a, w) }
        <domain: "local", opset_import: ["": 17]> Block (i, k) => (o) { c = Conv(i, k) o = Relu(c) }"""
    model = net(text, domains=', "local": 1', w=weights(4, 4, 1, 1))
    named = name_nodes(model)
    assert [node.op_type for node in named.graph.node] == ["Conv", "Relu"] * 2
    first = named.graph.node[0].name
    cast = cast_precision(model, "fp16", keep_fp32=[first])
    check(cast)
    assert not cast.functions
    assert [made_in(cast, node.name) for node in named.graph.node if node.op_type == "Conv"] == ["fp32", "fp16"]


NORM = "BatchNormalization(a, scale, shift, mean, variance)"
STATISTICS = {
    "scale": np.array([1.5, -2, 0, 0.1], np.float32),
    "shift": weights(4, seed=1),
    "mean": weights(4, seed=2),
    "variance": np.array([1, 0.01, 2, 30], np.float32),
}
CONVOLUTIONS: dict[str, tuple[str, tuple[int, ...]]] = {
    "plain": ("Conv(x, w)", (4, 4, 3, 3)),
    "with_bias": ("Conv(x, w, b)", (4, 4, 3, 3)),
    "grouped": ("Conv<group=2>(x, w, b)", (4, 2, 3, 3)),
    "transposed": ("ConvTranspose(x, w, b)", (4, 4, 2, 2)),
    "transposed_grouped": ("ConvTranspose<group=2>(x, w)", (4, 2, 2, 2)),
    "depthwise_transposed": ("ConvTranspose<group=4>(x, w)", (4, 1, 2, 2)),
}


@pytest.mark.parametrize(("convolution", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_batch_normalisation_folded_into_its_convolution_changes_nothing(convolution: str, shape: tuple[int, ...]) -> None:
    text = f"(float[1,4,8,8] x) => (float[1,4,N,M] y) {{ a = {convolution} y = {NORM} }}"
    model = net(text, w=weights(*shape), b=weights(4, seed=3), **STATISTICS)
    folded, gone = prepared(model, FLOAT16)
    assert [node.op_type for node in folded.graph.node] == [convolution.split("(")[0].split("<")[0]]
    assert gone == {"BatchNormalization_y": folded.graph.node[0].name}
    assert len(folded.graph.initializer) == 2, "the statistics are dropped"
    feeds = feeds_for(model)
    np.testing.assert_allclose(run(folded, feeds)["y"], run(model, feeds)["y"], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        f"(float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] a) {{ a = Conv(x, w) y = {NORM} }}",
        f"(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv(x, w) b = {NORM} y = Add(a, b) }}",
        f"(float[1,4,8,8] x, float[4] mean) => (float[1,4,8,8] y) {{ a = Conv(x, w) y = {NORM} }}",
        f"(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Relu(x) y = {NORM} }}",
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w)"
        " y, m, v = BatchNormalization<training_mode=1>(a, scale, shift, mean, variance) }",
    ],
    ids=["output", "read_elsewhere", "statistics_are_an_input", "no_convolution", "in_training"],
)
def test_batch_normalisation_that_cannot_be_folded_stays_in_float32(text: str) -> None:
    constants = {name: array for name, array in STATISTICS.items() if f"] {name}" not in text}
    model = net(text, w=weights(4, 4, 1, 1), **constants)
    cast = cast_precision(model, "fp16")
    check(cast)
    (norm,) = [node.name for node in cast.graph.node if node.op_type == "BatchNormalization"]
    assert made_in(cast, norm) == "fp32"


def test_a_weight_shared_by_two_convolutions_is_folded_separately() -> None:
    text = f"""(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv(x, w) n = {NORM} y = Conv(n, w) }}"""
    model = net(text, w=weights(4, 4, 1, 1), **STATISTICS)
    folded, _ = prepared(model, FLOAT16)
    feeds = feeds_for(model)
    np.testing.assert_allclose(run(folded, feeds)["y"], run(model, feeds)["y"], atol=2e-5, rtol=1e-5)


def test_to_keep_a_folded_normalisation_in_float32_keeps_its_convolution() -> None:
    text = f"(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv(x, w) b = {NORM} y = Conv(b, w) }}"
    model = net(text, w=weights(4, 4, 1, 1), **STATISTICS)
    cast = cast_precision(model, "fp16", keep_fp32=["BatchNormalization_b"])
    assert (made_in(cast, "Conv_a"), made_in(cast, "Conv_y")) == ("fp32", "fp16")


def test_every_name_that_name_nodes_gives_can_be_kept() -> None:
    text = f"""(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ k = Constant<value_float = 2.0>() a = Conv(x, w) b = {NORM}
        c = Mul(b, k) i = Constant<value_int = 1>() y = Relu(c) }}"""
    model = net(text, w=weights(4, 4, 1, 1), **STATISTICS)
    kept = names(name_nodes(model).graph)
    for precision in ("fp16", "bf16"):
        cast = cast_precision(model, precision, keep_fp32=kept)  # type: ignore[arg-type]
        check(cast)
        assert not [node for node in cast.graph.node if node.op_type == "Cast"], "all in float32: there is nothing to cast"


def test_float_constants_become_initializers_once_and_others_stay_nodes() -> None:
    text = """(float[1,4] x) => (float[1,4] y) { c = Constant<value_float = 2.0>() s = Constant<value_ints = [1, 4]>()
        a = Mul(x, c) b = Add(a, c) y = Reshape(b, s) }"""
    ready, gone = prepared(net(text), FLOAT16)
    assert [node.op_type for node in ready.graph.node] == ["Constant", "Mul", "Add", "Reshape"]
    assert gone == {"Constant_c": ""}
    assert [(tensor.name, float(numpy_helper.to_array(tensor))) for tensor in ready.graph.initializer] == [("c", 2.0)]


def test_a_valid_node_order_is_kept() -> None:
    text = "(float[1] x) => (float[1] y) { d = Neg(x) a = Relu(x) c = Abs(a) b = Add(d, c) y = Sub(b, a) }"
    ready, _ = prepared(net(text), FLOAT16)
    assert [node.output[0] for node in ready.graph.node] == ["d", "a", "c", "b", "y"]


@pytest.mark.parametrize(("opset", "expected"), [(11, 21), (21, 21), (22, 22)])
def test_the_opset_is_raised_only_where_it_is_older(opset: int, expected: int) -> None:
    model = net("(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Softmax<axis=1>(x) y = Relu(a) }", opset, 10)
    before = model.SerializeToString()
    newer = with_opset(model, 21)
    assert newer.opset_import[0].version == expected
    assert model.SerializeToString() == before
    feeds: dict[str, Any] = feeds_for(model)
    np.testing.assert_allclose(run(newer, feeds)["y"], run(model, feeds)["y"], atol=1e-6)
