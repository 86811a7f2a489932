"""GraphEditor: adds nodes under unused names to a copy of an ONNX graph, and removes unused nodes; and facts about graphs."""

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from engines.errors import ModelFileError
from engines.loading import cpu_session
from engines.models.card import InputSpec
from engines.onnx_graph.precision.wiring import (
    CONSTANTS_ALONE_IR,
    opset_of,
    replace_entries,
    tensor_names,
    tensors_read,
    unused_name,
    with_inferred_shapes,
)

Shape = tuple[int | None, ...]


class GraphEditor:
    """Edits a copy of `model`, which is not changed. Added nodes and tensors are named `prefix/...`."""

    def __init__(self, model: Any, prefix: str) -> None:
        self.model = copy.deepcopy(model)
        self.graph = self.model.graph
        self.opset = opset_of(model)
        self._prefix = prefix
        self.model.ir_version = max(model.ir_version, CONSTANTS_ALONE_IR)
        self._taken = tensor_names(self.graph) | {node.name for node in self.graph.node}
        self.producers = {name: node for node in self.graph.node for name in node.output}

    def constant(self, name: str, values: Any, elem_type: int) -> str:
        """A new initializer of ONNX type `elem_type`; returns its name."""
        import onnx

        array = np.asarray(values)
        found = unused_name(f"{self._prefix}/{name}", self._taken)
        self.graph.initializer.append(onnx.helper.make_tensor(found, elem_type, array.shape, array.ravel().tolist()))
        return found

    def integers(self, name: str, values: Sequence[int]) -> str:
        """A new int64 initializer: the type of nodes' shapes, axes and counts."""
        import onnx

        return self.constant(name, list(values), onnx.TensorProto.INT64)

    def add(self, op_type: str, inputs: Sequence[str], name: str, *, output: str = "", **attributes: Any) -> str:
        """Append a node and return its only output, named `output` (with a number if that is taken), or after the node."""
        return self.add_many(op_type, inputs, name, (output or f"{self._prefix}/{name}:0",), **attributes)[0]

    def add_many(self, op_type: str, inputs: Sequence[str], name: str, outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Append a node and return its outputs, named `outputs` (with numbers if these are taken)."""
        import onnx

        names = [unused_name(wanted, self._taken) for wanted in outputs]
        label = unused_name(f"{self._prefix}/{name}", self._taken)
        self.graph.node.append(onnx.helper.make_node(op_type, list(inputs), names, name=label, **attributes))
        self.producers |= dict.fromkeys(names, self.graph.node[-1])
        return names

    def reduce(self, op_type: str, tensor: str, axes: Sequence[int], name: str, *, keepdims: bool, output: str = "") -> str:
        """A reduction. Its axes are an attribute up to opset 17 (12 for a sum), an input since."""
        if self.opset >= (13 if op_type == "ReduceSum" else 18):
            given = self.integers(f"{name}/axes", axes)
            return self.add(op_type, [tensor, given], name, output=output, keepdims=int(keepdims))
        return self.add(op_type, [tensor], name, output=output, axes=list(axes), keepdims=int(keepdims))

    def set_outputs(self, outputs: Iterable[tuple[str, int, Sequence[Any]]], kept: Iterable[str] = ()) -> None:
        """Make `kept` (old ones) and `outputs` (tensor, ONNX type, shape) the only outputs, and drop everything unused."""
        import onnx

        wanted = set(kept)
        values = [value for value in self.graph.output if value.name in wanted]
        values += [onnx.helper.make_tensor_value_info(name, elem_type, shape) for name, elem_type, shape in outputs]
        replace_entries(self.graph.output, values)
        self._drop_unused()

    def pin_size(self, spec: InputSpec) -> None:
        """Set the height and width of the graph's input to those of `spec`."""
        dims = input_of(self.model, spec.tensor).type.tensor_type.shape.dim
        for dim, length in list(zip(dims, input_shape(spec), strict=False))[1:]:
            dim.dim_value = length

    def _drop_unused(self) -> None:
        needed = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(tensors_read(node))
        replace_entries(self.graph.node, reversed(kept))
        unused = {tensor.name for tensor in self.graph.initializer if tensor.name not in needed}
        replace_entries(self.graph.initializer, [tensor for tensor in self.graph.initializer if tensor.name not in unused])
        # Old exporters list every weight among the inputs too: without its weight, such an input would have to be fed.
        replace_entries(self.graph.input, [value for value in self.graph.input if value.name not in unused])
        made = needed.union(*(node.output for node in self.graph.node))
        replace_entries(self.graph.value_info, [value for value in self.graph.value_info if value.name in made])


def input_of(model: Any, tensor: str) -> Any:
    """The graph input called `tensor`. Raises ModelFileError if there is none."""
    for value in model.graph.input:
        if value.name == tensor:
            return value
    raise ModelFileError(f'the network has no input "{tensor}", which its card names', "Export or download the model again")


def tensor_facts(model: Any, spec: InputSpec, needed: Collection[str] = ()) -> dict[str, tuple[int, Shape]]:
    """ONNX type and shape of every tensor for a batch of one as `spec` describes it; None for lengths that cannot be inferred.

    needed: tensors whose shapes are taken from a run on zeros if they cannot be inferred.
    """
    known = copy.deepcopy(model)
    for dim, length in zip(input_of(known, spec.tensor).type.tensor_type.shape.dim, input_shape(spec), strict=False):
        dim.dim_value = length
    for value in (*known.graph.output, *known.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()  # the exporter's lengths are for its own batch and size
    known = with_inferred_shapes(known)
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
    """The values of `tensors` after one run of ONNX Runtime on a zero-filled input. Raises what ONNX Runtime raises."""
    session = cpu_session(model.SerializeToString())
    arrays: list[Any] = session.run(list(tensors), {spec.tensor: np.zeros(input_shape(spec, batch), spec.dtype)})
    return arrays


def _facts_of_a_run(model: Any, spec: InputSpec, tensors: Sequence[str]) -> dict[str, tuple[int, Shape]]:
    """Types and shapes of `tensors`, also inner ones; empty if the network does not run."""
    import onnx

    opened = copy.deepcopy(model)
    outputs = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    try:
        arrays = run_on_zeros(opened, spec, tensors)
    except Exception:  # the backend that runs the model reports why it fails
        return {}
    kinds = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays]
    return {name: (kind, tuple(array.shape)) for name, kind, array in zip(tensors, kinds, arrays, strict=True)}


def check(model: Any, what: str) -> None:
    """ONNX's full check. Raises ModelFileError with the first line of its message."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's and shape inference's own types
        raise ModelFileError(f"{what}: not a valid ONNX graph ({str(error).strip().splitlines()[0][:160]})") from error
