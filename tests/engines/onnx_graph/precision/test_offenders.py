"""The nodes that spoil a half-precision network are named, and keeping them in float32 fixes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines.onnx_graph.precision import cast_precision, name_nodes, offenders, rounded_for_cpu
from engines.onnx_graph.precision.quantise import quantise_qdq

from .nets import feeds_for, net, run, weights

W = weights(4, 4, 1, 1)


def feeds(model: onnx.ModelProto) -> list[dict[str, npt.NDArray[Any]]]:
    return [feeds_for(model, seed) for seed in (0, 1)]


def off_by(model: onnx.ModelProto, cast: onnx.ModelProto) -> float:
    """The largest difference of the output y on the first feed; infinite if y is not finite."""
    feed = feeds_for(model)
    found = run(rounded_for_cpu(cast), feed)["y"].astype(np.float64)
    return float(np.abs(found - run(name_nodes(model), feed)["y"]).max()) if np.isfinite(found).all() else np.inf


def fixed(model: onnx.ModelProto, good_enough: float, precision: Any = "fp16") -> tuple[tuple[str, ...], float]:
    """Keep one node of `offenders` per round, at most five, until the output is right; the nodes, and the remaining error."""
    kept: tuple[str, ...] = ()
    while True:
        cast = cast_precision(model, precision, keep_fp32=kept)
        off = off_by(model, cast)
        if off <= good_enough or len(kept) == 5:
            return kept, off
        kept += offenders(model, cast, feeds(model), 1)


HUGE = np.clip(W * 1e6, -60000, 60000)
HOT = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w) b = Relu(a) c = Conv(b, huge) s = Softmax<axis=1>(c) y = Conv(s, w) }"""
LONG = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Mul(a, k) c = Mul(b, k) d = Mul(c, l) y = Conv(d, w) }"


def test_a_planted_overflow_is_named_and_fixed_in_float32() -> None:
    model = net(HOT, w=W, huge=HUGE)
    cast = cast_precision(model, "fp16")
    assert off_by(model, cast) == np.inf
    assert offenders(model, cast, feeds(model)) == ("Conv_c",)
    kept, off = fixed(model, 0.01)
    assert kept == ("Conv_c",)
    assert off <= 0.01


def test_an_overflow_through_several_nodes_is_named_where_it_starts_and_fixed_round_by_round() -> None:
    model = net(LONG, w=W, k=np.float32(300), l=np.float32(1e-4))
    cast = cast_precision(model, "fp16")
    assert offenders(model, cast, feeds(model)) == ("Mul_c",), "not the nodes that only read infinity"
    kept, off = fixed(model, 0.1)
    assert kept == ("Mul_c", "Mul_d")
    assert off <= 0.1


def test_an_overflow_is_seen_where_it_is_cast_for_a_graph_output() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) y = Conv(a, huge) }"
    model = net(text, w=W, huge=HUGE)
    assert offenders(model, cast_precision(model, "fp16"), feeds(model)) == ("Conv_y",)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_planted_loss_of_digits_is_named_first_and_fixed(precision: Any) -> None:
    """An offset is added and subtracted again: in between, the signal is in the last digits."""
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, w) b = Sigmoid(a) c = Add(b, far) d = Sub(c, far) e = Conv(d, w) y = Relu(e) }"""
    model = net(text, w=W, far=np.float32(3000))
    cast = cast_precision(model, precision)
    limit = 0.01 if precision == "fp16" else 0.04
    assert off_by(model, cast) > 10 * limit
    assert offenders(model, cast, feeds(model))[0] == "Add_c"
    kept, off = fixed(model, limit, precision)
    assert kept == ("Add_c", "Sub_d")
    assert off <= limit


def test_at_most_limit_nodes_are_named_the_worst_first() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Add(x, near) b = Conv(a, w) c = Add(b, far) y = Conv(c, w) }"
    model = net(text, w=W, near=np.float32(40), far=np.float32(20000))
    cast = cast_precision(model, "fp16")
    assert offenders(model, cast, feeds(model), 2) == ("Add_c", "Add_a")
    assert offenders(model, cast, feeds(model), 1) == ("Add_c",)
    assert offenders(model, cast, feeds(model), 0) == ()


def test_nodes_in_float32_already_are_not_named() -> None:
    model = net(HOT, w=W, huge=W)
    everything = [node.name for node in model.graph.node]
    assert offenders(model, cast_precision(model, "fp16", keep_fp32=everything), feeds(model), 9) == ()
    named = offenders(model, cast_precision(model, "fp16", keep_fp32=["Conv_a"]), feeds(model), 9)
    assert named
    assert not {"Conv_a", "Softmax_s"} & set(named)


def test_infinity_in_float32_too_is_not_an_offence() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) e = Conv(a, w) c = Add(e, endless) y = Relu(c) }"
    model = net(text, w=W, endless=np.array([0, 0, 0, np.inf], np.float32).reshape(4, 1, 1))
    named = offenders(model, cast_precision(model, "fp16"), feeds(model), 9)
    assert named
    assert "Add_c" not in named[:1]


def test_a_folded_normalisation_is_named_and_can_be_kept() -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = BatchNormalization(a, g, z, z, o)
        s = Softmax<axis=1>(b) y = Conv(s, w) }"""
    one, seven = np.ones(4, np.float32), np.full((4, 4, 1, 1), 7, np.float32)
    kept, off = fixed(net(text, w=seven, g=one * 8000, z=one * 0, o=one), 0.05)
    assert kept == ("BatchNormalization_b",)
    assert off <= 0.05


def test_names_hold_for_a_network_with_functions_out_of_order_and_without_names() -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, w) b = local.Hot(a, huge) s = Softmax<axis=1>(b) y = Conv(s, w) }
        <domain: "local", opset_import: ["": 17]> Hot (i, k) => (o) { r = Relu(i) o = Conv(r, k) }"""
    model = net(text, domains=', "local": 1', w=W, huge=HUGE)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        node.name = ""
    (named,) = offenders(model, cast_precision(model, "fp16"), feeds(model))
    (hot,) = [node for node in name_nodes(model).graph.node if node.name == named]
    assert hot.op_type == "Conv"
    assert hot.input[1] == "huge"
    assert np.isfinite(run(rounded_for_cpu(cast_precision(model, "fp16", keep_fp32=[named])), feeds_for(model))["y"]).all()


def test_the_int8_layer_that_loses_most_accuracy_is_named_first() -> None:
    """One channel is a thousand times the others, which its scale rounds to zero."""
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) {" + " ".join(
        f"t{i} = Conv({'x' if i == 0 else f't{i - 1}'}, {'blow' if i == 3 else 'shrink' if i == 4 else 'w'})" for i in range(7)
    )
    gains = np.array([1000, 1, 1, 1], np.float32)
    blow, shrink = W * gains.reshape(4, 1, 1, 1), W / gains.reshape(1, 4, 1, 1)
    model = net(text + " y = Conv(t6, w) }", w=W, blow=blow, shrink=shrink)
    quantised = quantise_qdq(model, feeds(model))
    (worst,) = offenders(model, quantised, feeds(model), 1)
    assert worst == "Conv_t4"
    before = off_by(model, quantised)
    after = off_by(model, quantise_qdq(model, feeds(model), keep=[worst]))
    assert after < before / 4
