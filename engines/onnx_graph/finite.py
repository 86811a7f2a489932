"""Weights that are not numbers: NaN and infinity in a network's constants, found before it runs.

Once it runs nothing may show: a fused argmax turns NaN into class 0, and some runtimes' ReLU turns it into 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

FLOATS = frozenset((1, 10, 11, 16))
"""onnx.TensorProto's numbers of float32, float16, float64 and bfloat16."""

LIMITS = frozenset(
    (
        *("Where", "Pad", "Clip", "Max", "Min", "MaxPool", "ReduceMax", "ReduceMin", "OneHot", "CumSum", "ConstantOfShape"),
        *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsInf", "ScatterND", "ScatterElements"),
        *("Concat", "Expand", "Tile"),
    )
)
"""Operators that take infinity on purpose: as a limit, a filling, or the score of what is masked out."""

MASKED = frozenset(("Add", "Mul", "Cast", "CastLike", "Identity", "Reshape", "Slice", "Unsqueeze", "Squeeze", "Gather", "If"))
"""Operators through which a mask of several axes, 0 and -infinity, is added to attention's scores."""

WEIGHED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"))
LARGEST_WEIGHT = 1e30
"""Of these operators; more, as a flipped bit leaves it, overflows within a layer or two. No training gives a millionth of it."""

CURE = "Export it again from sound weights, or download it again"


def check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Raises ModelFileError, naming the tensor, for NaN in a constant, and for infinity where it is no limit and no mask.

    Likewise for a weight that overflows, and a variance below 0, whose root is NaN. path: of the file; weights outside it are
    read from its folder. 3 to 13 ms for the bundled models, on busy cores.
    """
    readers: dict[str, set[str]] = {}
    variances: set[str] = set()
    for graph in _graphs(model):
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, set()).add(node.op_type)
            if node.op_type == "BatchNormalization" and len(node.input) > 4:
                variances.add(node.input[4])
    for name, tensor in _constants(model):
        if tensor.data_type not in FLOATS:
            continue
        array, read_by = _array(tensor, path), readers.get(name, set())
        if np.isfinite(array).all():
            if name in variances and (array < 0).any():
                raise _damaged(path, name, int((array < 0).sum()), array, "variances below 0")
            if read_by & WEIGHED and array.size and float(np.abs(array).max()) > LARGEST_WEIGHT:
                count = int((np.abs(array.astype(np.float64)) > LARGEST_WEIGHT).sum())  # as the maximum was compared
                raise _damaged(path, name, count, array, f"above {LARGEST_WEIGHT:g}")
            continue
        nans = int(np.isnan(array).sum())
        if nans:
            raise _damaged(path, name, nans, array, "NaN")
        if not _may_be_infinite(array, read_by):
            raise _damaged(path, name, int(np.isinf(array).sum()), array, "infinite")


def _damaged(path: Path, name: str, count: int, array: npt.NDArray[Any], what: str) -> ModelFileError:
    share = f"{count} of the {array.size} numbers in {name!r} are {what}" if array.size > 1 else f"{name!r} is {what}"
    return ModelFileError(f"{path}: its weights are damaged: {share}", CURE)


def _may_be_infinite(array: npt.NDArray[Any], read_by: set[str]) -> bool:
    """Whether infinity is meant: a limit, or a mask of several axes that attention adds."""
    if read_by <= LIMITS:
        return True
    is_mask = array.ndim > 1 and not np.isposinf(array).any() and bool((array[np.isfinite(array)] == 0).all())
    return is_mask and read_by <= LIMITS | MASKED


def _array(tensor: Any, path: Path) -> npt.NDArray[Any]:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor, str(path.parent))
    except Exception as error:  # too few bytes, no file beside it: a dozen types
        reason = " ".join(str(error).split())[:160]
        raise ModelFileError(f"{path}: the weights {tensor.name!r} cannot be read ({reason})", CURE) from error


def _graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """The graph, those within its nodes, and functions: whatever holds nodes."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += attribute.graphs
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, Any]]:
    """Name and tensor of each constant: initializers, and the values of Constant nodes."""
    for graph in _graphs(model):
        for tensor in getattr(graph, "initializer", ()):
            yield tensor.name, tensor
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield sparse.values.name, sparse.values
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        yield node.output[0], attribute.t
