"""Fuse: append to a network's graph what makes its answer small, so that little is downloaded and little left to decode.

logits (N, C, H, W)            ▶ labels (N, H, W) uint8, and for cards with things also confidence (N, H, W) uint8
labels (N, H, W) int64         ▶ labels (N, H, W) uint8
predictions (N, 4 + C + K, A)  ▶ candidates (N, k, 10 + K): the k best anchors

What comes out of the family is the same as before, on every backend. What has nothing to fuse comes back as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engines.errors import ModelFileError
from engines.models.card import ModelCard
from engines.onnx_graph.editing import GraphEditor, Shape, check, input_of, opset_of, tensor_facts
from engines.types import VOID_CLASS

OLDEST_OPSET = 11
"""GatherElements and Round begin here. An older network runs unfused."""

TOP_K = 1000
"""As many as the family looks at, so no answer changes. In eight real clips up to 148 anchors passed a score of 0.1, and 300
would have done; in nine crowds put into one picture 516, and 300 lost 138 of 493 objects (13 of 364 at a score of 0.25). 168 KB
come down instead of 3.9 MB; 300 anchors would be 50 KB, beside 3.3 MB of prototypes either way."""

PREFIX = "fused"


def fuse_outputs(model: Any, card: ModelCard, *, top_k: int = TOP_K) -> tuple[Any, ModelCard]:
    """A new onnx.ModelProto with small outputs, and the card that describes it; the pair given where nothing can be fused.

    Outputs that the card does not name are dropped, and with them what only they needed. Fusing twice is fusing once.
    top_k: anchors kept of a detector's. Raises ModelFileError when the card names outputs that the network lacks, ValueError for
    a top_k below 1. A card that its family refuses comes back as it is.
    """
    if top_k < 1:
        raise ValueError(f"top_k {top_k} must be 1 or more")
    outputs = {value.name for value in model.graph.output}
    missing = [tensor for tensor in card.outputs.values() if tensor not in outputs]
    if missing:
        raise ModelFileError(f"{card.name}: the network has no output {', '.join(missing)}; correct `outputs` in its card")
    if opset_of(model) < OLDEST_OPSET:
        return model, card
    if card.family == "semantic" and "logits" in card.outputs:
        return _fuse_logits(model, card)
    if card.family == "semantic" and "labels" in card.outputs:
        return _fuse_labels(model, card)
    if card.family == "yolo_seg" and {"predictions", "prototypes"} <= set(card.outputs):
        return _fuse_predictions(model, card, top_k)
    return model, card


def _fuse_logits(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    import onnx

    logits = card.outputs["logits"]
    elem_type, shape = tensor_facts(model, card.input, [logits])[logits]
    grid = [length for length in shape[2:] if length]
    if len(shape) != 4 or shape[1] != len(card.classes) or len(grid) != 2 or _padding_begins_inside_a_cell(card, shape):
        return model, card
    batch = batch_of(model, card)
    edit = GraphEditor(model, PREFIX)
    # Rows and columns as one axis: OpenVINO keeps maps channels last, and reduces those over channels ten times slower.
    flat = edit.add("Reshape", [logits, edit.integers("flat/shape", [0, 0, -1])], "flat")

    def as_map(numbers: str, name: str) -> tuple[str, int, tuple[Any, ...]]:
        rows = edit.add("Reshape", [numbers, edit.integers(f"{name}/shape", [0, *grid])], f"{name}/map")
        return _as_bytes(edit, rows, name), onnx.TensorProto.UINT8, (batch, *grid)

    # The first of equals wins, as in the family's own argmax.
    made = {"labels": as_map(edit.add("ArgMax", [flat], "labels/argmax", axis=1, keepdims=0), "labels")}
    if card.things:
        made["confidence"] = as_map(_confidence(edit, flat, elem_type), "confidence")
    # Bytes hold no NaN: this one number tells of every one, and of every infinity, among the logits.
    # In float32: halves overflow when so many are added up.
    exact = flat if elem_type == onnx.TensorProto.FLOAT else edit.add("Cast", [flat], "exact", to=onnx.TensorProto.FLOAT)
    mean = edit.reduce("ReduceMean", exact, [1, 2], "mean", keepdims=False, output="logit_mean")
    made["logit_mean"] = (mean, onnx.TensorProto.FLOAT, (batch,))
    edit.set_outputs(made.values())
    edit.pin_size(card.input)
    return _checked(edit, card, {role: tensor for role, (tensor, _, _) in made.items()})


def _padding_begins_inside_a_cell(card: ModelCard, shape: Shape) -> bool:
    """Coarse logits of a letterboxed frame: the family cuts the padding off between interpolated logits, which labels are not."""
    height, width = card.input.size.height, card.input.size.width
    return card.input.fit != "stretch" and shape[2:] != (height, width)


def _confidence(edit: GraphEditor, logits: str, elem_type: int) -> str:
    """255 x the largest softmax probability, 1 / sum(exp(logit - largest)): 30 times as fast as ONNX Runtime's Softmax."""
    largest = edit.reduce("ReduceMax", logits, [1], "confidence/largest", keepdims=True)
    below = edit.add("Sub", [logits, largest], "confidence/below")
    shares = edit.add("Exp", [below], "confidence/shares")
    total = edit.reduce("ReduceSum", shares, [1], "confidence/total", keepdims=False)
    full = edit.constant("confidence/full", 255.0, elem_type)
    scaled = edit.add("Div", [full, total], "confidence/scaled")
    return edit.add("Round", [scaled], "confidence/rounded")


def _fuse_labels(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    import onnx

    kinds = onnx.TensorProto
    labels = card.outputs["labels"]
    facts = tensor_facts(model, card.input)
    elem_type, shape = facts[labels]
    if elem_type not in (kinds.INT16, kinds.INT32, kinds.INT64, kinds.UINT16, kinds.UINT32, kinds.UINT64):
        return model, card
    edit = GraphEditor(model, PREFIX)
    index = labels
    if not _are_channel_numbers(edit, facts, labels):
        index = edit.add("Cast", [labels], "labels/wide", to=kinds.INT64)
        least, void = (
            edit.constant(f"labels/{name}", value, kinds.INT64) for name, value in (("least", 0), ("void", VOID_CLASS))
        )
        below, above = (edit.add(op, [index, limit], f"labels/{op}") for op, limit in (("Less", least), ("Greater", void)))
        strange = edit.add("Or", [below, above], "labels/strange")
        index = edit.add("Where", [strange, void, index], "labels/bounded")
    names = (batch_of(model, card), "rows", "columns", "one") if len(shape) > 2 else ("rows", "columns")
    dims = tuple(length or name for length, name in zip(shape, names, strict=False))
    if len(shape) > 2:
        dims = (names[0], *dims[1:])
    made = _as_bytes(edit, index, "labels")
    edit.set_outputs([(made, kinds.UINT8, dims)], kept=[tensor for role, tensor in card.outputs.items() if role != "labels"])
    return _checked(edit, card, {**card.outputs, "labels": made})


def _are_channel_numbers(edit: GraphEditor, facts: Mapping[str, tuple[int, Shape]], labels: str) -> bool:
    """Whether they come from an argmax over so few channels that a byte holds each."""
    node = edit.producers.get(labels)
    while node is not None and node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Cast"):
        node = edit.producers.get(node.input[0])
    if node is None or node.op_type != "ArgMax":
        return False
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    shape = facts.get(node.input[0], (0, ()))[1]
    count = shape[axis] if -len(shape) <= axis < len(shape) else None
    return count is not None and count <= VOID_CLASS + 1


def _as_bytes(edit: GraphEditor, numbers: str, output: str) -> str:
    """Last of all, since TensorRT knows uint8 at inputs and outputs only; and from floats, the way its documentation names."""
    import onnx

    floats = edit.add("Cast", [numbers], f"{output}/float", to=onnx.TensorProto.FLOAT)
    return edit.add("Cast", [floats], f"{output}/bytes", output=output, to=onnx.TensorProto.UINT8)


def _fuse_predictions(model: Any, card: ModelCard, top_k: int) -> tuple[Any, ModelCard]:
    predictions, prototypes = card.outputs["predictions"], card.outputs["prototypes"]
    edit = GraphEditor(model, PREFIX)
    joined = _joined(edit, predictions)
    facts = tensor_facts(model, card.input, [predictions, *joined])
    elem_type, shape = facts[predictions]
    if len(shape) != 3 or shape[1] is None or shape[2] is None:
        return model, card
    class_count = len(card.classes)
    mask_count = shape[1] - 4 - class_count
    if mask_count < 1:
        return model, card  # whoever decodes it says what its card has wrong
    counts = (4, class_count, mask_count)
    # Without the join nothing copies all anchors' numbers, and a cast to FP16 can leave the boxes as they are.
    is_joined_so = [facts[part][1][1] if part in facts else None for part in joined] == list(counts)
    boxes, scores, coefficients = joined if is_joined_so else _split(edit, predictions, counts)
    count = min(top_k, shape[2])
    best = edit.reduce("ReduceMax", scores, [1], "best", keepdims=True)
    anchors = _best_anchors(edit, best, count)

    def gather(rows: str, row_count: int, name: str) -> str:
        """The columns of the best anchors: Gather would take one list of them for the whole batch."""
        spread = edit.add("Expand", [anchors, edit.integers(f"{name}/shape", [1, row_count, 1])], f"{name}/anchors")
        return edit.add("GatherElements", [rows, spread], name, axis=2)

    box = gather(boxes, 4, "boxes")
    # Whole pixels and what is left of them: as halves, the two together are exact to 1/4096 of a pixel, one number to 1/2.
    whole = edit.add("Round", [box], "boxes/whole")
    left = edit.add("Sub", [box, whole], "boxes/left")
    class_id = edit.add("ArgMax", [gather(scores, class_count, "scores")], "class_id/argmax", axis=1, keepdims=1)
    class_id = edit.add("Cast", [class_id], "class_id", to=elem_type)
    score = _told_of_nan(edit, gather(best, 1, "score"), scores)
    parts = [whole, left, score, class_id, gather(coefficients, mask_count, "coefficients")]
    columns = edit.add("Concat", parts, "candidates/columns", axis=1)
    candidates = edit.add("Transpose", [columns], "candidates", output="candidates", perm=[0, 2, 1])
    dims = (batch_of(model, card), count, 10 + mask_count)
    edit.set_outputs([(candidates, elem_type, dims)], kept=[prototypes])
    edit.pin_size(card.input)
    return _checked(edit, card, {"candidates": candidates, "prototypes": prototypes})


def _best_anchors(edit: GraphEditor, best: str, count: int) -> str:
    """(N, 1, count) places of the highest of `best`, rising: runtimes differ in how they order equals, which NMS would show."""
    import onnx

    k = edit.integers("k", [count])
    outputs = ("fused/top:scores", "fused/top:anchors")
    top = edit.add_many("TopK", [best, k], "top", outputs, axis=2, largest=1, sorted=1)[1]
    # In 32 bits, which older TensorRTs sort; a gather wants 64 again.
    short = edit.add("Cast", [top], "top/short", to=onnx.TensorProto.INT32)
    outputs = ("fused/anchors:rising", "fused/anchors:places")
    rising = edit.add_many("TopK", [short, k], "anchors", outputs, axis=2, largest=0, sorted=1)[0]
    return edit.add("Cast", [rising], "anchors/long", to=onnx.TensorProto.INT64)


def _told_of_nan(edit: GraphEditor, score: str, scores: str) -> str:
    """`score`, and NaN throughout where any of all anchors' scores is: no maximum on the way here lets one through."""
    mean = edit.reduce("ReduceMean", scores, [1, 2], "scores/mean", keepdims=True)
    return edit.add("Where", [edit.add("IsNaN", [mean], "scores/is_nan"), mean, score], "scores/best")


def _split(edit: GraphEditor, tensor: str, counts: Sequence[int]) -> list[str]:
    """So many rows each of `tensor`: boxes, class scores, coefficients. OpenVINO 2026.4 loses the first of three slices."""
    names = [f"fused/{name}/rows:0" for name in ("boxes", "scores", "coefficients")]
    if edit.opset >= 13:
        return edit.add_many("Split", [tensor, edit.integers("rows/counts", counts)], "rows", names, axis=1)
    return edit.add_many("Split", [tensor], "rows", names, axis=1, split=list(counts))


def _joined(edit: GraphEditor, tensor: str) -> list[str]:
    """The tensors that were joined along axis 1 into `tensor`; joins of joins opened."""
    node = edit.producers.get(tensor)
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"] if node is not None else []
    if node is None or node.op_type != "Concat" or axes not in ([1], [-2]):
        return [tensor]
    return [part for name in node.input for part in _joined(edit, name)]


def batch_of(model: Any, card: ModelCard) -> int | str:
    """The length, or the name, of the batch axis of the network's input."""
    dim = input_of(model, card.input.tensor).type.tensor_type.shape.dim[0]
    return int(dim.dim_value) or str(dim.dim_param) or "batch"


def _checked(edit: GraphEditor, card: ModelCard, outputs: dict[str, str]) -> tuple[Any, ModelCard]:
    """The edited graph, once ONNX's own checker agrees, and its card: the file it described is another's now."""
    check(edit.model, f"{card.name}: fused")
    return edit.model, msgspec.structs.replace(card, outputs=outputs, sha256="")
