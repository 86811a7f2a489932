"""A half-precision network for ONNX Runtime's CPU: each result is rounded as a GPU would store it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from engines.onnx_graph.precision.rules import NEUTRAL
from engines.onnx_graph.precision.wiring import (
    BFLOAT16,
    FLOAT,
    FLOAT16,
    Wiring,
    as_type,
    rename_captures,
    replace_entries,
    subgraphs,
    tensor_names,
    tensors_read,
    unused_name,
)

if TYPE_CHECKING:
    import onnx

EXACT = NEUTRAL - {"Dropout", "Resize", "Upsample"} | {"ConstantOfShape", "Constant"}
"""Operators whose results, for half-precision inputs, are half-precision numbers: there is nothing to round."""


def rounded_for_cpu(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model with the inputs, outputs and results of `model`, calculated by float32 kernels.

    Every result is rounded to the type it has in `model` and stored as float32 under the same name. `model` itself would run in
    float32 throughout: ONNX Runtime's CPU removes the casts between nodes, which hides overflows, and it has no bfloat16
    kernels. Without half precision in it, the model comes back unchanged.
    """
    result = copy.deepcopy(model)
    wiring = Wiring(result)
    low = {name: kind for name, kind in wiring.types.items() if kind in (FLOAT16, BFLOAT16)}
    if not low:
        return result
    _Rounder(result.graph, low).run()
    return result


class _Rounder:
    def __init__(self, graph: Any, low: dict[str, int]) -> None:
        self.graph = graph
        self.low = low
        self.taken = tensor_names(graph) | {node.name for node in graph.node}
        self.nodes: list[Any] = []
        self.names: dict[str, str] = {}
        self.halves: dict[str, str] = {}

    def run(self) -> None:
        outputs = [value.name for value in self.graph.output if value.name in self.low]
        given = {tensor.name for tensor in self.graph.initializer}
        for name in [value.name for value in self.graph.input if value.name in self.low and value.name not in given]:
            self.names[name] = self._fresh(name)
            self._cast(name, self.names[name], FLOAT)
        for name in outputs:
            if name not in self.names:
                self.names[name] = self._fresh(name)
        constants = [
            as_type(tensor, FLOAT, self.names.get(tensor.name, tensor.name)) if tensor.name in self.low else tensor
            for tensor in self.graph.initializer
        ]
        replace_entries(self.graph.initializer, constants)
        for node in self.graph.node:
            self._add(node)
        made = {name for node in self.nodes for name in node.output}
        for name in outputs:  # outputs that no node rounds
            if name not in made:
                self._cast(self.names[name], name, self.low[name])
        replace_entries(self.graph.node, self.nodes)
        del self.graph.value_info[:]

    def _add(self, source: Any) -> None:
        node = copy.deepcopy(source)
        if source.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(source)):
            self._add_unchanged(node)
            return
        node.input[:] = [self.names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type in (FLOAT16, BFLOAT16):
                attribute.t.CopyFrom(as_type(attribute.t, FLOAT, attribute.t.name))
            if attribute.name == "to" and node.output[0] in self.low:
                attribute.i = FLOAT
        self.nodes.append(node)
        for slot, name in enumerate(source.output):
            if name not in self.low:
                continue
            if source.op_type in EXACT:
                node.output[slot] = self.names.get(name, name)
                continue
            raw, stored = self._fresh(name), self._fresh(name)
            node.output[slot] = raw
            self._cast(raw, stored, self.low[name])
            self._cast(stored, self.names.get(name, name), FLOAT)

    def _add_unchanged(self, node: Any) -> None:
        """A custom operator or a node with a body: its inputs and outputs stay in half precision, between casts."""
        halves = {name: self._half(name) for name in dict.fromkeys(tensors_read(node)) if name in self.low}
        node.input[:] = [halves.get(name, name) for name in node.input]
        rename_captures(node, halves)
        self.nodes.append(node)
        for slot, name in enumerate(node.output):
            if name in self.low:
                node.output[slot] = self._fresh(name)
                self._cast(node.output[slot], self.names.get(name, name), FLOAT)

    def _half(self, name: str) -> str:
        if name not in self.halves:
            self.halves[name] = self._fresh(name)
            self._cast(self.names.get(name, name), self.halves[name], self.low[name])
        return self.halves[name]

    def _cast(self, source: str, target: str, element_type: int) -> None:
        import onnx

        name = unused_name(f"round_{target}", self.taken)  # ONNX Runtime refuses two nodes with one name
        self.nodes.append(onnx.helper.make_node("Cast", [source], [target], name, to=element_type))

    def _fresh(self, name: str) -> str:
        return unused_name(f"{name}_rounded", self.taken)
