"""Half precision on the CPU: every result is rounded as it would be stored, and weights so that sums are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper

from engines.onnx_graph.precision import cast_precision, rounded_for_cpu
from engines.onnx_graph.precision.weights import rounded_weight
from engines.onnx_graph.precision.wiring import BFLOAT16, FLOAT16, bfloat16_bits

from .nets import check, feeds_for, io_types, net, run, weights


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("is_optimised", [False, True])
def test_each_step_is_rounded_as_numpy_rounds_halves(is_optimised: bool) -> None:
    text = "(float16[64] x) => (float16[64] y) { a = Add(x, k) b = Mul(a, a) c = Sub(b, x) y = Div(c, a) }"
    k = np.float16(3.14159)
    model = net(text, k=k)
    x = np.random.default_rng(0).uniform(-9, 9, 64).astype(np.float16)
    a = x + k
    np.testing.assert_array_equal(run(rounded_for_cpu(model), {"x": x}, is_optimised)["y"], (a * a - x) / a)


@pytest.mark.parametrize("is_optimised", [False, True])
def test_an_overflow_that_the_cpu_would_hide_is_visible(is_optimised: bool) -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Conv(a, w) y = Conv(b, v) }"
    model = net(text, w=np.full((4, 4, 1, 1), 200, np.float32), v=np.full((4, 4, 1, 1), 1e-4, np.float32))
    cast = cast_precision(model, "fp16")
    feeds = {"x": np.ones((1, 4, 8, 8), np.float32)}
    assert np.isinf(run(rounded_for_cpu(cast), feeds, is_optimised)["y"]).all()
    assert np.isfinite(run(model, feeds)["y"]).all()
    assert np.isfinite(run(cast, feeds, is_optimised=True)["y"]).all(), "the CPU hides it, which is why results are rounded"


def test_bfloat16_runs_without_cpu_kernels_and_every_result_is_rounded() -> None:
    model = net(
        "(float[1,4,8,8] x) => (float[1,4,8,8] a, float[1,4,8,8] y) { a = Conv(x, w) y = Relu(a) }", w=weights(4, 4, 1, 1)
    )
    found = run(rounded_for_cpu(cast_precision(model, "bf16")), feeds_for(model))
    np.testing.assert_array_equal(found["a"], to_bfloat16(found["a"]))
    assert (found["a"] != run(model, feeds_for(model))["a"]).any()


@pytest.mark.parametrize("io_dtype", ["float32", "float16"])
def test_inputs_and_outputs_keep_names_types_and_shapes(io_dtype: Any) -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y, float[4,4,1,1] w, int64[1,1,8,8] n, float[1,4,8,8] r) {
        y = Conv(x, w) n = ArgMax<axis=1>(y) r = Relu(y) }"""
    cast = cast_precision(net(text, w=weights(4, 4, 1, 1)), "fp16", io_dtype=io_dtype)
    rounded = rounded_for_cpu(cast)
    check(rounded)
    assert io_types(rounded) == io_types(cast)
    inner = onnx.shape_inference.infer_shapes(rounded).graph.value_info
    feeds = feeds_for(cast)
    for name, array in run(cast, feeds).items():
        np.testing.assert_allclose(run(rounded, feeds)[name], array, atol=2e-3)
    assert sum(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in inner) < len(inner) / 2


def test_a_network_without_half_precision_comes_back_unchanged() -> None:
    model = net("(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv(x, w) }", w=weights(4, 4, 1, 1))
    rounded = rounded_for_cpu(model)
    assert rounded == model
    assert rounded is not model


def test_a_body_in_float16_still_runs() -> None:
    text = """(float16[1,4] x, bool t) => (float16[1,4] y) { a = Mul(x, k) b = If(t)<then_branch = g1 () => (float16[1,4] p)
        { p = Add(a, k) }, else_branch = g2 () => (float16[1,4] q) { q = Identity(a) }> c = Mul(b, b) y = Add(c, a) }"""
    k = np.array([0.3], np.float16)
    rounded = rounded_for_cpu(net(text, k=k))
    check(rounded)
    x = np.array([[1, 2, 3, 4]], np.float16)
    a = x * k
    np.testing.assert_array_equal(run(rounded, {"x": x, "t": np.array(True)})["y"], (a + k) * (a + k) + a)
    np.testing.assert_array_equal(run(rounded, {"x": x, "t": np.array(False)})["y"], a * a + a)


def test_a_node_named_like_an_added_one_does_not_clash() -> None:
    model = net("(float16[4] x) => (float16[4] y) { a = Exp(x) y = Sqrt(a) }")
    model.graph.node[0].name = "round_a_rounded"
    model.graph.node[1].name = "round_a"
    assert np.isfinite(run(rounded_for_cpu(model), feeds_for(model))["y"]).all()


floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=floats))
def test_bfloat16_rounds_to_the_nearest(values: npt.NDArray[np.float32]) -> None:
    found = bfloat16_bits(values)
    error = np.abs(to_bfloat16(values).astype(np.float64) - values)
    for step in (-1, 1):
        neighbour = ((found.astype(np.int64) + step).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        assert (error <= np.abs(neighbour - values)).all() or not np.isfinite(neighbour).all()


def test_bfloat16_rounds_ties_to_even_and_keeps_nan_and_infinity() -> None:
    given_values = np.array([1 + 2**-8, 1 + 3 * 2**-8, np.nan, np.inf, -np.inf, 3.4028235e38, -0.0], np.float32)
    expected = np.array([1, 1 + 4 * 2**-8, np.nan, np.inf, -np.inf, np.inf, -0.0], np.float32)
    np.testing.assert_array_equal(to_bfloat16(given_values), expected)
    assert np.signbit(to_bfloat16(given_values)[-1])


def as_float(tensor: onnx.TensorProto) -> npt.NDArray[np.float64]:
    return numpy_helper.to_array(tensor).astype(np.float64)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([FLOAT16, BFLOAT16]),
    st.integers(0, 1),
    st.sampled_from([1e-6, 1e-3, 1.0, 1e3]),
    st.integers(0, 99),
)
def test_no_weight_moves_by_more_than_two_steps(shape: tuple[int, ...], kind: int, axis: int, size: float, seed: int) -> None:
    values = weights(*shape, size=size, seed=seed)
    rounded = rounded_weight(numpy_helper.from_array(values, "w"), kind, "half", axis)
    assert (rounded.name, rounded.data_type, tuple(rounded.dims)) == ("half", kind, shape)
    bits, lowest = (10, -14) if kind == FLOAT16 else (7, -126)
    step = 2.0 ** (np.maximum(np.floor(np.log2(np.abs(values, dtype=np.float64) + 1e-300)), lowest) - bits)
    # One and a half; but beyond a power of two, a weight is rounded to steps twice as wide.
    assert (np.abs(as_float(rounded) - values) <= 2 * step).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", [FLOAT16, BFLOAT16])
def test_sums_of_each_output_are_closer_than_with_plain_rounding(kind: int, axis: int) -> None:
    values = weights(24, 24, 3, 3)
    tensor = numpy_helper.from_array(values, "w")
    plain = to_bfloat16(values) if kind == BFLOAT16 else values.astype(np.float16)
    others = tuple(index for index in range(4) if index != axis)
    exact = values.astype(np.float64).sum(axis=others)
    lost = np.abs(as_float(rounded_weight(tensor, kind, "w", axis)).sum(axis=others) - exact)
    lost_plainly = np.abs(plain.astype(np.float64).sum(axis=others) - exact)
    assert lost.mean() < lost_plainly.mean() / 10


def test_the_largest_weight_does_not_become_infinite() -> None:
    values = np.array([[65504, 65503, 65487.9, 65490]], np.float32)
    assert np.isfinite(as_float(rounded_weight(numpy_helper.from_array(values, "w"), FLOAT16, "w", 0))).all()
