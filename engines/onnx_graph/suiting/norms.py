"""Group normalisation through instance normalisation.

Since opset 21 it has a scale and bias per channel, which TensorRT 10.3's parser takes for those per group. A network cast to BF16
or INT8 has such an opset even if its file has an older one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.onnx_graph.precision.wiring import Wiring
from engines.onnx_graph.suiting.rewriting import Rewriter, attributes_of, label_of

if TYPE_CHECKING:
    import onnx

PER_CHANNEL_OPSET = 21
"""The first opset in which scale and bias have one value per channel instead of one per group."""


def without_group_normalisation(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model in which the groups are the channels of an instance normalisation; `model` itself if it has none.

    A node is kept if the rank of its input is unknown.
    """
    if not any(node.op_type == "GroupNormalization" for node in model.graph.node):
        return model
    rewriter, wiring = Rewriter(model), Wiring(model)

    def rewrite(node: Any) -> bool:
        rank = wiring.ranks.get(node.input[0]) if node.op_type == "GroupNormalization" else None
        if rank is None or not wiring.is_float(node.input[0]):
            return False
        _replace(rewriter, node, rank, is_per_channel=wiring.opset >= PER_CHANNEL_OPSET)
        return True

    return rewriter.model if rewriter.run(rewrite) else model


def _replace(rewriter: Rewriter, node: Any, rank: int, *, is_per_channel: bool) -> None:
    name, given = label_of(node), attributes_of(node)
    tensor, scale, bias = node.input
    groups = int(given["num_groups"])
    shape = rewriter.add("Shape", [tensor], f"{name}/shape")
    by_group = rewriter.constant(f"{name}/by_group", np.array([0, groups, -1]))
    rows = rewriter.add("Reshape", [tensor, by_group], f"{name}/groups")
    epsilon = float(given.get("epsilon", 1e-5))
    if not is_per_channel:
        even = rewriter.add("InstanceNormalization", [rows, scale, bias], f"{name}/normalise", epsilon=epsilon)
        rewriter.add("Reshape", [even, shape], name, node.output)
        return
    ones = rewriter.constant(f"{name}/ones", np.ones(groups, np.float32))
    noughts = rewriter.constant(f"{name}/noughts", np.zeros(groups, np.float32))
    even = rewriter.add("InstanceNormalization", [rows, ones, noughts], f"{name}/normalise", epsilon=epsilon)
    back = rewriter.add("Reshape", [even, shape], f"{name}/channels")
    across = rewriter.constant(f"{name}/across", np.array([1, -1, *[1] * (rank - 2)]))
    factors, offsets = (
        rewriter.add("Reshape", [each, across], f"{name}/{part}") for each, part in ((scale, "scale"), (bias, "bias"))
    )
    scaled = rewriter.add("Mul", [back, factors], f"{name}/scaled")
    rewriter.add("Add", [scaled, offsets], name, node.output)
