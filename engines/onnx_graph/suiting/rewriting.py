"""Rewriting: replaces single nodes of a graph by several."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engines.onnx_graph.precision.wiring import constants, replace_entries, tensor_names, unused_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx


class Rewriter:
    """A copy of `model` whose nodes are written anew, in order. `model` is not changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = copy.deepcopy(model)
        self.graph = self.model.graph
        self.outputs = {value.name for value in self.graph.output}
        self.constants = dict(constants(self.model))
        self._taken = tensor_names(self.graph) | {node.name for node in self.graph.node}
        self._nodes: list[Any] = []
        self._is_changed = False

    def run(self, rewrite: Callable[[Any], bool]) -> bool:
        """Call `rewrite` with each node: it adds other nodes and returns True, or False to keep the node. Whether any changed."""
        for node in list(self.graph.node):
            if rewrite(node):
                self._is_changed = True
            else:
                self._nodes.append(node)
        if self._is_changed:
            replace_entries(self.graph.node, self._nodes)
            made = {name for node in self.graph.node for name in node.output}
            kept = [value for value in self.graph.value_info if value.name in made]
            replace_entries(self.graph.value_info, kept)
        return self._is_changed

    def keep(self, node: Any) -> None:
        """Add `node` as it is; for rewriting that only adds to it."""
        self._nodes.append(node)

    def add(self, op_type: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node and return its first output; without `outputs` that is named after the node."""
        import onnx

        label = unused_name(name, self._taken)
        made = list(outputs) or [self.fresh(f"{name}:0")]
        self._nodes.append(onnx.helper.make_node(op_type, list(inputs), made, label, **attributes))
        return made[0]

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """A new initializer; returns its name."""
        import onnx

        found = self.fresh(name)
        self.graph.initializer.append(onnx.numpy_helper.from_array(values, found))
        return found

    def fresh(self, name: str) -> str:
        """An unused tensor name."""
        return unused_name(name, self._taken)


def label_of(node: Any) -> str:
    """A node's name, or one made of its operator and output."""
    return node.name or f"{node.op_type}_{node.output[0]}"


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
