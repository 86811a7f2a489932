"""Facts read from an ONNX file: inputs, outputs, shapes, metadata."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import ModelFileError
from engines.onnx_graph.checking import ITERATING, check_bounds, check_sizes
from engines.onnx_graph.finite import check_weights
from engines.onnx_graph.precision import main_precision
from engines.onnx_graph.precision.wiring import with_inferred_shapes
from engines.onnx_graph.probing import probe
from engines.onnx_graph.stems import has_focus, pixel_range
from engines.onnx_graph.tails import activations, label_counts, scales, with_objectness

MAX_MODEL_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A network's input or output. shape: a batch dimension becomes 1; None for an open dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """Inputs and outputs in file order, and the key-value metadata that exporters embed."""

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    metadata: Mapping[str, str]
    precision: str = "fp32"
    """The precision of most weights: "fp32", "fp16", "bf16" or "int8"."""
    activations: Mapping[str, str] = field(default_factory=dict)
    """Output → "softmax", "sigmoid" or "log_softmax", where the graph ends so."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Output → the INT8 step of its values, where all of it has one."""
    operators: frozenset[str] = frozenset()
    """The types of its nodes, bodies and functions included."""
    pixel_ranges: Mapping[str, str] = field(default_factory=dict)
    """Input → "0..1" or "0..255", where the graph normalises its pixels itself."""
    focused: frozenset[str] = frozenset()
    """Inputs of pictures whose every second row and column are stacked first, as YOLOX does."""
    label_counts: Mapping[str, int] = field(default_factory=dict)
    """Output of labels that an ArgMax made → how many classes there are; 0 where that is not known."""
    with_objectness: frozenset[str] = frozenset()
    """Outputs of rows: a box, an objectness and scores, both after sigmoids."""


def read_network(path: Path) -> NetworkFacts:
    """Read an ONNX file's facts. Raises ModelFileError if it is missing, not ONNX, or corrupt, or its weights are damaged."""
    import onnx

    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file", "Check the path")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelFileError(f"{path}: larger than 2 GiB, the limit of an ONNX file", "Export it with external weights")
    try:
        model = onnx.load(path, load_external_data=False)
        operators = check_bounds(model, path)
        onnx.checker.check_model(str(path), full_check=False)  # by path: weights may be in a file next to it
    except ModelFileError:
        raise
    except Exception as error:  # protobuf and onnx raise a dozen types for a corrupt file
        raise ModelFileError(f"{path}: not a readable ONNX file ({_first_line(error)})", "Export or download it again") from error
    check_weights(model, path)
    inferred = _inferred(model)
    check_sizes(inferred, path)
    inputs, outputs = _tensors(inferred)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    facts = NetworkFacts(
        inputs,
        outputs,
        metadata,
        main_precision(model),
        activations(model),
        scales(model),
        operators,
        {tensor.name: found for tensor in inputs if (found := pixel_range(model, tensor.name))},
        frozenset(tensor.name for tensor in inputs if has_focus(model, tensor.name)),
        label_counts(model, _shapes_inside(inferred)),
        with_objectness(model),
    )
    if _is_static(facts.inputs) and (operators & ITERATING or not _is_static(facts.outputs)):
        return _with_run_shapes(path, facts)
    return facts


def read_tensors(model: Any) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    """Inputs and outputs of an onnx.ModelProto for a batch of one, with the shapes that can be inferred."""
    return _tensors(_inferred(model))


def _inferred(model: Any) -> Any:
    """A copy with the shapes that can be inferred for a batch of one."""
    model = copy.deepcopy(model)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4 and not dims[0].dim_value:
            dims[0].dim_value = 1
    # Exporters name unknown dimensions ("Resizelogits_dim_2"): cleared, so that inference fills them in.
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.Clear()
    return with_inferred_shapes(model)


def _tensors(model: Any) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_tensor_facts(value) for value in model.graph.input if value.name not in weights)
    return inputs, tuple(_tensor_facts(value) for value in model.graph.output)


def _shapes_inside(model: Any) -> dict[str, list[int]]:
    """Of the tensors between inputs and outputs, as far as they are inferred; 0 for an open dimension."""
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info}


def _tensor_facts(value: Any) -> TensorFacts:
    import onnx

    kind = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    except (KeyError, TypeError):
        dtype = "unknown"
    return TensorFacts(value.name, dtype, tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim))


def _is_static(tensors: tuple[TensorFacts, ...]) -> bool:
    return all(None not in tensor.shape for tensor in tensors)


def _with_run_shapes(path: Path, facts: NetworkFacts) -> NetworkFacts:
    """The facts with output shapes of one run on zeros, for graphs that inference cannot handle, or that may run for ever."""
    found = probe(path, {tensor.name: (tensor.dtype, [d or 1 for d in tensor.shape]) for tensor in facts.inputs})
    if found is None or len(found) != len(facts.outputs):
        return facts
    shapes = [shape for _, shape in found]
    outputs = (replace(tensor, shape=shape) for tensor, shape in zip(facts.outputs, shapes, strict=True))
    return replace(facts, outputs=tuple(outputs))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
