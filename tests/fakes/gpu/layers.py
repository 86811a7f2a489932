"""The layers that TensorRT makes from an ONNX graph, as the engine inspector lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

HEAVY = {"Conv": "CaskConvolution", "ConvTranspose": "CaskDeconvolutionV2", "MatMul": "CaskGemm", "Gemm": "CaskGemm"}
POINTWISE = frozenset(
    {
        "Relu", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Clip", "LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid",
        "Exp", "Log", "Sqrt", "Pow", "Softplus", "Greater", "Less", "Neg", "Abs", "Min", "Max", "Where", "Erf", "Not", "And",
        "Or", "Equal", "Floor", "Ceil", "Round", "Reciprocal", "BatchNormalization",
    }
)  # fmt: skip
KINDS = {
    "MaxPool": "CaskPooling", "AveragePool": "CaskPooling", "GlobalAveragePool": "CaskPooling", "Softmax": "CaskSoftMaxV2",
    "Resize": "Resize", "Slice": "Slice", "ArgMax": "TopK", "TopK": "TopK", "Gather": "Gather", "Cast": "Cast",
    "QuantizeLinear": "Quantize", "DequantizeLinear": "Dequantize", "Split": "Slice", "ReduceMean": "Reduce",
    "ReduceSum": "Reduce", "ReduceMax": "Reduce", "InstanceNormalization": "Normalization", "LayerNormalization": "Normalization",
}  # fmt: skip
IDLE = frozenset(
    {
        "Reshape", "Transpose", "Concat", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand", "Pad", "DepthToSpace",
        "SpaceToDepth", "Tile",
    }
)  # fmt: skip
UNSEEN = frozenset(["Constant", "Shape", "ConstantOfShape", "Range"])
"""Folded away while building."""

WORDS = {1: "Float", 2: "UInt8", 3: "Int8", 6: "Int32", 7: "Int64", 9: "Bool", 10: "Half", 16: "BFloat16", 17: "FP8"}
FORMATS = {
    "Float": "Row major linear FP32", "Half": "Row major linear FP16 format", "Int8": "Row major linear Int8 format",
    "Int32": "Row major Int32 format", "Int64": "Row major linear INT64 format", "Bool": "Row major Bool format",
    "BFloat16": "Row major linear BF16 format", "UInt8": "Row major linear UInt8 format", "FP8": "Row major linear FP8 format",
}  # fmt: skip


@dataclass
class Layer:
    name: str
    kind: str
    inputs: list[str]
    outputs: list[str]
    weights: tuple[str, int] | None = None
    nodes: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """lowers_to: the type that floats become. is_flat: they become Float in any case."""

    lowers_to: str = ""
    is_flat: bool = False
    fuses: bool = True
    dla_refuses: frozenset[str] | None = None


class LayerList:
    """The layers of a graph. Types and shapes are those that ONNX infers."""

    def __init__(self, model: onnx.ModelProto, options: Options) -> None:
        self._options = options
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._types: dict[str, int] = {tensor.name: tensor.data_type for tensor in graph.initializer}
        self._shapes: dict[str, list[int]] = {}
        for value in (*graph.input, *graph.output, *graph.value_info):
            self._types[value.name] = value.type.tensor_type.elem_type
            self._shapes[value.name] = [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, int] = {}
        for node in graph.node:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1
        self.layers: list[Layer] = []
        for index, node in enumerate(graph.node):
            self._add(node, node.name or f"{node.op_type}_{index}")
        if options.dla_refuses is not None:
            self.layers = self._on_dla(options.dla_refuses)

    def names(self) -> list[str]:
        return [layer.name for layer in self.layers]

    def to_json(self, version: str, verbosity: str, inputs_and_outputs: list[str]) -> str:
        """The inspector's report."""
        major = int(version.split(".")[0])
        layers: list[Any] = self.names()
        if verbosity == "DETAILED":
            layers = [self._entry(layer, major) for layer in self.layers]
        elif verbosity == "NONE":
            layers = [str(index) for index in range(len(layers))]
        return json.dumps({"Layers": layers, "I/O Tensors" if major >= 11 else "Bindings": inputs_and_outputs})

    def _add(self, node: Any, name: str) -> None:
        kind = node.op_type
        if kind in UNSEEN or self._is_quantisation_of(node):
            return
        inputs = [self._source(name) for name in node.input if name and not self._is_constant(name)]
        if self._options.fuses and kind in POINTWISE and (host := self._fuses_into(node)) is not None:
            host.name += f" + {name}"
            host.outputs = list(node.output)
            host.nodes.append(node)
            return
        if kind in HEAVY:
            layer_kind = HEAVY[kind]
        elif kind in POINTWISE:
            layer_kind, name = "PointWiseV2", f"PWN({name})"
        else:
            layer_kind = KINDS.get(kind, "Shuffle" if kind in IDLE else kind)
        weights = self._weights(node) if kind in HEAVY else None
        self.layers.append(Layer(name, layer_kind, inputs, list(node.output), weights, [node]))

    def _fuses_into(self, node: Any) -> Layer | None:
        if not self.layers or self.layers[-1].kind not in HEAVY.values():
            return None
        last = self.layers[-1]
        alone = [name for name in node.input if not self._is_constant(name)] == last.outputs
        return last if alone and self._readers.get(last.outputs[0]) == 1 else None

    def _is_quantisation_of(self, node: Any) -> bool:
        """A DequantizeLinear, or a QuantizeLinear of weights: its readers read int8 instead."""
        return node.op_type == "DequantizeLinear" or (node.op_type == "QuantizeLinear" and self._is_constant(node.input[0]))

    def _source(self, name: str) -> str:
        maker = self._makers.get(name)
        return str(maker.input[0]) if maker is not None and maker.op_type == "DequantizeLinear" else name

    def _is_constant(self, name: str) -> bool:
        if name in self._constants:
            return True
        maker = self._makers.get(name)
        if maker is None:
            return False
        folded = maker.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity") and self._is_constant(maker.input[0])
        return maker.op_type == "Constant" or folded

    def _weights(self, node: Any) -> tuple[str, int] | None:
        name = next((name for name in node.input[1:] if self._is_constant(name)), None)
        if name is None:
            return None
        source, kind = self._source(name), self._types.get(self._source(name), 1)
        maker = self._makers.get(source)
        if maker is not None and maker.op_type == "QuantizeLinear":
            kind, source = onnx.TensorProto.INT8, maker.input[0]
        while source not in self._constants and source in self._makers and self._makers[source].input:
            source = self._makers[source].input[0]
        count = int(np.prod(self._constants[source].dims)) if source in self._constants else 1
        return self._word(kind), count

    def _word(self, kind: int) -> str:
        word = WORDS.get(kind, "Float")
        if self._options.is_flat and word in ("Half", "BFloat16", "Int8"):
            return "Float"
        return self._options.lowers_to if word == "Float" and self._options.lowers_to else word

    def _entry(self, layer: Layer, major: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"Name": layer.name, "LayerType": layer.kind}
        for key, names in (("Inputs", layer.inputs), ("Outputs", layer.outputs)):
            entry[key] = [self._tensor(name, major) for name in names if name]
        if layer.weights is not None:
            kind, count = layer.weights
            entry |= {"ParameterType": "Convolution", "Weights": {"Type": kind, "Count": count}, "HasBias": 0}
        entry |= {"TacticValue": "0x0000000000000000", "StreamId": 0}
        return entry | {"Metadata": "".join(f"[ONNX Layer: {node.name}]" for node in layer.nodes)}

    def _tensor(self, name: str, major: int) -> dict[str, Any]:
        word = self._word(self._types.get(name, 1))
        shape = self._shapes.get(name, [])
        kind = word if major >= 11 else FORMATS[word]
        return {"Name": name, "Location": "Device", "Dimensions": shape, "Format/Datatype": kind}

    def _on_dla(self, refuses: frozenset[str]) -> list[Layer]:
        """Consecutive layers that the DLA supports become one layer."""
        result: list[Layer] = []
        run: list[Layer] = []
        for layer in [*self.layers, None]:
            if layer is not None and not any(node.op_type in refuses for node in layer.nodes):
                run.append(layer)
                continue
            if run:
                name = f"{{ForeignNode[{run[0].name}...{run[-1].name}]}}"
                result.append(Layer(name, "DLA", run[0].inputs, run[-1].outputs, None, [n for part in run for n in part.nodes]))
                run = []
            if layer is not None:
                result.append(layer)
        return result
