"""TopK for TensorRT: sorted, and with few results at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import ModelFileError
from engines.onnx_graph.precision.wiring import Wiring
from engines.onnx_graph.suiting.rewriting import Rewriter, attributes_of, label_of

if TYPE_CHECKING:
    import onnx

MOST = 3839
"""TensorRT's parser wants "less than 3840", its layer at most 3840."""

OLDEST_OPSET = 11
"""Of a TopK that can be split: GatherElements and ScatterElements begin here."""

MOST_ROUNDS = 8
"""Each round is a TopK over everything: more of them take longer than the rest of the network."""


def with_small_top_k(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model in which each TopK has sorted results and at most MOST of them; `model` itself if that is so already.

    A larger one becomes several: each takes the best of what those before it left. Values, indices and the order of equals stay
    the same. Raises ModelFileError if it would take more than MOST_ROUNDS. A TopK whose K is calculated is only sorted.
    """
    if not any(node.op_type == "TopK" for node in model.graph.node):
        return model
    rewriter, wiring = Rewriter(model), Wiring(model)

    def rewrite(node: Any) -> bool:
        if node.op_type != "TopK":
            return False
        count = _count_of(rewriter, node)
        if count is None or count <= MOST:
            return _sort(rewriter, node)
        if count > MOST * MOST_ROUNDS or wiring.opset < OLDEST_OPSET:
            raise ModelFileError(
                f"{label_of(node)} takes the best {count:,} of its input, and TensorRT gives less than 3,840",
                "Export it again with a smaller limit of detections, or run it on the CPU: --backend ort",
            )
        dtype = _dtype_of(wiring, node.input[0])
        if dtype is None:
            return _sort(rewriter, node)
        _split(rewriter, node, count, dtype)
        return True

    return rewriter.model if rewriter.run(rewrite) else model


def _count_of(rewriter: Rewriter, node: Any) -> int | None:
    import onnx

    if len(node.input) < 2:  # up to opset 9 an attribute
        return int(attributes_of(node)["k"])
    tensor = rewriter.constants.get(node.input[1])
    return int(onnx.numpy_helper.to_array(tensor).ravel()[0]) if tensor is not None else None


def _sort(rewriter: Rewriter, node: Any) -> bool:
    """Unsorted results may have any order, so also the sorted one. Returns whether the node was replaced."""
    if attributes_of(node).get("sorted", 1):
        return False
    for attribute in node.attribute:
        if attribute.name == "sorted":
            attribute.i = 1
    rewriter.keep(node)
    return True


def _dtype_of(wiring: Wiring, tensor: str) -> Any:
    import onnx

    found = wiring.types.get(tensor)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(found) if found is not None else None
    return dtype if dtype in (np.float32, np.float16, np.int32, np.int64) else None


def _split(rewriter: Rewriter, node: Any, count: int, dtype: Any) -> None:
    name, given = label_of(node), attributes_of(node)
    axis, is_largest = int(given.get("axis", -1)), int(given.get("largest", 1))
    left, taken = _bounded(rewriter, node, dtype, is_largest), []
    worst = rewriter.constant(f"{name}/worst", np.array(_worst(dtype, is_largest), dtype))
    for number, start in enumerate(range(0, count, MOST)):
        size = rewriter.constant(f"{name}/k{number}", np.array([min(MOST, count - start)]))
        outputs = [rewriter.fresh(f"{name}/{part}{number}") for part in ("values", "indices")]
        rewriter.add("TopK", [left, size], f"{name}/round{number}", outputs, axis=axis, largest=is_largest, sorted=1)
        taken.append(outputs[1])
        if start + MOST < count:  # what was taken becomes worse than everything else
            shape = rewriter.add("Shape", [outputs[1]], f"{name}/shape{number}")
            worse = rewriter.add("Expand", [worst, shape], f"{name}/worse{number}")
            left = rewriter.add("ScatterElements", [left, outputs[1], worse], f"{name}/left{number}", axis=axis)
    indices = rewriter.add("Concat", taken, f"{name}/indices", [node.output[1]], axis=axis)
    rewriter.add("GatherElements", [node.input[0], indices], name, [node.output[0]], axis=axis)


def _bounded(rewriter: Rewriter, node: Any, dtype: Any, is_largest: int) -> str:
    """The input without infinities of the bad kind, which could not be distinguished from what was taken."""
    if dtype not in (np.float32, np.float16):
        return str(node.input[0])
    limits = np.finfo(dtype)
    bound = rewriter.constant(f"{label_of(node)}/bound", np.array(limits.min if is_largest else limits.max, dtype))
    return rewriter.add("Clip", [node.input[0], *([bound] if is_largest else ["", bound])], f"{label_of(node)}/finite")


def _worst(dtype: Any, is_largest: int) -> Any:
    if dtype in (np.float32, np.float16):
        return -np.inf if is_largest else np.inf
    limits = np.iinfo(dtype)
    return limits.min if is_largest else limits.max
