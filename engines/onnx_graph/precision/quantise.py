"""Convolutions and matrix products in INT8 between Q/DQ nodes, the rest in FP16: the only INT8 that TensorRT 11 builds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.loading import import_onnxruntime
from engines.onnx_graph.precision.cast import cast_precision, known_nodes
from engines.onnx_graph.precision.prepare import name_nodes, prepared, with_opset
from engines.onnx_graph.precision.rules import HEAVY, leading_to_heavy
from engines.onnx_graph.precision.wiring import FLOAT16, Wiring, tensor_names, unused_name
from engines.system.unfinished import temporary_folder

if TYPE_CHECKING:
    import onnx

QUANTISED = ("Conv", "MatMul", "Gemm")

FIRST_LAYERS = 2
"""Consecutive layers after the input that stay in FP16. Of the bundled model's labels, on clips unlike its training data, 95.1 %
agree with FP32 for 0 layers, 95.4 % for 1, 97.3 % for 2."""

QDQ_OPSET = 21
"""Scales of Q/DQ nodes may be FP16 from opset 19 on; 21 is the first that ONNX's converter reaches from older ones."""


def quantise_qdq(
    model: onnx.ModelProto,
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]],
    *,
    keep: Sequence[str] = (),
    keep_fp32: Sequence[str] = (),
) -> onnx.ModelProto:
    """A new model with INT8 convolutions and matrix products, symmetric, weights per output channel; the rest is mixed FP16.

    feeds: real inputs by tensor name, in the model's types; activation ranges are measured on them, so give a few dozen typical
    ones. The first layers, which read pixels, and the last, which predict, stay in FP16. Layers named in `keep` (see
    `name_nodes`) stay in FP16, other nodes named there, and all in `keep_fp32`, in FP32. Inputs and outputs keep their types. If
    ONNX's converter cannot raise the opset, the scales are FP32 between casts. Raises ValueError without feeds, for an unknown
    node, or if no layer can be quantised.
    """
    if not feeds:
        raise ValueError("there are no frames to measure activation ranges on")
    tidy, gone = prepared(with_opset(name_nodes(model), QDQ_OPSET), FLOAT16)
    wiring = Wiring(tidy)
    kept, fp32 = known_nodes(wiring, keep, gone), known_nodes(wiring, keep_fp32, gone)
    layers = _quantisable(wiring)
    chosen = [name for name in layers if name not in kept | fp32]
    if not chosen:
        raise ValueError("between its first and last layers, no convolution or matrix product with constant weights is left")
    _separate_shared_weights(tidy.graph, chosen)
    quantised = _with_exact_scales(_with_qdq(tidy, feeds, chosen), wiring.constants)
    return cast_precision(quantised, "fp16", keep_fp32=kept.difference(layers) | fp32)


def _quantisable(wiring: Wiring) -> list[str]:
    """Heavy nodes with constant weights that are followed by another heavy node, without the first layers."""
    depths: dict[str, int] = {}
    found = []
    for node, leads in zip(wiring.nodes, leading_to_heavy(wiring), strict=True):
        depth = max((depths.get(name, 0) for name in node.input), default=0)
        depths.update(dict.fromkeys(node.output, depth + (node.op_type in HEAVY)))
        has_weights = node.op_type in QUANTISED and node.input[1] in wiring.constants and wiring.is_float(node.input[1])
        if leads and has_weights and depth >= FIRST_LAYERS:
            found.append(node.name)
    return found


def _separate_shared_weights(graph: onnx.GraphProto, chosen: Collection[str]) -> None:
    """Copy weights that other nodes share with the chosen ones, or these would get quantised weights. Changes the graph."""
    shared = {node.input[1] for node in graph.node if node.name in chosen}
    copies: dict[str, str] = {}
    taken = tensor_names(graph)
    for node in graph.node:
        if node.name not in chosen:
            for name in shared.intersection(node.input) - copies.keys():
                copies[name] = unused_name(f"{name}_own", taken)
            node.input[:] = [copies.get(name, name) for name in node.input]
    for tensor in [tensor for tensor in graph.initializer if tensor.name in copies]:
        own = graph.initializer.add()
        own.CopyFrom(tensor)
        own.name = copies[tensor.name]


class _Feeds:
    """The data reader that onnxruntime.quantization expects."""

    def __init__(self, feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else {name: np.ascontiguousarray(array) for name, array in feed.items()}


def _with_qdq(model: onnx.ModelProto, feeds: Sequence[Mapping[str, npt.NDArray[Any]]], chosen: Sequence[str]) -> onnx.ModelProto:
    """The float32 model with Q/DQ around the chosen nodes."""
    import onnx

    import_onnxruntime()  # its telemetry off, before a part of it is imported
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with temporary_folder() as folder, _quiet():
        source, target = folder / "float.onnx", folder / "qdq.onnx"
        onnx.save(model, str(source))
        quantize_static(
            str(source),
            str(target),
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=list(chosen),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(QUANTISED),
            },
        )
        return onnx.load(str(target))


def _with_exact_scales(model: onnx.ModelProto, weights: Mapping[str, Any]) -> onnx.ModelProto:
    """Quantise the weights again, with scales that FP16 can represent. Changes and returns `model`.

    Rounding a scale afterwards would shift a whole channel, and the scale of a nearly dead channel would become zero, which
    TensorRT refuses. Scales are rounded up, so that the largest weight still fits.
    """
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        weight = weights.get(node.input[0].removesuffix("_quantized")) if node.op_type == "DequantizeLinear" else None
        if weight is None or node.input[0] not in constants or node.input[1] not in constants:
            continue
        values = onnx.numpy_helper.to_array(weight).astype(np.float64)
        scales = _up_to_half(onnx.numpy_helper.to_array(constants[node.input[1]]))
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [1] * values.ndim
        if scales.size > 1:
            shape[axis] = scales.size
        steps = np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8)
        for name, array in ((node.input[0], steps), (node.input[1], scales)):
            constants[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    return model


def _up_to_half(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The next larger FP16 numbers, at least the smallest one."""
    halves = np.clip(scales, 2.0**-24, 65504.0).astype(np.float16)
    return np.where(halves < scales, np.nextafter(halves, np.float16(np.inf)), halves).astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress advice that onnxruntime.quantization logs on the root logger: the graph is prepared in another way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
