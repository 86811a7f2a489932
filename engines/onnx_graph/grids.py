"""Networks with the positions of their grid cells stored as constants, cut to a smaller input.

YOLO exporters store the positions of all cells of three grids, one grid after the other, in constants, which fixes the input
size. For an input that is smaller or equal on both sides the remaining cells keep their positions, so the constants are cut to
these. A network for 640x640 then also runs at 384x640, the part of it that a 16:9 picture fills.
"""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.onnx_graph.precision.wiring import constants
from engines.types import Size

STRIDES = (8, 16, 32)
"""Cell sizes of the three grids in input pixels, in the order of the grids."""


def can_be_cut(before: Size, after: Size) -> bool:
    """Whether the grids of `after` are parts of those of `before`, cell by cell."""
    sides = (before.width, before.height, after.width, after.height)
    return all(side % STRIDES[-1] == 0 for side in sides) and after.width <= before.width and after.height <= before.height


def cut(model: Any, before: Size, after: Size) -> Any:
    """A new onnx.ModelProto whose constants about grids are cut from an input of `before` to one of `after`.

    Cut are floating-point constants with as many entries along one axis as there are cells, and the target shapes of Reshape
    nodes. The caller checks whether the network then runs.
    """
    from onnx import numpy_helper

    new = copy.deepcopy(model)
    kept = kept_cells(before, after)
    count = sum(_cells(before, stride) for stride in STRIDES)
    shapes = {node.input[1] for node in new.graph.node if node.op_type == "Reshape"}
    for name, tensor in constants(new):
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and array.shape.count(count) == 1:
            changed = np.take(array, kept, axis=array.shape.index(count))
        elif array.dtype == np.int64 and name in shapes:
            changed = np.array(_cut_shape(array.ravel().tolist(), before, after), np.int64)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), tensor.name))
    return new


def has_grids(model: Any, size: Size) -> bool:
    """Whether it stores the positions of all cells of an input of that size."""
    count = sum(_cells(size, stride) for stride in STRIDES)
    return any(list(tensor.dims).count(count) == 1 for _, tensor in constants(model))


def kept_cells(before: Size, after: Size) -> npt.NDArray[np.intp]:
    """The indices of the cells of `after` among those of `before`, all grids one after the other."""
    parts, first = [], 0
    for stride in STRIDES:
        cells = np.arange(_cells(before, stride)).reshape(before.height // stride, before.width // stride)
        parts.append(first + cells[: after.height // stride, : after.width // stride].ravel())
        first += cells.size
    return np.concatenate(parts)


def _cut_shape(shape: list[int], before: Size, after: Size) -> list[int]:
    """The target shape of a Reshape, which ends with a grid's rows and columns, its cells, or the cells of all grids."""
    for stride in STRIDES:
        if shape[-2:] == [before.height // stride, before.width // stride]:
            return [*shape[:-2], after.height // stride, after.width // stride]
    known = {_cells(before, stride): _cells(after, stride) for stride in STRIDES}
    known[sum(known)] = sum(known.values())
    return [*shape[:-1], known.get(shape[-1], shape[-1])] if shape else shape


def _cells(size: Size, stride: int) -> int:
    return (size.width // stride) * (size.height // stride)
