"""Parts of graphs that make outputs small, which families put together in their `fuse`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engines.models.card import ModelCard
from engines.onnx_graph.editing import GraphEditor, Shape, check, input_of

PREFIX = "fused"
"""Of the names of the nodes and tensors that are added."""


def as_bytes(edit: GraphEditor, numbers: str, output: str) -> str:
    """The last node, since TensorRT has uint8 at inputs and outputs only; and from floats, the way its documentation names."""
    import onnx

    floats = edit.add("Cast", [numbers], f"{output}/float", to=onnx.TensorProto.FLOAT)
    return edit.add("Cast", [floats], f"{output}/bytes", output=output, to=onnx.TensorProto.UINT8)


def largest_share(edit: GraphEditor, logits: str, elem_type: int) -> str:
    """255 x the largest softmax probability, 1 / sum(exp(logit - largest)): 30 times as fast as ONNX Runtime's Softmax."""
    largest = edit.reduce("ReduceMax", logits, [1], "confidence/largest", keepdims=True)
    below = edit.add("Sub", [logits, largest], "confidence/below")
    shares = edit.add("Exp", [below], "confidence/shares")
    total = edit.reduce("ReduceSum", shares, [1], "confidence/total", keepdims=False)
    full = edit.constant("confidence/full", 255.0, elem_type)
    scaled = edit.add("Div", [full, total], "confidence/scaled")
    return edit.add("Round", [scaled], "confidence/rounded")


def largest_byte(edit: GraphEditor, shares: str, elem_type: int) -> str:
    """255 x the largest of shares in 0..1, which a cubic resize may have taken a little beyond."""
    largest = edit.reduce("ReduceMax", shares, [1], "confidence/largest", keepdims=False)
    full, nought = (edit.constant(f"confidence/{name}", value, elem_type) for name, value in (("full", 255.0), ("least", 0.0)))
    scaled = edit.add("Mul", [largest, full], "confidence/scaled")
    bounded = edit.add("Min", [edit.add("Max", [scaled, nought], "confidence/above"), full], "confidence/bounded")
    return edit.add("Round", [bounded], "confidence/rounded")


def are_channel_numbers(edit: GraphEditor, facts: Mapping[str, tuple[int, Shape]], labels: str, most: int) -> bool:
    """Whether `labels` come from an argmax over at most so many channels."""
    node = edit.producers.get(labels)
    while node is not None and node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Cast"):
        node = edit.producers.get(node.input[0])
    if node is None or node.op_type != "ArgMax":
        return False
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    shape = facts.get(node.input[0], (0, ()))[1]
    count = shape[axis] if -len(shape) <= axis < len(shape) else None
    return count is not None and count <= most


def best_columns(edit: GraphEditor, scores: str, count: int) -> str:
    """(N, 1, count) places of the highest of `scores`, rising: runtimes differ in how they order equals, which NMS would show."""
    import onnx

    k = edit.integers("k", [count])
    outputs = ("fused/top:scores", "fused/top:anchors")
    top = edit.add_many("TopK", [scores, k], "top", outputs, axis=2, largest=1, sorted=1)[1]
    # In 32 bits, which older TensorRTs sort; a gather needs 64 again.
    short = edit.add("Cast", [top], "top/short", to=onnx.TensorProto.INT32)
    outputs = ("fused/anchors:rising", "fused/anchors:places")
    rising = edit.add_many("TopK", [short, k], "anchors", outputs, axis=2, largest=0, sorted=1)[0]
    return edit.add("Cast", [rising], "anchors/long", to=onnx.TensorProto.INT64)


def with_nan(edit: GraphEditor, best: str, scores: str) -> str:
    """`best`, and NaN throughout where any of `scores` is: the maximum that made `best` drops NaN."""
    mean = edit.reduce("ReduceMean", scores, [1, 2], "scores/mean", keepdims=True)
    return edit.add("Where", [edit.add("IsNaN", [mean], "scores/is_nan"), mean, best], "scores/best")


def parts_of(edit: GraphEditor, tensor: str, counts: Sequence[int]) -> list[str]:
    """So many rows each of `tensor`: boxes, class scores, coefficients. OpenVINO 2026.4 loses the first of three slices."""
    names = [f"fused/{name}/rows:0" for name in ("boxes", "scores", "coefficients")]
    if edit.opset >= 13:
        return edit.add_many("Split", [tensor, edit.integers("rows/counts", counts)], "rows", names, axis=1)
    return edit.add_many("Split", [tensor], "rows", names, axis=1, split=list(counts))


def joined(edit: GraphEditor, tensor: str) -> list[str]:
    """The tensors that were joined along axis 1 into `tensor`; joins of joins opened."""
    node = edit.producers.get(tensor)
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"] if node is not None else []
    if node is None or node.op_type != "Concat" or axes not in ([1], [-2]):
        return [tensor]
    return [part for name in node.input for part in joined(edit, name)]


def batch_of(model: Any, card: ModelCard) -> int | str:
    """The length, or the name, of the batch axis of the network's input."""
    dim = input_of(model, card.input.tensor).type.tensor_type.shape.dim[0]
    return int(dim.dim_value) or str(dim.dim_param) or "batch"


def checked(edit: GraphEditor, card: ModelCard, outputs: dict[str, str]) -> tuple[Any, ModelCard]:
    """The edited graph, once ONNX's own checker agrees, and its card, without the hash of the file it came from."""
    check(edit.model, f"{card.name}: fused")
    return edit.model, msgspec.structs.replace(card, outputs=outputs, sha256="")
