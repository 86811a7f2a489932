"""Checking: whether an ONNX file may be handed to native code: what it claims must be there, and none of it without bounds.

Reads the protobuf alone. ONNX's own checker, which runs next, looks for what the format forbids; this, for what it allows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.errors import ModelFileError
from engines.onnx_graph.precision.wiring import subgraphs

MAX_NODES = 100_000
"""With those of bodies, and of functions as often as they are called. The largest networks of this kind have some thousands."""

MAX_TENSOR_BYTES = 8 * 1024**3
"""Of one tensor: a batch of one that needs more runs nowhere in real time."""

ITERATING = frozenset({"Loop", "Scan"})
"""Nodes that may run for ever: how often depends on values."""

CURE = "Export or download it again"


def check_bounds(model: Any, path: Path) -> frozenset[str]:
    """The operators of an onnx.ModelProto. Raises ModelFileError for too many nodes, and weights that are not where it says."""
    operators: set[str] = set()
    counts = _counts(model, path, operators)
    total = sum(counts.get((node.domain, node.op_type), 1) for node in _nodes(model.graph, path, operators))
    if total > MAX_NODES:
        raise ModelFileError(f"{path}: its network has {total:,} nodes, once functions are expanded", CURE)
    for tensor in _tensors(model, path):
        if any(dim < 0 for dim in tensor.dims):
            raise ModelFileError(f"{path}: the weights {tensor.name} have a negative length", CURE)
        if tensor.data_location == tensor.EXTERNAL:
            _check_external(tensor, path)
    for sparse in model.graph.sparse_initializer:
        _check_size(list(sparse.dims), 4, f"the weights {sparse.values.name}", path)
    return frozenset(operators)


def check_sizes(model: Any, path: Path) -> None:
    """Of the tensors of a model with inferred shapes. Raises ModelFileError for one that no machine holds."""
    import onnx

    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        kind = value.type.tensor_type
        try:
            item_bytes = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        except (KeyError, TypeError):
            item_bytes = 1
        _check_size([dim.dim_value for dim in kind.shape.dim], item_bytes, f"the tensor {value.name}", path)


def _check_size(dims: list[int], item_bytes: int, what: str, path: Path) -> None:
    size_bytes = item_bytes
    for dim in dims:
        size_bytes *= max(dim, 1)
    if size_bytes > MAX_TENSOR_BYTES:
        raise ModelFileError(f"{path}: {what} of its network takes {size_bytes / 1e9:,.0f} GB", "Export it for a smaller input")


def _nodes(graph: Any, path: Path, operators: set[str]) -> Iterator[Any]:
    """The nodes of a graph and of the bodies in it."""
    waiting, count = [graph], 0
    while waiting:
        found = waiting.pop()
        count += len(found.node)
        if count > MAX_NODES:
            raise ModelFileError(f"{path}: its network has more than {MAX_NODES:,} nodes", CURE)
        for node in found.node:
            operators.add(node.op_type)
            waiting += subgraphs(node)
            yield node


def _counts(model: Any, path: Path, operators: set[str]) -> dict[tuple[str, str], int]:
    """Function → how many nodes a call of it is. Raises ModelFileError for functions that call themselves."""
    functions = {(function.domain, function.name): function for function in model.functions}
    counts: dict[tuple[str, str], int] = {}
    entered: set[tuple[str, str]] = set()
    waiting = list(functions)
    while waiting:
        key = waiting[-1]
        if key in counts:
            waiting.pop()
            continue
        calls = [(node.domain, node.op_type) for node in _nodes(functions[key], path, operators)]
        missing = [call for call in dict.fromkeys(calls) if call in functions and call not in counts]
        if missing and key in entered:
            raise ModelFileError(f"{path}: its function {key[1]} calls itself", CURE)
        entered.add(key)
        if missing:
            waiting += missing
        else:
            counts[key] = min(MAX_NODES + 1, sum(counts.get(call, 1) for call in calls))
            waiting.pop()
    return counts


def _tensors(model: Any, path: Path) -> Iterator[Any]:
    """The initializers and the constants of a model's graph, bodies and functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            waiting += subgraphs(node)
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_external(tensor: Any, path: Path) -> None:
    """Weights in another file: beside the model, nowhere else, and as many bytes as they need."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    name = f"{path}: the weights {tensor.name}"
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or set(location) & set("\\:"):
        raise ModelFileError(f'{name} are in "{location}", not in a file beside the model', CURE)
    file = path.parent / location
    homes = {path.parent.resolve(), path.resolve().parent}  # a download folder may hold links to both files
    if not file.is_file():
        raise ModelFileError(f"{name} are in {file}, which is missing", "Put it beside the model")
    if not any(home in file.resolve().parents for home in homes):
        raise ModelFileError(f"{name} are in {file}, a link to another folder", "Put the file itself beside the model")
    size_bytes = file.stat().st_size
    try:
        start = int(facts.get("offset") or 0)
        length = int(facts.get("length") or size_bytes - start)
    except ValueError as error:
        raise ModelFileError(f"{name} have no place in {file} ({error})", CURE) from error
    needed = _bytes_of(tensor)
    if start < 0 or length < 0 or start + length > size_bytes or (needed is not None and needed != length):
        what = f"{name} should be bytes {start} to {start + length} of {file}, which has {size_bytes:,}"
        raise ModelFileError(what, "The two files do not belong together: export or download both again")


def _bytes_of(tensor: Any) -> int | None:
    """How many bytes the values of a tensor are; None for types whose values do not fill bytes."""
    import onnx

    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1):
        return None
    try:
        size_bytes = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):
        return None
    for dim in tensor.dims:
        size_bytes *= dim
    return size_bytes
