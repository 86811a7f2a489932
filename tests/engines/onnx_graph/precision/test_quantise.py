"""INT8 between Q/DQ nodes: valid, small, close to float32, and with scales that FP16 can represent."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from engines.onnx_graph.precision import main_precision, name_nodes, rounded_for_cpu
from engines.onnx_graph.precision.quantise import quantise_qdq

from .nets import check, feeds_for, io_types, is_sorted, made_in, net, run, weights

LAYERS = 7


def chain(opset: int = 17, **changed: npt.NDArray[Any]) -> onnx.ModelProto:
    """Seven convolutions, a residual sum, a sigmoid gate and a softmax; c0 ... c6 are the convolutions' results."""
    text = """(float[1,4,16,16] x) => (float[1,6,16,16] y) { c0 = Conv<pads=[1,1,1,1]>(x, w0) r0 = Relu(c0)
        c1 = Conv<pads=[1,1,1,1]>(r0, w1) r1 = Relu(c1) c2 = Conv<pads=[1,1,1,1], group=8>(r1, w2) r2 = Relu(c2)
        c3 = Conv(r2, w3) s3 = Add(c3, r1) c4 = Conv<pads=[1,1,1,1]>(s3, w4, b4) g4 = Sigmoid(c4) m4 = Mul(c4, g4)
        c5 = Conv<pads=[1,1,1,1]>(m4, w5) r5 = Relu(c5) c6 = Conv(r5, w6) y = Softmax<axis=1>(c6) }"""
    shapes = [(8, 4, 3, 3), (8, 8, 3, 3), (8, 1, 3, 3), (8, 8, 1, 1), (8, 8, 3, 3), (8, 8, 3, 3), (6, 8, 1, 1)]
    constants: dict[str, npt.NDArray[Any]] = {
        f"w{i}": weights(*shape, size=1.4 / np.sqrt(np.prod(shape[1:])), seed=i) for i, shape in enumerate(shapes)
    }
    constants["w6"] = constants["w6"] * 4
    return net(text, opset, 9, b4=weights(8, seed=9, size=0.1), **(constants | changed))


def feeds(count: int = 6) -> list[dict[str, npt.NDArray[Any]]]:
    return [feeds_for(chain(), seed) for seed in range(count)]


def agreement(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    rounded = rounded_for_cpu(other)
    pairs = [(run(model, feed)["y"].argmax(1), run(rounded, feed)["y"].argmax(1)) for feed in feeds()]
    return float(np.mean([one == two for one, two in pairs]))


def stored(model: onnx.ModelProto) -> dict[str, int]:
    """The type in which the weight of each convolution is stored."""
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            name = node.input[1]
            while name not in constants:
                name = makers[name].input[0]
            found[node.name] = constants[name]
    return found


def test_the_middle_layers_are_int8_and_the_network_gives_the_same_results() -> None:
    model = chain()
    before = model.SerializeToString()
    quantised = quantise_qdq(model, feeds())
    assert model.SerializeToString() == before
    check(quantised)
    assert is_sorted(quantised.graph)
    assert io_types(quantised) == io_types(model)
    assert main_precision(quantised) == "int8"
    half, small = TensorProto.FLOAT16, TensorProto.INT8
    assert list(stored(quantised).values()) == [half, half, small, small, small, small, half]
    assert made_in(quantised, "Conv_c3") == "fp16"
    assert made_in(quantised, "Softmax_y") == "fp32"
    assert agreement(model, quantised) >= 0.95


def test_kept_layers_stay_in_fp16_and_other_kept_nodes_in_float32() -> None:
    quantised = quantise_qdq(chain(), feeds(2), keep=["Conv_c4", "Relu_r2", "Conv_c6"])
    check(quantised)
    assert stored(quantised)["Conv_c4"] == TensorProto.FLOAT16
    assert stored(quantised)["Conv_c3"] == TensorProto.INT8
    assert (made_in(quantised, "Conv_c4"), made_in(quantised, "Relu_r2"), made_in(quantised, "Conv_c6")) == (
        "fp16",
        "fp32",
        "fp32",
    )


def test_weights_are_rounded_to_nearest_and_scales_are_fp16_numbers() -> None:
    model = chain(w3=weights(8, 8, 1, 1, seed=3) * np.logspace(-9, 1, 8, dtype=np.float32).reshape(8, 1, 1, 1))
    quantised = quantise_qdq(model, feeds(2))
    check(quantised)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    originals = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    count = 0
    for node in quantised.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        steps, scales = constants[node.input[0]], constants[node.input[1]]
        assert scales.dtype == np.float16
        assert (scales > 0).all()
        wide = scales.astype(np.float64).reshape(-1, 1, 1, 1)
        exact = originals[node.input[0].removesuffix("_quantized")]
        assert (np.abs(steps * wide - exact) <= wide * 0.5001).all()
        assert (np.abs(steps.astype(int)).max(axis=(1, 2, 3)) >= 126)[scales > 1e-3].all(), "each channel has its own scale"
        count += 1
    assert count == 4


def test_the_quantiser_is_loaded_without_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    quantise_qdq(chain(), feeds(1))
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_an_old_opset_is_raised_so_that_scales_can_be_fp16() -> None:
    quantised = quantise_qdq(chain(13), feeds(2))
    check(quantised)
    assert next(entry.version for entry in quantised.opset_import if entry.domain == "") == 21


def test_a_weight_shared_with_a_layer_in_fp16_is_int8_only_for_the_quantised_layer() -> None:
    text = """(float[1,4,16,16] x) => (float[1,4,16,16] y) { a = Conv(x, w) b = Conv(a, w) c = Conv(b, w) d = Conv(c, w)
        e = Conv(d, w) y = Conv(e, w) }"""
    model = net(text, w=weights(4, 4, 1, 1))
    quantised = quantise_qdq(model, [feeds_for(model)], keep=["Conv_d"])
    check(quantised)
    half, small = TensorProto.FLOAT16, TensorProto.INT8
    assert list(stored(quantised).values()) == [half, half, small, half, small, half]


def test_a_folded_normalisation_can_be_kept_by_its_name() -> None:
    text = """(float[1,4,16,16] x) => (float[1,4,16,16] y) { a = Conv(x, w) b = Conv(a, w) c = Conv(b, w)
        d = BatchNormalization(c, o, z, z, o) e = Conv(d, w) f = Conv(e, w) y = Conv(f, w) }"""
    model = net(text, w=weights(4, 4, 1, 1), o=np.ones(4, np.float32), z=np.zeros(4, np.float32))
    kept = quantise_qdq(model, [feeds_for(model)], keep=["BatchNormalization_d"])
    assert list(stored(kept).values())[2:] == [TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT8, TensorProto.FLOAT16]


def test_every_name_that_name_nodes_gives_can_be_kept_but_not_all_at_once() -> None:
    model = chain()
    for node in model.graph.node:
        node.name = ""
    everything = [node.name for node in name_nodes(model).graph.node]
    check(quantise_qdq(model, feeds(1), keep=[name for name in everything if name != "Conv_c3"]))
    with pytest.raises(ValueError, match="no convolution or matrix product with constant weights is left"):
        quantise_qdq(model, feeds(1), keep=everything)


def test_an_unknown_node_to_keep_is_named() -> None:
    with pytest.raises(ValueError, match="no node is named Conv_z"):
        quantise_qdq(chain(), feeds(1), keep=["Conv_z"])


def test_without_frames_nothing_can_be_measured() -> None:
    with pytest.raises(ValueError, match="no frames to measure activation ranges on"):
        quantise_qdq(chain(), [])


def test_a_network_of_first_and_last_layers_only_is_refused() -> None:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Conv(a, w) y = Conv(b, w) }"
    model = net(text, w=weights(4, 4, 1, 1))
    with pytest.raises(ValueError, match="no convolution or matrix product with constant weights is left"):
        quantise_qdq(model, [feeds_for(model)])
