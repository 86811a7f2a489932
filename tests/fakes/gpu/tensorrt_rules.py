"""What TensorRT's parser refuses of a valid ONNX graph, as far as this project's networks could hold it.

From the comments of NvInferRuntime.h (UINT8), docs/operators.md of onnx-tensorrt (10.3 to 10.15) and its importers. Real parsers
of newer versions accept some of it; the oldest that the project supports, 10.3, is the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto

LIMIT_OF_K = 3840
OPSET_OF_NEW_GROUPS = 21

NEVER = frozenset(
    {
        "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Col2Im",
        "CenterCropPad", "Compress", "ConcatFromSequence", "ConvInteger", "DFT", "Det", "DynamicQuantizeLinear",
        "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial",
        "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv",
        "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
        "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat",
        "StringNormalizer", "StringSplit", "TfIdfVectorizer", "Unique",
    }
)  # fmt: skip
"""Operators with an N in the parser's table."""


def refusals(model: onnx.ModelProto) -> list[tuple[Any, str]]:
    """The nodes that are refused, and why."""
    return list(_refusals(model))


def _refusals(model: onnx.ModelProto) -> Iterator[tuple[Any, str]]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    inputs, outputs = ({value.name for value in values} for values in (graph.input, graph.output))
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    for node in graph.node:
        given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type in NEVER:
            yield node, f"No importer registered for op: {node.op_type}"
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Constant"):
            yield from ((node, reason) for reason in _of_bytes(node, types, inputs, outputs))
        if node.op_type == "TopK":
            count = constants.get(node.input[1]) if len(node.input) > 1 else None
            if count is not None and int(onnx.numpy_helper.to_array(count).ravel()[0]) >= LIMIT_OF_K:
                yield node, f"TopK: K exceeds the maximum value allowed ({LIMIT_OF_K})"
            if not given.get("sorted", 1):
                yield node, "TopK: sorted must be 1"
        if node.op_type == "GroupNormalization" and opset >= OPSET_OF_NEW_GROUPS:
            yield node, "GroupNormalization: the scale's size is not the number of groups"
        if node.op_type == "MaxPool" and len([name for name in node.output if name]) > 1:
            yield node, "MaxPool: the output Indices is not supported"
        if node.op_type in ("MaxPool", "AveragePool", "LpPool") and any(step != 1 for step in given.get("dilations", [])):
            yield node, f"{node.op_type}: dilations must be all ones"
        if node.op_type == "Resize" and given.get("antialias", 0):
            yield node, "Resize: antialiasing is not supported"
        if node.op_type == "LayerNormalization" and len([name for name in node.output if name]) > 1:
            yield node, "LayerNormalization: only the first output is supported"


def _of_bytes(node: Any, types: dict[str, int], inputs: set[str], outputs: set[str]) -> Iterator[str]:
    """UINT8 is only for inputs and outputs, and is converted from and to FLOAT and HALF only."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    sources = [name for name in node.input if types.get(name) == TensorProto.UINT8]
    targets = [name for name in node.output if types.get(name) == TensorProto.UINT8]
    if node.op_type != "Cast":
        if sources or targets:
            yield f"{node.op_type} has no UINT8"
        return
    before, after = types.get(node.input[0], 0), types.get(node.output[0], 0)
    names = f"{TensorProto.DataType.Name(before)} -> {TensorProto.DataType.Name(after)}"
    if (sources and after not in floats) or (targets and before not in floats):
        yield f"Cast {names}: UINT8 conversions are only supported for FLOAT and HALF"
    elif (sources and node.input[0] not in inputs) or (targets and node.output[0] not in outputs):
        yield f"Cast {names}: UINT8 is only supported as network input or output"
