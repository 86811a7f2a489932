"""What precision a network is really in: told by what its weights are stored in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from engines.onnx_graph.precision.rules import HEAVY
from engines.onnx_graph.precision.wiring import TYPE_NAMES

if TYPE_CHECKING:
    import onnx

INT8_TYPES = frozenset({2, 3})

INTEGER = {"ConvInteger": 2, "MatMulInteger": 2, "QLinearConv": 4, "QLinearMatMul": 4}
"""What multiplies integers themselves -> how many of its inputs can hold weights; the scales among them hold next to nothing."""

STORING = ("Cast", "DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Identity")
"""Nodes that hold the same numbers in another way."""


def main_precision(model: onnx.ModelProto) -> str:
    """ "fp32", "fp16", "bf16" or "int8": what most of the numbers are in that the network multiplies and accumulates with.

    A weight counts as what it is stored in, so one that is dequantised from int8 is "int8". A network without weights is "fp32".
    """
    counts: dict[str, int] = {}
    for _, tensors in stored_weights(model):
        for tensor in tensors:
            kind = "int8" if tensor.data_type in INT8_TYPES else TYPE_NAMES.get(tensor.data_type)
            if kind is not None:
                counts[kind] = counts.get(kind, 0) + math.prod(tensor.dims)
    return max(counts, key=lambda kind: counts[kind], default="fp32")


def stored_weights(model: onnx.ModelProto) -> list[tuple[Any, list[Any]]]:
    """Every node that multiplies and accumulates, and those of its factors that are constants, as they are stored."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            constants.update(zip(node.output, values, strict=False))
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = []
    for node in model.graph.node:
        if node.op_type in HEAVY or node.op_type in INTEGER:
            factors = node.input[: INTEGER.get(node.op_type, 2 if node.op_type != "Einsum" else None)]
            found = [_stored(name, constants, makers) for name in factors]
            weights.append((node, [tensor for tensor in found if tensor is not None]))
    return weights


def _stored(name: str, constants: dict[str, Any], makers: dict[str, Any]) -> Any:
    """The constant that a tensor is made of by nodes that only store it differently, or None."""
    passed: set[str] = set()
    while name not in constants:
        maker = makers.get(name)
        if maker is None or maker.op_type not in STORING or not maker.input or name in passed:  # a damaged file may go in circles
            return None
        passed.add(name)
        name = maker.input[0]
    return constants[name]
