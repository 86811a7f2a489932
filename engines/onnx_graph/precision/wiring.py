"""An ONNX graph as the caster reads it: producers, readers and types of tensors; and small edits of a graph."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

FLOAT, FLOAT16, BFLOAT16 = 1, 10, 16
"""onnx.TensorProto's numbers of the three types that a cast converts between."""

LOW_TYPES = {"fp16": FLOAT16, "bf16": BFLOAT16}

TYPE_NAMES = {FLOAT: "fp32", FLOAT16: "fp16", BFLOAT16: "bf16"}

CONSTANTS_ALONE_IR = 4
"""The first IR version in which an initializer need not be listed among the graph's inputs too."""


class Wiring:
    """The top level of a graph whose nodes are in topological order. Read-only once made.

    types: tensor -> element type, where inference finds one. ranks: tensor -> number of dimensions, likewise.
    makers: tensor -> index of the node that produces it. readers: tensor -> indices of its readers, also in a subgraph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes: list[Any] = list(graph.node)
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = [value.name for value in graph.output]
        self.opset = opset_of(model)
        self.makers: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            self.makers.update((name, index) for name in node.output if name)
            for name in dict.fromkeys(tensors_read(node)):
                self.readers.setdefault(name, []).append(index)
        self.types, self.ranks = _types_and_ranks(model)

    def is_float(self, tensor: str) -> bool:
        """Whether the file stores it as float32: only these tensors change."""
        return self.types.get(tensor) == FLOAT

    def is_typed(self, node: Any) -> bool:
        """Whether the types of all inputs and outputs of a node are known. Those of custom operators often are not."""
        return all(name in self.types for name in (*node.input, *node.output) if name)

    def float_inputs(self, node: Any) -> list[str]:
        """The float32 inputs that change type with their node: all except the scales and the region of a resize."""
        names = node.input[:1] if node.op_type in ("Resize", "Upsample") else node.input
        return [name for name in names if name and self.is_float(name)]


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that `model` uses; 0 if it uses none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def constants(model: onnx.ModelProto) -> Iterator[tuple[str, Any]]:
    """Name and onnx.TensorProto of each constant of a graph: its initializers and the values of its Constant nodes."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def with_inferred_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred types and shapes; unchanged if ONNX cannot infer them, which does not mean that it cannot run."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # of several types
        return model


def subgraphs(node: Any) -> Iterator[Any]:
    """The bodies of an If, Loop or Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def tensors_read(node: Any) -> list[str]:
    """The tensors that a node reads, including those that its bodies (If, Loop, Scan) read from the graph around them."""
    return [name for name in (*node.input, *captures(node)) if name]


def captures(node: Any) -> list[str]:
    """The tensors of the outer graph that a node's bodies read, in order of first use."""
    found: dict[str, None] = {}
    for body in subgraphs(node):
        own = {value.name for value in (*body.input, *body.initializer)}
        own |= {name for inner in body.node for name in inner.output}
        read = [name for inner in body.node for name in (*inner.input, *captures(inner))]
        found.update((name, None) for name in (*read, *(v.name for v in body.output)) if name and name not in own)
    return list(found)


def rename_captures(node: Any, names: Mapping[str, str]) -> None:
    """Make the bodies of a node read the outer tensors under their new names. Changes the node."""
    for body in subgraphs(node):
        own = {value.name for value in (*body.input, *body.initializer)}
        own |= {name for inner in body.node for name in inner.output}
        outer = {old: new for old, new in names.items() if old not in own}
        for inner in body.node:
            inner.input[:] = [outer.get(name, name) for name in inner.input]
            rename_captures(inner, outer)
        for value in body.output:
            value.name = outer.get(value.name, value.name)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort the nodes of a graph, and those of the bodies in it, topologically. Changes the graph; keeps an order that is valid.

    Raises ModelFileError when the nodes form a cycle.
    """
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    waiting: list[set[int]] = []
    followers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        sources = {makers[name] for name in tensors_read(node) if name in makers}
        waiting.append(sources)
        for source in sources:
            followers.setdefault(source, []).append(index)
    ready = [index for index, sources in enumerate(waiting) if not sources]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for follower in followers.get(index, ()):
            waiting[follower].discard(index)
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    if len(order) < len(waiting):
        raise ModelFileError("the network's nodes form a cycle", "Export it again")
    if order != sorted(order):
        replace_entries(graph.node, [graph.node[index] for index in order])
    for node in graph.node:
        for body in subgraphs(node):
            sort_nodes(body)


def replace_entries(field: Any, entries: Iterable[Any]) -> None:
    """Replace the entries of a repeated protobuf field, such as `graph.node`, by copies of `entries`, which may be its own."""
    copies = [copy.deepcopy(entry) for entry in entries]
    del field[:]
    field.extend(copies)


def unused_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, with a number appended if it is taken. Adds the name to `taken`."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name of a graph and of the bodies in it."""
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    names |= {value.values.name for value in graph.sparse_initializer}
    for node in graph.node:
        names.update((*node.input, *node.output))
        for body in subgraphs(node):
            names |= tensor_names(body)
    return names


def as_type(tensor: onnx.TensorProto, element_type: int, name: str) -> onnx.TensorProto:
    """A copy of a float tensor in another float type, rounded to nearest; values beyond its range become infinite."""
    import onnx

    values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    if element_type == BFLOAT16:
        raw = bfloat16_bits(values).tobytes()
        return onnx.helper.make_tensor(name, BFLOAT16, values.shape, raw, raw=True)
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16) if element_type == FLOAT16 else values
    return onnx.numpy_helper.from_array(rounded, name)


def bfloat16_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper half of each float32, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def _types_and_ranks(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.HasField("tensor_type"):
            types[value.name] = value.type.tensor_type.elem_type
            if value.type.tensor_type.HasField("shape"):
                ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return types, ranks
