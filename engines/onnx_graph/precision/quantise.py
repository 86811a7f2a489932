"""Convolutions and matrix products in INT8 between Q/DQ nodes, the rest in FP16: the only INT8 that TensorRT 11 builds."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.onnx_graph.precision.cast import cast_precision, known_nodes
from engines.onnx_graph.precision.prepare import name_nodes, prepared, with_opset
from engines.onnx_graph.precision.ranges import measure_magnitudes
from engines.onnx_graph.precision.rules import HEAVY, leading_to_heavy
from engines.onnx_graph.precision.weights import output_axes
from engines.onnx_graph.precision.wiring import FLOAT16, Wiring, replace_entries, tensor_names, tensors_read, unused_name

if TYPE_CHECKING:
    import onnx

QUANTISED = ("Conv", "MatMul", "Gemm")

FIRST_LAYERS = 2
"""Consecutive layers after the input that stay in FP16. Of the bundled model's labels, on clips unlike its training data, 95.1 %
agree with FP32 for 0 layers, 95.4 % for 1, 97.3 % for 2."""

PERCENTILE = 99.999
"""The share of the absolute values of an activation, in percent, that its range holds; larger ones are cut off."""

NONE_LEFT = "between its first and last layers, no convolution or matrix product with constant weights is left"

QDQ_OPSET = 21
"""Scales of Q/DQ nodes may be FP16 from opset 19 on; 21 is the first that ONNX's converter reaches from older ones."""


class Quantiser:
    """Makes INT8 forms of one network, with ranges that are measured once.

    Convolutions and matrix products are INT8, symmetric, weights per output channel; the rest is mixed FP16. The first layers,
    which read pixels, and the last, which predict, stay in FP16. Inputs and outputs keep their types. If ONNX's converter cannot
    raise the opset, the scales are FP32 between casts.
    """

    def __init__(
        self, model: onnx.ModelProto, feeds: Iterable[Mapping[str, npt.NDArray[Any]]], percentile: float = PERCENTILE
    ) -> None:
        """feeds: real inputs by tensor name, in the model's types, at least a few dozen typical ones. percentile: see PERCENTILE.

        Raises ValueError without feeds, or if no layer can be quantised.
        """
        self._model, self._gone = prepared(with_opset(name_nodes(model), QDQ_OPSET), FLOAT16)
        self._wiring = Wiring(self._model)
        self.layers = tuple(_quantisable(self._wiring))
        """The layers that can be quantised, as `name_nodes` gives their names, in topological order."""
        if not self.layers:
            raise ValueError(NONE_LEFT)
        names = set(self.layers)
        tensors = dict.fromkeys(node.input[0] for node in self._wiring.nodes if node.name in names)
        self._scales = {
            name: _up_to_half(np.array(found.limit(percentile) / 127, np.float32))
            for name, found in measure_magnitudes(self._model, tensors, feeds).items()
        }

    def quantised(self, keep: Collection[str] = (), keep_fp32: Collection[str] = ()) -> onnx.ModelProto:
        """A new model. Layers named in `keep` (see `name_nodes`) stay in FP16; other nodes named there, and `keep_fp32`, in FP32.

        Raises ValueError for an unknown node, or if no layer is left.
        """
        kept, fp32 = (known_nodes(self._wiring, names, self._gone) for names in (keep, keep_fp32))
        chosen = {name for name in self.layers if name not in kept | fp32}
        if not chosen:
            raise ValueError(NONE_LEFT)
        model = copy.deepcopy(self._model)
        _separate_shared_weights(model.graph, chosen)
        _Inserter(model, chosen, self._scales).run()
        return cast_precision(model, "fp16", keep_fp32=kept.difference(self.layers) | fp32)


def quantise_qdq(
    model: onnx.ModelProto,
    feeds: Iterable[Mapping[str, npt.NDArray[Any]]],
    *,
    keep: Collection[str] = (),
    keep_fp32: Collection[str] = (),
) -> onnx.ModelProto:
    """One INT8 form of `model`; see `Quantiser`."""
    return Quantiser(model, feeds).quantised(keep, keep_fp32)


def _quantisable(wiring: Wiring) -> list[str]:
    """Heavy nodes with constant weights that are followed by another heavy node, without the first layers."""
    depths: dict[str, int] = {}
    found = []
    for node, leads in zip(wiring.nodes, leading_to_heavy(wiring), strict=True):
        depth = max((depths.get(name, 0) for name in node.input), default=0)
        depths.update(dict.fromkeys(node.output, depth + (node.op_type in HEAVY)))
        has_weights = node.op_type in QUANTISED and node.input[1] in wiring.constants and wiring.is_float(node.input[1])
        has_weights = has_weights and node.input[0] not in wiring.constants
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


class _Inserter:
    """Puts a pair of QuantizeLinear and DequantizeLinear before the chosen layers, and stores their weights as INT8."""

    def __init__(self, model: onnx.ModelProto, chosen: Collection[str], scales: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self.graph, self.chosen, self.scales = model.graph, chosen, scales
        wiring = Wiring(model)
        self.constants, self.axes = wiring.constants, output_axes(wiring)
        self.taken = tensor_names(model.graph) | {node.name for node in model.graph.node}
        self.ready: dict[str, str] = {}
        self.nodes: list[Any] = []

    def run(self) -> None:
        for source in self.graph.node:
            node = copy.deepcopy(source)
            if node.name in self.chosen:
                node.input[0], node.input[1] = self._activation(node.input[0]), self._weight(node.input[1])
            self.nodes.append(node)
        replace_entries(self.graph.node, self.nodes)
        read = {value.name for value in self.graph.output}.union(*map(tensors_read, self.graph.node))
        replace_entries(self.graph.initializer, [tensor for tensor in self.graph.initializer if tensor.name in read])

    def _activation(self, tensor: str) -> str:
        """The name of a tensor after both nodes, which all layers that read it share."""
        if tensor not in self.ready:
            facts = [
                self._store(f"{tensor}_scale", self.scales[tensor]),
                self._store(f"{tensor}_zero_point", np.array(0, np.int8)),
            ]
            steps = unused_name(f"{tensor}_quantized", self.taken)
            self.ready[tensor] = unused_name(f"{tensor}_dequantized", self.taken)
            self._add("QuantizeLinear", [tensor, *facts], steps)
            self._add("DequantizeLinear", [steps, *facts], self.ready[tensor])
        return self.ready[tensor]

    def _weight(self, name: str) -> str:
        """The name of a weight that is stored in steps of a scale per output channel.

        The scales are FP16 numbers. Rounding them afterwards would shift a whole channel, and the scale of a nearly dead channel
        would become zero, which TensorRT refuses. They are rounded up, so that the largest weight still fits.
        """
        import onnx

        if name not in self.ready:
            values = onnx.numpy_helper.to_array(self.constants[name]).astype(np.float64)
            axis = self.axes.get(name)
            others = None if axis is None else tuple(index for index in range(values.ndim) if index != axis)
            scales = _up_to_half((np.abs(values).max(axis=others, keepdims=True) / 127).astype(np.float32))
            steps = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
            inputs = [
                self._store(f"{name}_quantized", steps),
                self._store(f"{name}_scale", scales.reshape(()) if axis is None else scales.ravel()),
            ]
            self.ready[name] = unused_name(f"{name}_dequantized", self.taken)
            self._add("DequantizeLinear", inputs, self.ready[name], **({} if axis is None else {"axis": axis}))
        return self.ready[name]

    def _store(self, wanted: str, values: npt.NDArray[Any]) -> str:
        import onnx

        name = unused_name(wanted, self.taken)
        self.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **settings: Any) -> None:
        import onnx

        name = unused_name(f"{output}_{kind}", self.taken)
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name, **settings))


def _up_to_half(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The next larger FP16 numbers, at least the smallest one."""
    halves = np.clip(scales, 2.0**-24, 65504.0).astype(np.float16)
    return np.where(halves < scales, np.nextafter(halves, np.float16(np.inf)), halves).astype(np.float32)
