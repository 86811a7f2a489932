"""GraphEditor: nodes added to an ONNX graph and unused ones taken out, on a copy, under names that nothing else has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from engines.errors import ModelFileError
from engines.loading import import_onnxruntime
from engines.models.card import InputSpec
from engines.onnx_graph.precision.wiring import tensor_names

Shape = tuple[int | None, ...]

CONSTANTS_ALONE_IR = 4
"""The first IR version in which an initializer need not be listed among the graph's inputs too."""


def constants(model: Any) -> Iterator[tuple[str, Any]]:
    """The names and onnx.TensorProto of a graph's constants: its initializers, and what its Constant nodes hold."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


class GraphEditor:
    """Edits a copy of `model`; the model given is left alone. Added nodes and tensors are named `prefix/...`."""

    def __init__(self, model: Any, prefix: str) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.opset = opset_of(model)
        self._prefix = prefix
        self.model.ir_version = max(model.ir_version, CONSTANTS_ALONE_IR)
        self._taken = tensor_names(self.graph) | {node.name for node in self.graph.node}
        self.producers = {name: node for node in self.graph.node for name in node.output}

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken; taken from now on."""
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found

    def constant(self, name: str, values: Any, elem_type: int) -> str:
        """A new initializer of ONNX type `elem_type`; returns its name."""
        import onnx

        array = np.asarray(values)
        found = self.unique(f"{self._prefix}/{name}")
        self.graph.initializer.append(onnx.helper.make_tensor(found, elem_type, array.shape, array.ravel().tolist()))
        return found

    def integers(self, name: str, values: Sequence[int]) -> str:
        """A new int64 initializer, as shapes, axes and counts are given to nodes."""
        import onnx

        return self.constant(name, list(values), onnx.TensorProto.INT64)

    def add(self, op_type: str, inputs: Sequence[str], name: str, *, output: str = "", **attributes: Any) -> str:
        """Append a node with one output, and return that: called `output` as far as the name is free, else after the node."""
        return self.add_many(op_type, inputs, name, (output or f"{self._prefix}/{name}:0",), **attributes)[0]

    def add_many(self, op_type: str, inputs: Sequence[str], name: str, outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Append a node with several outputs, called so as far as the names are free, and return them."""
        import onnx

        names = [self.unique(wanted) for wanted in outputs]
        label = self.unique(f"{self._prefix}/{name}")
        self.graph.node.append(onnx.helper.make_node(op_type, list(inputs), names, name=label, **attributes))
        self.producers |= dict.fromkeys(names, self.graph.node[-1])
        return names

    def reduce(self, op_type: str, tensor: str, axes: Sequence[int], name: str, *, keepdims: bool, output: str = "") -> str:
        """A reduction; its axes are an attribute until opset 17 (a sum's until 12), an input since."""
        if self.opset >= (13 if op_type == "ReduceSum" else 18):
            given = self.integers(f"{name}/axes", axes)
            return self.add(op_type, [tensor, given], name, output=output, keepdims=int(keepdims))
        return self.add(op_type, [tensor], name, output=output, axes=list(axes), keepdims=int(keepdims))

    def set_outputs(self, outputs: Iterable[tuple[str, int, Sequence[Any]]], kept: Iterable[str] = ()) -> None:
        """Let the graph give the old outputs `kept` and `outputs` (tensor, ONNX type, shape) only; drop what is then unused."""
        import onnx

        wanted = set(kept)
        values = [value for value in self.graph.output if value.name in wanted]
        values += [onnx.helper.make_tensor_value_info(name, elem_type, shape) for name, elem_type, shape in outputs]
        del self.graph.output[:]
        self.graph.output.extend(values)
        self._drop_unused()

    def pin_size(self, spec: InputSpec) -> None:
        """Write rows and columns of `spec` into the graph's input where they were open."""
        dims = input_of(self.model, spec.tensor).type.tensor_type.shape.dim
        for dim, length in list(zip(dims, input_shape(spec), strict=False))[1:]:
            dim.dim_value = length

    def _drop_unused(self) -> None:
        needed = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed |= names_read(node) - {""}  # an input, or an output, that is left out
        _keep(self.graph.node, reversed(kept))
        unused = {tensor.name for tensor in self.graph.initializer if tensor.name not in needed}
        _keep(self.graph.initializer, [tensor for tensor in self.graph.initializer if tensor.name not in unused])
        # Old exporters list every weight among the inputs too: without the weight, one would have to be given.
        _keep(self.graph.input, [value for value in self.graph.input if value.name not in unused])
        made = needed.union(*(node.output for node in self.graph.node))
        _keep(self.graph.value_info, [value for value in self.graph.value_info if value.name in made])


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators that `model` uses; 0 where it uses none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def names_read(node: Any) -> set[str]:
    """The tensors that `node` reads, those of graphs inside it (If, Loop) included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            names = names.union(*(names_read(inner) for inner in graph.node), (value.name for value in graph.output))
    return names


def input_of(model: Any, tensor: str) -> Any:
    """The graph input called `tensor`. Raises ModelFileError when there is none."""
    for value in model.graph.input:
        if value.name == tensor:
            return value
    raise ModelFileError(f'the network has no input "{tensor}", which its card names; export or download it again')


def tensor_facts(model: Any, spec: InputSpec, needed: Collection[str] = ()) -> dict[str, tuple[int, Shape]]:
    """Every tensor's ONNX type and shape for a batch of one as `spec` describes it; None for a length that does not follow.

    needed: tensors whose shapes are read off a run on zeros where they do not follow.
    """
    import onnx

    known = onnx.ModelProto()
    known.CopyFrom(model)
    for dim, length in zip(input_of(known, spec.tensor).type.tensor_type.shape.dim, input_shape(spec), strict=False):
        dim.dim_value = length
    for value in (*known.graph.output, *known.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()  # what an exporter wrote holds for its own batch and size, not for these
    with suppress(Exception):  # inference is a convenience; a graph it cannot follow may still run
        known = onnx.shape_inference.infer_shapes(known, data_prop=True)
    facts: dict[str, tuple[int, Shape]] = {t.name: (t.data_type, tuple(t.dims)) for t in known.graph.initializer}
    for value in (*known.graph.input, *known.graph.value_info, *known.graph.output):
        kind = value.type.tensor_type
        facts[value.name] = kind.elem_type, tuple(dim.dim_value or None for dim in kind.shape.dim)
    unknown = [name for name in needed if None in facts.get(name, (0, (None,)))[1]]
    return facts | (_facts_of_a_run(model, spec, unknown) if unknown else {})


def input_shape(spec: InputSpec, batch: int = 1) -> tuple[int, int, int, int]:
    """The shape of the input that `spec` describes."""
    height, width = spec.size.height, spec.size.width
    return (batch, 3, height, width) if spec.layout == "nchw" else (batch, height, width, 3)


def run_on_zeros(model: Any, spec: InputSpec, tensors: Sequence[str], batch: int = 1) -> list[Any]:
    """`tensors` of one run of ONNX Runtime on an input of noughts. Raises what ONNX Runtime raises."""
    onnxruntime = import_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures arrive as exceptions
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    arrays: list[Any] = session.run(list(tensors), {spec.tensor: np.zeros(input_shape(spec, batch), spec.dtype)})
    return arrays


def _facts_of_a_run(model: Any, spec: InputSpec, tensors: Sequence[str]) -> dict[str, tuple[int, Shape]]:
    """Types and shapes of `tensors`, inner ones too; none when the network does not run."""
    import onnx

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    outputs = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    try:
        arrays = run_on_zeros(opened, spec, tensors)
    except Exception:  # whoever runs the model for real reports why it fails
        return {}
    kinds = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays]
    return {name: (kind, tuple(array.shape)) for name, kind, array in zip(tensors, kinds, arrays, strict=True)}


def _keep(field: Any, kept: Iterable[Any]) -> None:
    """Replace the entries of a repeated protobuf field."""
    entries = list(kept)
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)


def check(model: Any, what: str) -> None:
    """ONNX's full check. Raises ModelFileError with its first line."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # it raises its own types and shape inference's
        raise ModelFileError(f"{what}: not a sound ONNX graph ({str(error).strip().splitlines()[0][:160]})") from error
