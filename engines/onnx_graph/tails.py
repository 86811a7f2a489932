"""Tails: what a graph's last nodes say of its outputs: that a softmax or a sigmoid is inside, or which INT8 step they have."""

from typing import Any

PASSED = frozenset(
    {
        *("Cast", "Clip", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Pad"),
        *("QuantizeLinear", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample"),
    }
)
"""They move values, or blend neighbours, and make no probabilities of what was none. Only their first input is data."""

MEANINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "HardSigmoid": "sigmoid", "LogSoftmax": "log_softmax"}


def activations(model: Any) -> dict[str, str]:
    """Output → "softmax", "sigmoid" or "log_softmax", where such a node made its values, however they were moved since."""
    makers = _makers(model)
    found = {value.name: _activation(value.name, makers, set()) for value in model.graph.output}
    return {name: meaning for name, meaning in found.items() if meaning}


def scales(model: Any) -> dict[str, float]:
    """Output → the step of its values, where they come out of one DequantizeLinear with one scale."""
    import onnx

    makers = _makers(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for value in model.graph.output:
        name, seen = value.name, set[str]()
        while (node := makers.get(name)) is not None and name not in seen and node.input:
            seen.add(name)
            if node.op_type == "DequantizeLinear":
                scale = constants.get(node.input[1]) if len(node.input) > 1 else None
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


def _activation(tensor: str, makers: dict[str, Any], seen: set[str]) -> str:
    while (node := makers.get(tensor)) is not None and tensor not in seen and node.input:
        seen.add(tensor)
        if node.op_type in MEANINGS:
            return MEANINGS[node.op_type]
        if node.op_type == "Div" and len(node.input) == 2:
            return "softmax" if _is_share(node, makers) else ""
        if node.op_type == "Concat":
            parts = {_activation(part, makers, seen) for part in list(node.input)[:MOST_PARTS]}
            return parts.pop() if len(parts) == 1 else ""
        if node.op_type not in PASSED:
            return ""
        tensor = node.input[0]
    return ""


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
