"""Tails: what a graph's last nodes say of its outputs: that a softmax or a sigmoid is inside, or which INT8 step they have."""

from typing import Any

import numpy as np

from engines.onnx_graph.precision.wiring import constants

PASSED = frozenset(
    {
        *("Cast", "Clip", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Pad"),
        *("QuantizeLinear", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample"),
    }
)
"""They move values, or blend neighbours, and make no probabilities of what was none. Only their first input is data."""

MEANINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "HardSigmoid": "sigmoid", "LogSoftmax": "log_softmax"}


def activations(model: Any) -> dict[str, str]:
    """Output → "softmax", "sigmoid", "log_softmax" or "clip" (to 0..1), which made its values, however they were moved since."""
    makers = _makers(model)
    limits = {name: tensor for name, tensor in constants(model) if not any(length != 1 for length in tensor.dims)}
    found = {value.name: _activation(value.name, makers, limits, set()) for value in model.graph.output}
    return {name: meaning for name, meaning in found.items() if meaning}


def scales(model: Any) -> dict[str, float]:
    """Output → the step of its values, where they come out of one DequantizeLinear with one scale."""
    import onnx

    makers = _makers(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for value in model.graph.output:
        name, seen = value.name, set[str]()
        while (node := makers.get(name)) is not None and name not in seen and node.input:
            seen.add(name)
            if node.op_type == "DequantizeLinear":
                scale = weights.get(node.input[1]) if len(node.input) > 1 else None
                if scale is not None and scale.data_location != onnx.TensorProto.EXTERNAL and _length(scale) == 1:
                    found[value.name] = float(onnx.numpy_helper.to_array(scale).ravel()[0])
                break
            if node.op_type not in PASSED:
                break
            name = node.input[0]
    return found


def _makers(model: Any) -> dict[str, Any]:
    return {output: node for node in model.graph.node for output in node.output}


def _length(tensor: Any) -> int:
    length = 1
    for dim in tensor.dims:
        length *= dim
    return length


def _activation(tensor: str, makers: dict[str, Any], limits: dict[str, Any], seen: set[str]) -> str:
    while (node := makers.get(tensor)) is not None and tensor not in seen and node.input:
        seen.add(tensor)
        if node.op_type in MEANINGS:
            return MEANINGS[node.op_type]
        if node.op_type == "Clip" and _is_to_one(node, makers, limits):
            return _activation(node.input[0], makers, limits, seen) or "clip"
        if node.op_type == "Div" and len(node.input) == 2:
            return "softmax" if _is_share(node, makers) else ""
        if node.op_type == "Concat":
            parts = {_activation(part, makers, limits, seen) for part in list(node.input)[:MOST_PARTS]}
            return parts.pop() if len(parts) == 1 else ""
        if node.op_type not in PASSED:
            return ""
        tensor = node.input[0]
    return ""


def _is_to_one(node: Any, makers: dict[str, Any], limits: dict[str, Any]) -> bool:
    """Whether a Clip is one to 0..1."""
    import onnx

    given = [attribute.f for name in ("min", "max") for attribute in node.attribute if attribute.name == name]
    for name in list(node.input)[1:3]:
        tensor = limits.get(name)
        if tensor is not None and tensor.data_location != onnx.TensorProto.EXTERNAL:
            given += np.asarray(onnx.numpy_helper.to_array(tensor), np.float64).ravel().tolist()
    return given == [0.0, 1.0]


MOST_PARTS = 64
"""Of a Concat that are looked at: it nests, and a file may hold any number of them."""


def _is_share(node: Any, makers: dict[str, Any]) -> bool:
    """Whether a Div is a softmax in parts: exponentials by their sum."""
    above, below = makers.get(node.input[0]), makers.get(node.input[1])
    return (
        above is not None
        and below is not None
        and above.op_type == "Exp"
        and below.op_type == "ReduceSum"
        and below.input[0] == node.input[0]
    )


def label_counts(model: Any, shapes: dict[str, list[int]]) -> dict[str, int]:
    """Output → how many classes it numbers, where an ArgMax over a known number of channels made its labels; else 0.

    shapes: of tensors inside the graph, as far as they are known; 0 for an open dimension.
    """
    makers, found = _makers(model), {}
    for value in model.graph.output:
        name, seen = value.name, set[str]()
        while (node := makers.get(name)) is not None and name not in seen and node.input:
            seen.add(name)
            if node.op_type == "ArgMax":
                shape = shapes.get(node.input[0], [])
                axis = next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
                found[value.name] = shape[axis] if -len(shape) <= axis < len(shape) else 0
                break
            if node.op_type not in PASSED:
                break
            name = node.input[0]
    return found


def with_objectness(model: Any) -> frozenset[str]:
    """The outputs of rows whose columns are boxes, an objectness and scores, the latter two after sigmoids: YOLOX's heads."""
    makers = _makers(model)
    return frozenset(value.name for value in model.graph.output if _has_objectness(value.name, makers, set(), MOST_PARTS))


def _has_objectness(tensor: str, makers: dict[str, Any], seen: set[str], most: int) -> bool:
    """Whether a Concat of a box, a sigmoid and a sigmoid is found on the way back, through other joins, to rows of all grids."""
    while (node := makers.get(tensor)) is not None and tensor not in seen and node.input and len(seen) < 4 * most:
        seen.add(tensor)
        if node.op_type == "Concat":
            parts = [_activation(part, makers, {}, set()) for part in list(node.input)[:most]]
            if parts == ["", "sigmoid", "sigmoid"]:
                return True
            return any(_has_objectness(part, makers, seen, most) for part in list(node.input)[:most])
        if node.op_type not in PASSED | {"Add", "Mul", "Exp"}:
            return False
        tensor = node.input[0]
    return False
