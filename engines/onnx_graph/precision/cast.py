"""The caster: a float32 ONNX network becomes one in mixed FP16 or BF16."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from engines.onnx_graph.precision.prepare import prepared
from engines.onnx_graph.precision.rules import low_nodes
from engines.onnx_graph.precision.weights import output_axes, rounded_weight
from engines.onnx_graph.precision.wiring import (
    FLOAT,
    FLOAT16,
    LOW_TYPES,
    TYPE_NAMES,
    Wiring,
    as_type,
    captures,
    rename_captures,
    replace_entries,
    tensor_names,
    unused_name,
)

if TYPE_CHECKING:
    import onnx


def cast_precision(
    model: onnx.ModelProto,
    precision: Literal["fp16", "bf16"],
    *,
    keep_fp32: Collection[str] = (),
    io_dtype: Literal["float32", "float16"] = "float32",
) -> onnx.ModelProto:
    """A new model that calculates in `precision` where that is safe. `model` is not changed; its weights must be loaded.

    Softmax, normalisation, sums, exponents, coordinates and everything with values beyond the type's range stay in float32, and
    so do the nodes named in `keep_fp32` (see `name_nodes`). Batch normalisation is folded into the convolution before it.
    float32 inputs and outputs become `io_dtype`; with "bf16" they stay float32. The opset is kept; for "bf16" it is raised to 22
    if ONNX's converter can. Raises ValueError for an unknown precision or node, ModelFileError for a graph with a cycle.
    """
    if precision not in LOW_TYPES:
        raise ValueError(f'unknown precision "{precision}"; known: {", ".join(LOW_TYPES)}')
    low_type = LOW_TYPES[precision]
    io_type = FLOAT16 if io_dtype == "float16" and precision == "fp16" else FLOAT
    ready, gone = prepared(model, low_type)
    wiring = Wiring(ready)
    kept = known_nodes(wiring, keep_fp32, gone)
    lows = low_nodes(wiring, low_type, kept, io_type)
    _Caster(ready, wiring, low_type, io_type).run(lows)
    return _with_inferred_types(ready)


def known_nodes(wiring: Wiring, names: Collection[str], gone: Mapping[str, str]) -> set[str]:
    """The nodes that `names` stand for. gone: see `prepared`. Raises ValueError for a name that no node ever had."""
    meant = {gone.get(name, name) for name in names} - {""}
    unknown = meant - {node.name for node in wiring.nodes}
    if unknown:
        raise ValueError(f"no node is named {', '.join(sorted(unknown))}; name_nodes(model) shows the names")
    return meant


class _Caster:
    """Rewrites a graph node by node, with a cast wherever a tensor is read in another type than it is produced in.

    A tensor has one cast per direction, shared by all its readers. Graph inputs and outputs keep their names.
    """

    def __init__(self, model: onnx.ModelProto, wiring: Wiring, low_type: int, io_type: int) -> None:
        self.graph = model.graph
        self.wiring = wiring
        self.low_type = low_type
        self.io_type = io_type
        self.outputs = set(wiring.outputs)
        self.taken = tensor_names(model.graph) | {node.name for node in wiring.nodes}
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.made_in: dict[str, int] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.same_as: dict[str, str] = {}
        self.weight_axes = output_axes(wiring)

    def run(self, lows: list[bool]) -> None:
        for value in (*self.graph.input, *self.graph.output):
            if value.type.tensor_type.elem_type == FLOAT:
                value.type.tensor_type.elem_type = self.io_type
        for value in self.graph.input:
            if self.wiring.is_float(value.name):
                self.made_in[value.name] = self.io_type
                self.names[value.name, self.io_type] = value.name
        for name in self.wiring.constants:  # a constant that is an output keeps its name for the type of outputs
            self.names[name, self.io_type if name in self.outputs else FLOAT] = name
        for node, low in zip(self.wiring.nodes, lows, strict=True):
            self._add(node, low)
        for name in dict.fromkeys(name for name in self.wiring.outputs if name in self.wiring.constants):
            self._read(name, self.io_type)
        replace_entries(self.graph.node, self.nodes)
        others = [tensor for name, tensor in self.wiring.constants.items() if not self.wiring.is_float(name)]
        replace_entries(self.graph.initializer, [*others, *self.constants.values()])

    def _add(self, source: Any, low: bool) -> None:
        node = copy.deepcopy(source)
        wanted = self.low_type if low else FLOAT
        castable = set(self.wiring.float_inputs(source))
        if source.op_type in ("Cast", "Shape", "Size"):  # these accept any type: no cast before them
            node.input[0] = self._read(source.input[0], self.made_in.get(source.input[0], FLOAT))
        else:
            node.input[:] = [self._read(name, wanted if name in castable else FLOAT) for name in source.input]
        rename_captures(node, {name: self._read(name, FLOAT) for name in captures(source)})
        if low:
            self._retype(node)
        if source.op_type == "Cast" and self._is_idle(source, node):
            return
        self.nodes.append(node)
        for slot, name in enumerate(source.output):
            if self.wiring.is_float(name):
                self._make(node, slot, wanted)

    def _retype(self, node: Any) -> None:
        """Change the types in a node's attributes."""
        import onnx

        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = self.low_type
            if attribute.name == "value" and attribute.t.data_type == FLOAT:
                attribute.t.CopyFrom(as_type(attribute.t, self.low_type, attribute.t.name))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = onnx.helper.make_tensor("zero", FLOAT, [1], [0.0])
            node.attribute.append(onnx.helper.make_attribute("value", as_type(zero, self.low_type, "zero")))

    def _is_idle(self, source: Any, node: Any) -> bool:
        """Whether a cast has no effect; its readers then read its input."""
        name, result = source.input[0], source.output[0]
        target = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        made = self.made_in.get(name, self.wiring.types.get(name))
        if made != target or result in self.outputs:
            return False
        if self.wiring.is_float(result):
            self.made_in[result] = target
            self.names[result, target] = node.input[0]
        else:
            self.same_as[result] = node.input[0]
        return True

    def _make(self, node: Any, slot: int, element_type: int) -> None:
        """Record the type in which a node produces an output; a graph output of another type is cast from it."""
        name = node.output[slot]
        self.made_in[name] = element_type
        if name in self.outputs and element_type != self.io_type:
            node.output[slot] = self.names[name, element_type] = self._fresh(name, element_type)
            self.names[name, self.io_type] = name
            self._cast(node.output[slot], name, self.io_type)
        else:
            self.names[name, element_type] = name

    def _read(self, name: str, element_type: int) -> str:
        """The name under which a tensor can be read: a float32 tensor in `element_type`, cast if necessary."""
        if name not in self.made_in and not (self.wiring.is_float(name) and name in self.wiring.constants):
            return self.same_as.get(name, name)
        found = self.names.get((name, element_type))
        if found is None:
            found = self.names[name, element_type] = self._fresh(name, element_type)
            if name in self.made_in:
                self._cast(self.names[name, self.made_in[name]], found, element_type)
        if name in self.wiring.constants and found not in self.constants:
            self.constants[found] = self._constant(name, element_type, found)
        return found

    def _constant(self, name: str, element_type: int, new_name: str) -> Any:
        tensor, axis = self.wiring.constants[name], self.weight_axes.get(name)
        if axis is None or element_type == FLOAT:
            return as_type(tensor, element_type, new_name)
        return rounded_weight(tensor, element_type, new_name, axis)

    def _cast(self, source: str, target: str, element_type: int) -> None:
        import onnx

        name = unused_name(f"{target}_cast", self.taken)
        self.nodes.append(onnx.helper.make_node("Cast", [source], [target], name, to=element_type))

    def _fresh(self, name: str, element_type: int) -> str:
        return unused_name(f"{name}_{TYPE_NAMES[element_type]}", self.taken)


def _with_inferred_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer types and shapes of inner tensors again; those of custom operators, which cannot be inferred, are kept."""
    import onnx

    custom = {name for node in model.graph.node if node.domain not in ("", "ai.onnx") for name in node.output}
    replace_entries(model.graph.value_info, [value for value in model.graph.value_info if value.name in custom])
    return onnx.shape_inference.infer_shapes(model, data_prop=True)
