"""Graphs as exporters and people write them: the cast graph is valid, keeps inputs and outputs, and gives the same results."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelFileError
from engines.onnx_graph.precision import cast_precision, name_nodes, rounded_for_cpu
from engines.onnx_graph.precision.wiring import sort_nodes

from .nets import UNIT_ROUNDOFF, check, feeds_for, io_types, is_sorted, made_in, net, run, weights

W = weights(4, 4, 1, 1)
IMAGE = "(float[1,4,8,8] x) => (float[1,4,8,8] y)"


def unsorted() -> onnx.ModelProto:
    text = """{ a = Conv(x, w) b = Relu(a) c = If(t)<then_branch = g1 () => (float[1,4,8,8] p) { i = Add(b, b) p = Relu(i) },
        else_branch = g2 () => (float[1,4,8,8] q) { q = Neg(b) }> y = Conv(c, w) }"""
    model = net(IMAGE + text, w=W, t=np.array(True))
    for graph in (model.graph.node[2].attribute[0].g, model.graph):
        nodes = [copy.deepcopy(node) for node in reversed(graph.node)]
        del graph.node[:]
        graph.node.extend(nodes)
    return model


def nameless() -> onnx.ModelProto:
    model = net(f"{IMAGE} {{ a = Conv(x, w) b = Relu(a) c = Relu(b) y = Conv(c, w) }}", w=W)
    for node, name in zip(model.graph.node, ("same", "same", "", ""), strict=True):
        node.name = name
    return model


def as_inputs() -> onnx.ModelProto:
    model = net(f"{IMAGE} {{ a = Conv(x, w) y = Add(a, b) }}", 8, 3, w=W, b=weights(4, 1, 1))
    for name, shape in (("w", W.shape), ("b", (4, 1, 1))):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def with_functions() -> onnx.ModelProto:
    text = f"""{IMAGE} {{ a = local.Block(x, w) y = local.Block(a, w) }}
        <domain: "local", opset_import: ["": 17]> Block (i, k) => (o) {{ c = Conv(i, k) s = Sigmoid(c) o = Mul(c, s) }}"""
    return net(text, domains=', "local": 1', w=W)


def with_given_output() -> onnx.ModelProto:
    return net("(float[1,4,8,8] x) => (float[1,4,8,8] y, float[4,4,1,1] w) { y = Conv(x, w) }", w=W)


AWKWARD = {
    "names_double_and_empty": nameless(),
    "unsorted_with_a_body": unsorted(),
    "initializers_among_the_inputs": as_inputs(),
    "local_functions": with_functions(),
    "output_that_is_an_initializer": with_given_output(),
    "constant_nodes": net(
        IMAGE + "{ c = Constant<value_float = 2.0>() d = Constant<value = float[1,4,1,1] {1.0, 2.0, 3.0, 4.0}>()"
        " v = Constant<value_floats = [1.0, 2.0]>() r = Constant<value_int = 1>() k = ReduceMax(v) a = Conv(x, w)"
        " b = Mul(a, c) e = Add(b, d) g = Mul(e, k) y = Relu(g) }",
        w=W,
    ),
    "constant_node_that_is_an_output": net(
        "(float[1,4] x) => (float[1,4] y, float c) { c = Constant<value_float = 2.0>() y = Mul(x, c) }"
    ),
    "initializer_read_in_both_types": net(
        f"{IMAGE} {{ a = Mul(x, c) e = Exp(a) f = Mul(e, c) g = Softmax(f) y = Mul(g, c) }}", c=weights(8, size=0.1)
    ),
    "if_that_captures_a_cast_tensor_and_a_weight": net(
        "(float[1,4,8,8] x, bool t) => (float[1,4,8,8] y) { a = Conv(x, w) b = If(t)<then_branch = g1 () =>"
        " (float[1,4,8,8] p) { p = Conv(a, w) }, else_branch = g2 () => (float[1,4,8,8] q) { q = Identity(a) }> y = Conv(b, w) }",
        w=W,
    ),
    "if_whose_branch_returns_a_captured_tensor": net(
        "(float[1,4] x, bool t) => (float[1,4] y) { a = Mul(x, x) b = MatMul(a, m) c = If(t)<then_branch = g1 () =>"
        " (float[1,4] p) { i = If(t)<then_branch = g3 () => (float[1,4] u) { u = Add(b, a) }, else_branch = g4 () =>"
        " (float[1,4] v) { v = Sub(b, a) }> p = Relu(i) }, else_branch = g2 () =>"
        " (float[1,4] q) { q = Neg(b) }> y = MatMul(c, m) }",
        m=weights(4, 4),
    ),
    "loop_that_carries_floats_and_captures": net(
        "(float[1,4] x) => (float[1,4] y) { b = MatMul(x, m) l = Loop(n, t, b)<body = g1 (int64 i, bool c, float[1,4] s) =>"
        " (bool k, float[1,4] r) { k = Identity(c) p = Add(s, b) r = Mul(p, h) }> y = MatMul(l, m) }",
        m=weights(4, 4),
        n=np.array(3),
        t=np.array(True),
        h=np.float32(0.5),
    ),
    "casts_of_every_kind": net(
        "(uint8[1,8,8,4] x) => (float[1,4,8,8] y, int64[1,4,8,8] n) { f = Cast<to=1>(x) t = Transpose<perm=[0,3,1,2]>(f)"
        " u = Cast<to=1>(t) d = Div(u, full) a = Conv(d, w) g = Cast<to=1>(a) h = Cast<to=10>(g) i = Cast<to=1>(h)"
        " j = Cast<to=11>(i) k = Cast<to=1>(j) y = Conv(k, w) n = Cast<to=7>(g) }",
        w=W,
        full=np.float32(255),
    ),
    "integers_and_booleans": net(
        "(float[1,4,8,8] x, int64[1,4,1,1] n) => (float[1,4,8,8] y, int64[1,1,8,8] best, bool[1,4,8,8] over) { a = Conv(x, w)"
        " m = Mul(n, n) z = Sub(m, n) nil = Cast<to=9>(z) over = Greater(a, half) both = And(nil, over) b = Neg(a)"
        " y = Where(both, a, b) best = ArgMax<axis=1>(y) }",
        w=W,
        half=np.float32(0.1),
    ),
    "calculated_shapes": net(
        "(float[b,4,8,8] x) => (float[b,4,N] y) { a = Conv(x, w) s = Shape(a) h = Slice(s, zero, two) t = Concat<axis=0>(h, rest)"
        " r = Reshape(a, t) z = Shape(r) o = ConstantOfShape(z) y = Add(r, o) }",
        w=W,
        zero=np.array([0]),
        two=np.array([2]),
        rest=np.array([-1]),
    ),
    "resize_with_scales": net(
        '(float[1,4,8,8] x) => (float[1,4,16,16] y) { a = Conv(x, w) b = Resize<mode="linear">(a, , s) y = Conv(b, w) }',
        w=W,
        s=np.array([1, 1, 2, 2], np.float32),
    ),
    "old_upsample": net(
        '(float[1,4,8,8] x) => (float[1,4,16,16] y) { a = Conv(x, w) b = Upsample<mode="nearest">(a, s) y = Conv(b, w) }',
        9,
        4,
        w=W,
        s=np.array([1, 1, 2, 2], np.float32),
    ),
    "outputs_that_are_read_inside": net(
        "(float[1,4,8,8] x) => (float[1,4,8,8] a, float[1,4,8,8] e, float[1,4,8,8] y) { a = Conv(x, w) b = Relu(a) e = Softmax(b)"
        " y = Conv(e, w) }",
        w=W,
    ),
    "optional_outputs_left_out": net(
        "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b, c = Split<axis=1>(a, s) d = Concat<axis=1>(c, b)"
        " e = Clip(d, , six) v, i = TopK<axis=3>(e, k) f = Expand(v, t) y = Conv(f, w) }",
        w=W,
        s=np.array([1, 3]),
        six=np.float32(6),
        k=np.array([1]),
        t=np.array([1, 4, 8, 8]),
    ),
    "batch_normalisation": net(
        f"{IMAGE} {{ a = Conv(x, w) b = BatchNormalization(a, p, m, m, p) r = Relu(b) c = BatchNormalization(r, p, m, m, p)"
        " y = Conv(c, w) }",
        w=W,
        p=np.abs(weights(4)) + 1,
        m=weights(4, seed=1),
    ),
    "values_beyond_fp16_at_a_constant": net(
        f"{IMAGE} {{ a = Conv(x, w) b = Mul(a, big) c = Div(b, big) y = Conv(c, w) }}", w=W, big=np.float32(1e6)
    ),
    "denormal_weights": net(f"{IMAGE} {{ a = Conv(x, t) b = Add(a, x) y = Conv(b, w) }}", w=W, t=W * np.float32(1e-40)),
    "a_network_with_float16_already": net(
        "(float16[1,4,8,8] x) => (float16[1,4,8,8] y, float[1,4,8,8] z) { f = Cast<to=1>(x) a = Conv(f, w) h = Cast<to=10>(a)"
        " y = Relu(h) z = Softmax(a) }",
        w=W,
    ),
    "a_sequence": net(
        IMAGE + " { a = Conv(x, w) s = SequenceConstruct(a, a) b = SequenceAt(s, i) y = Conv(b, w) }",
        w=W,
        i=np.array(0),
    ),
    "no_weights_at_all": net("(float[1,4] x) => (float[1,4] y) { y = Identity(x) }"),
}  # fmt: skip
FORMS = {"fp16": ("fp16", "float32"), "fp16_in_and_out": ("fp16", "float16"), "bf16": ("bf16", "float32")}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("model", AWKWARD.values(), ids=AWKWARD)
def test_an_awkward_graph_stays_valid_and_gives_the_same_results(model: onnx.ModelProto, form: tuple[Any, Any]) -> None:
    precision, io_dtype = form
    before = model.SerializeToString()
    cast = cast_precision(model, precision, io_dtype=io_dtype)
    check(cast)
    assert model.SerializeToString() == before, "the given model is not changed"
    assert is_sorted(cast.graph)
    names = [node.name for node in cast.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    io_type = TensorProto.FLOAT16 if io_dtype == "float16" else TensorProto.FLOAT
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    assert [value.name for value in cast.graph.input] == inputs
    assert [value.name for value in cast.graph.output] == [value.name for value in model.graph.output]
    for name, kind in io_types(cast).items():
        given_kind = io_types(model)[name]
        assert kind == (io_type if given_kind == TensorProto.FLOAT else given_kind), name
    feeds = feeds_for(model)
    runnable = name_nodes(model)  # ONNX Runtime refuses duplicate names and unsorted bodies
    sort_nodes(runnable.graph)
    wanted, found = run(runnable, feeds), run(rounded_for_cpu(cast), feeds)
    if precision == "fp16":
        assert run(cast, feeds).keys() == wanted.keys(), "ONNX Runtime also accepts the cast graph itself"
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        if array.dtype.kind != "f":
            assert (found[name] == array).mean() > 0.97, name
            continue
        # A few roundings in sequence, each relative to the output's largest value.
        slack = 16 * UNIT_ROUNDOFF[precision] * max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(found[name].astype(np.float64), array, atol=slack, rtol=0, err_msg=name)


def test_each_tensor_has_one_cast_for_all_its_readers() -> None:
    text = f"{IMAGE} {{ a = Conv(x, w) b = Conv(x, w) c = Conv(x, w) d = Sum(a, b, c) e = Exp(d) f = Sqrt(d) y = Mul(e, f) }}"
    cast = cast_precision(net(text, w=W), "fp16")
    casts = [(node.input[0], node.attribute[0].i) for node in cast.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts)) == 2, "x to FP16 once, d to FP32 once"


def test_a_weight_is_stored_once_if_all_readers_need_it_in_half() -> None:
    cast = cast_precision(net(f"{IMAGE} {{ a = Conv(x, w) y = Conv(a, w) }}", w=W), "fp16")
    (tensor,) = cast.graph.initializer
    assert tensor.data_type == TensorProto.FLOAT16
    np.testing.assert_allclose(numpy_helper.to_array(tensor), W, rtol=1.5 * 2**-10, atol=2**-24)


def test_float16_inputs_and_outputs_of_a_half_precision_network_need_no_casts() -> None:
    cast = cast_precision(net(f"{IMAGE} {{ a = Conv(x, w) y = Relu(a) }}", w=W), "fp16", io_dtype="float16")
    assert [node.op_type for node in cast.graph.node] == ["Conv", "Relu"]


def test_casts_without_effect_are_dropped() -> None:
    text = """(uint8[1,4,8,8] x) => (float[1,4,8,8] y) {
        f = Cast<to=1>(x) a = Conv(f, w) h = Cast<to=10>(a) i = Cast<to=1>(h) y = Conv(i, w) }"""
    cast = cast_precision(net(text, w=W), "fp16", io_dtype="float16")
    assert [node.op_type for node in cast.graph.node] == ["Cast", "Conv", "Conv"]


def test_bf16_keeps_float32_inputs_and_outputs_and_raises_the_opset() -> None:
    cast = cast_precision(net(f"{IMAGE} {{ a = Conv(x, w) y = Relu(a) }}", 13, w=W), "bf16", io_dtype="float16")
    check(cast)
    assert set(io_types(cast).values()) == {TensorProto.FLOAT}
    assert cast.opset_import[0].version == 22
    assert made_in(cast, "Conv_a") == "bf16"


def test_fp16_keeps_the_opset() -> None:
    cast = cast_precision(net(f"{IMAGE} {{ y = Conv(x, w) }}", 11, w=W), "fp16")
    assert cast.opset_import[0].version == 11


@pytest.mark.parametrize("precision", ["fp8", "int8", "FP16", ""])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision: Any) -> None:
    with pytest.raises(ValueError, match=f'unknown precision "{precision}"; known: fp16, bf16'):
        cast_precision(net(f"{IMAGE} {{ y = Conv(x, w) }}", w=W), precision)


def test_an_unknown_node_to_keep_is_named() -> None:
    with pytest.raises(ValueError, match=r"no node is named Conv_z; name_nodes\(model\) shows the names"):
        cast_precision(net(f"{IMAGE} {{ y = Conv(x, w) }}", w=W), "fp16", keep_fp32=["Conv_y", "Conv_z"])


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Add(x, b) b = Relu(a) y = Conv(b, w)",
        "a = Add(a, x) y = Conv(a, w)",
        "c = If(t)<then_branch = g1 () => (float[1,4,8,8] p) { p = Relu(y) }, else_branch = g2 () => (float[1,4,8,8] q)"
        " { q = Neg(x) }> y = Conv(c, w)",
        "y = If(t)<then_branch = g1 () => (float[1,4,8,8] p) { i = Relu(p) p = Neg(i) }, else_branch = g2 () =>"
        " (float[1,4,8,8] q) { q = Neg(x) }>",
    ],
    ids=["two_nodes", "one_node", "through_a_body", "in_a_body"],
)
def test_a_cycle_is_refused(nodes: str) -> None:
    with pytest.raises(ModelFileError, match="form a cycle"):
        cast_precision(net(f"{IMAGE} {{ {nodes} }}", w=W, t=np.array(True)), "fp16")


def test_the_same_network_is_cast_to_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Exports must be reproducible."""
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y, float p, float q, float[4,4,1,1] w, float r) { a = Conv(x, w) y = Relu(a) }"
    constants = {name: np.float32(index) for index, name in enumerate("pqr")}
    onnx.save(net(text, w=W, **constants), str(tmp_path / "net.onnx"))
    code = (
        "import hashlib, onnx, sys\nfrom engines.onnx_graph.precision import cast_precision, rounded_for_cpu\n"
        "cast = cast_precision(onnx.load(sys.argv[1]), 'fp16', io_dtype='float16')\n"
        "print(*(hashlib.sha256(m.SerializeToString()).hexdigest() for m in (cast, rounded_for_cpu(cast))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net.onnx")]
    found = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


# Random networks, with a bound on the rounding error of each tensor


class Grower:
    """Grows a network node by node and keeps, for each tensor, its largest size and a bound on its error in `precision`.

    Every value is rounded once when it is read and once when it is produced, which is at least what a cast does.
    draw: returns a value of the strategy that it is given.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], unit: float) -> None:
        self.draw, self.unit = draw, unit
        self.lines: list[str] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.tensors = {"x": (1.0, 0.0)}

    def pick(self) -> tuple[str, float, float]:
        name = self.draw(st.sampled_from(list(self.tensors)))
        size, error = self.tensors[name]
        return name, size, error + self.unit * size + 2.0**-24

    def constant(self, array: npt.NDArray[Any]) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = array
        return name

    def add(self, text: str, size: float, error: float) -> None:
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.tensors[name] = size, error + self.unit * size + 2.0**-24

    def grow(self) -> None:
        name, size, error = self.pick()
        kind = self.draw(st.sampled_from([*OTHERS, *ONE_TO_ONE]))
        if kind in ONE_TO_ONE:
            self.add(ONE_TO_ONE[kind].format(name), {"tanh": min(size, 1.0), "sigmoid": 1.0}.get(kind, size), error)
        elif kind == "conv":
            seed = self.draw(st.integers(0, 99))
            kernel = weights(4, 4, 3, 3, seed=seed)
            gain = float(np.abs(kernel).sum(axis=(1, 2, 3)).max())
            pads = "<pads=[1,1,1,1]>"
            # A weight moves by at most one and a half steps of its own size; a step is two units.
            moved = (3 * self.unit * gain + 36 * 2.0**-24) * size
            self.add(f"Conv{pads}({name}, {self.constant(kernel)})", gain * size, gain * error + moved + 1e-5 * gain * size)
        elif kind in ("add", "sub"):
            other, other_size, other_error = self.pick()
            self.add(f"{kind.title()}({name}, {other})", size + other_size, error + other_error)
        elif kind == "mul":
            factor = self.draw(st.floats(-2, 2, width=16))
            used = self.constant(np.float32(factor))
            self.add(f"Mul({name}, {used})", abs(factor) * size, abs(factor) * error)
        elif kind == "concat":
            other, other_size, other_error = self.pick()
            joined = f"j{len(self.lines)}"
            self.lines.append(f"{joined} = Concat<axis=1>({name}, {other})")
            ends = [self.constant(np.array([end])) for end in (2, 6, 1)]
            self.add(f"Slice({joined}, {', '.join(ends)})", max(size, other_size), max(error, other_error))
        elif kind == "softmax":
            self.add(f"Softmax<axis=1>({name})", 1.0, error + 1e-5)
        elif kind == "exp":
            bounded = f"b{len(self.lines)}"
            self.lines.append(f"{bounded} = Tanh({name})")
            self.add(f"Exp({bounded})", np.e, np.e * (error + self.unit) * 1.1)
        elif kind == "cast":
            self.lines.append(f"i{len(self.lines)} = Cast<to=7>({name})")
            self.add(f"Cast<to=1>({name})", size, error)
        else:
            read = name
            if kind == "sigmoid_mean":
                read = f"s{len(self.lines)}"
                self.lines.append(f"{read} = Sigmoid({name})")
                size, error = 1.0, error + self.unit
            mean = f"m{len(self.lines)}"
            self.lines.append(f"{mean} = ReduceMean<axes=[2,3]>({read})")
            self.add(f"Expand({mean}, {self.constant(np.array([1, 4, 8, 8]))})", size, error + 1e-5 * size)


OTHERS = ("conv", "add", "sub", "mul", "concat", "softmax", "mean", "sigmoid_mean", "cast", "exp")
ONE_TO_ONE = {
    "relu": "Relu({})",
    "tanh": "Tanh({})",
    "sigmoid": "Sigmoid({})",
    "neg": "Neg({})",
    "transpose": "Transpose<perm=[0,1,3,2]>({})",
    "max_pool": "MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>({})",
    "average_pool": "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>({})",
    "identity": "Identity({})",
}
"""Operators whose outputs differ by no more than their inputs do."""


@st.composite
def networks(draw: st.DrawFn) -> tuple[str, onnx.ModelProto, dict[str, float]]:
    """Precision, network, and the largest error that each output may have."""
    precision = draw(st.sampled_from(["fp16", "bf16"]))
    grower = Grower(draw, UNIT_ROUNDOFF[precision])
    for _ in range(draw(st.integers(1, 12))):
        grower.grow()
    outputs = draw(st.lists(st.sampled_from([n for n in grower.tensors if n != "x"]), min_size=1, max_size=3, unique=True))
    return precision, *grown(grower, outputs, draw(st.sampled_from([13, 17])))


def grown(grower: Grower, outputs: list[str], opset: int) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The network, and the largest error of each output that float16 can represent."""
    declared = ", ".join(f"float[1,4,8,8] {name}" for name in outputs)
    text = f"(float[1,4,8,8] x) => ({declared}) {{ {' '.join(grower.lines)} }}"
    model = net(text, opset, **grower.constants)
    return model, {name: grower.tensors[name][1] for name in outputs if grower.tensors[name][0] < 6e4}


def tanh_of_sigmoid_of_zero() -> tuple[str, onnx.ModelProto, dict[str, float]]:
    """The sigmoid of zero is one half, and its tanh is rounded by 4e-5: the bound once took it for as small as its input."""
    choices = iter(("x", "mul", 0.0, "t0", "sigmoid", "t1", "tanh"))
    grower = Grower(lambda _: next(choices), UNIT_ROUNDOFF["fp16"])
    for _ in range(3):
        grower.grow()
    return "fp16", *grown(grower, ["t0", "t2"], 13)


@settings(deadline=None, max_examples=100)
@given(networks(), st.sampled_from(["float32", "float16"]), st.integers(0, 99))
@example(tanh_of_sigmoid_of_zero(), "float16", 0)
def test_any_network_stays_valid_and_within_its_rounding_error(
    case: tuple[Any, onnx.ModelProto, dict[str, float]], io_dtype: Any, seed: int
) -> None:
    precision, model, bounds = case
    cast = cast_precision(model, precision, io_dtype=io_dtype)
    check(cast)
    assert is_sorted(cast.graph)
    feeds = feeds_for(model, seed)
    wanted, found = run(model, feeds), run(rounded_for_cpu(cast), feeds)
    for name, bound in bounds.items():
        assert np.abs(found[name].astype(np.float64) - wanted[name]).max() <= bound + 1e-6
