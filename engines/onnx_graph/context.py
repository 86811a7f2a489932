"""Networks whose every output depends on the whole input: another size, or other padding, changes all of them a little."""

from collections.abc import Collection
from typing import Any

from engines.onnx_graph.precision.wiring import constants

_WHOLE = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "InstanceNormalization")
_SPATIAL = ({2, 3}, {1, 2})
"""Rows and columns of [N, C, H, W] and of [N, H, W, C]."""


def looks_at_all(model: Any) -> str:
    """The node that makes each output depend on the whole input, by its type: a pooling over all of it, or attention; or ""."""
    from onnx import numpy_helper

    known = dict(constants(model))
    for node in model.graph.node:
        if node.op_type in _WHOLE:
            return str(node.op_type)
        if node.op_type.startswith("Reduce"):
            axes: Collection[int] = next((attribute.ints for attribute in node.attribute if attribute.name == "axes"), ())
            if len(node.input) > 1 and node.input[1] in known:
                axes = numpy_helper.to_array(known[node.input[1]]).ravel().tolist()
            if any(spatial <= {axis % 4 for axis in axes} for spatial in _SPATIAL):
                return str(node.op_type)
        if node.op_type == "MatMul" and not known.keys() & set(node.input):
            return "attention"
    return ""
