"""Bytes for TensorRT: only a network's inputs and outputs, and cast from or to floats.

NvInferRuntime.h of TensorRT 10.3 has conversions of UINT8 from and to FLOAT and HALF only, and the table of its parser's
operators has UINT8 only for inputs and outputs. An argmax in a graph is often INT64 -> UINT8.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.onnx_graph.precision.rules import NEUTRAL
from engines.onnx_graph.precision.wiring import FLOAT, FLOAT16, Wiring, captures, sort_nodes
from engines.onnx_graph.suiting.rewriting import Rewriter, attributes_of, label_of

if TYPE_CHECKING:
    import onnx

UINT8, INT32 = 2, 6
"""onnx.TensorProto's numbers."""

FLOATS = frozenset({FLOAT, FLOAT16})

MOVING = NEUTRAL - {"Resize", "Upsample", "Dropout", "QuantizeLinear"}
"""Operators that give the same on the numbers 0 to 255 whether they are bytes or floats."""


def bytes_through_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model whose bytes are only inputs and outputs, cast to and from floats; `model` itself if that is so already.

    Operators that only move or compare bytes get floats instead. Others, such as those on unsigned quantised values, are left as
    they are: TensorRT then names them. Numbers beyond 0..255 that the graph casts to bytes have no defined result in either form.
    """
    if UINT8 not in Wiring(model).types.values():
        return model
    lifting = _Lifting(model)
    return lifting.rewriter.model if lifting.run() else model


class _Lifting:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.rewriter = Rewriter(model)
        sort_nodes(self.rewriter.graph)
        self.wiring = Wiring(self.rewriter.model)
        self.inputs = {value.name for value in model.graph.input}
        self.floats: dict[str, str] = {}
        """Bytes -> the same numbers as floats."""
        self.captured = {name for node in self.wiring.nodes for name in captures(node)}

    def run(self) -> bool:
        return self.rewriter.run(self._rewrite)

    def _rewrite(self, node: Any) -> bool:
        if node.op_type == "Cast":
            target = attributes_of(node)["to"]
            if target == UINT8:
                return self._to_bytes(node)
            return self._is_bytes(node.input[0]) and self._from_bytes(node, target)
        return self._is_lifted(node) and self._lift(node)

    def _to_bytes(self, node: Any) -> bool:
        """A cast to bytes: from a float, for an output only."""
        source, result = node.input[0], node.output[0]
        kind = self.wiring.types.get(source)
        readers = [self.wiring.nodes[index] for index in self.wiring.readers.get(result, ())]
        is_lifted = [reader.op_type == "Cast" or self._is_lifted(reader) for reader in readers]
        stays = result in self.rewriter.outputs or not all(is_lifted) or result in self.captured or not readers
        if kind in FLOATS and not any(is_lifted):
            return False
        name = label_of(node)
        if kind == UINT8:
            number = self._float(source)
        elif kind in FLOATS:
            number = source
        else:
            number = self.rewriter.add("Cast", [source], f"{name}/float", to=FLOAT)
        if any(is_lifted):
            self.floats[result] = self._whole(number, name) if kind in FLOATS else number
        if stays:
            self.rewriter.add("Cast", [number], name, [result], to=UINT8)
        return True

    def _whole(self, number: str, name: str) -> str:
        """The numbers without their fractions, which a cast to bytes cuts off."""
        whole = self.rewriter.add("Cast", [number], f"{name}/whole", to=INT32)
        return self.rewriter.add("Cast", [whole], f"{name}/whole_float", to=FLOAT)

    def _from_bytes(self, node: Any, target: int) -> bool:
        if target in FLOATS and node.input[0] in self.inputs:
            return False
        self.rewriter.add("Cast", [self._float(node.input[0])], label_of(node), node.output, to=target)
        return True

    def _lift(self, node: Any) -> bool:
        """The same operator on floats, cast to bytes where these are still read."""
        lifted = copy.deepcopy(node)
        lifted.input[:] = [self._float(name) if self._is_bytes(name) else name for name in node.input]
        for slot, name in enumerate(node.output):
            if self._is_bytes(name):
                lifted.output[slot] = self.floats[name] = self.rewriter.fresh(f"{name}/float")
        self.rewriter.keep(lifted)
        for name in [name for name in node.output if self._is_bytes(name)]:
            readers = [self.wiring.nodes[index] for index in self.wiring.readers.get(name, ())]
            is_read = any(reader.op_type != "Cast" and not self._is_lifted(reader) for reader in readers)
            if name in self.rewriter.outputs or is_read or name in self.captured:
                self.rewriter.add("Cast", [self.floats[name]], f"{label_of(node)}/bytes", [name], to=UINT8)
        return True

    def _float(self, name: str) -> str:
        """The bytes `name` as floats, cast once."""
        import onnx

        if name not in self.floats:
            constant = self.rewriter.constants.get(name)
            if constant is not None:
                values = onnx.numpy_helper.to_array(constant).astype(np.float32)
                self.floats[name] = self.rewriter.constant(f"{name}/float", values)
            else:
                self.floats[name] = self.rewriter.add("Cast", [name], f"{name}/float", to=FLOAT)
        return self.floats[name]

    def _is_lifted(self, node: Any) -> bool:
        return node.op_type in MOVING and any(self._is_bytes(name) for name in node.input)

    def _is_bytes(self, name: str) -> bool:
        return bool(name) and self.wiring.types.get(name) == UINT8
