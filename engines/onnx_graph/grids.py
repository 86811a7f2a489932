"""Networks that have written down where their cells lie, cut to a smaller input.

YOLO's exporters bake the places of all cells of their three grids, one grid behind the other, into constants, and with them the
input's size. For an input that is no longer on either side the cells keep their places, and there are fewer: constants are cut to
the ones that remain. So a network for 640x640 also runs at 384x640, which is all that a picture of 16:9 fills of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engines.onnx_graph.editing import constants
from engines.types import Size

STRIDES = (8, 16, 32)
"""Of the three grids of cells, in input pixels; in this order one grid follows the other."""


def can_be_cut(before: Size, after: Size) -> bool:
    """Whether the grids of `after` are parts of those of `before`, cell by cell."""
    sides = (before.width, before.height, after.width, after.height)
    return all(side % STRIDES[-1] == 0 for side in sides) and after.width <= before.width and after.height <= before.height


def cut(model: Any, before: Size, after: Size) -> Any:
    """The onnx.ModelProto with what its constants say about grids cut from an input of `before` to one of `after`; a new model.

    Cut are floating-point constants with as many entries along one axis as there are cells, and the shapes that Reshape nodes
    ask for. Whether the network runs then is for the caller to try.
    """
    from onnx import ModelProto, numpy_helper

    new = ModelProto()
    new.CopyFrom(model)
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


def kept_cells(before: Size, after: Size) -> npt.NDArray[np.intp]:
    """The places of the cells of `after` among those of `before`, all grids one behind the other."""
    parts, first = [], 0
    for stride in STRIDES:
        cells = np.arange(_cells(before, stride)).reshape(before.height // stride, before.width // stride)
        parts.append(first + cells[: after.height // stride, : after.width // stride].ravel())
        first += cells.size
    return np.concatenate(parts)


def _cut_shape(shape: list[int], before: Size, after: Size) -> list[int]:
    """What a Reshape asks for: rows and columns of a grid, the cells of one, or the cells of all."""
    for stride in STRIDES:
        if shape[-2:] == [before.height // stride, before.width // stride]:
            return [*shape[:-2], after.height // stride, after.width // stride]
    known = {_cells(before, stride): _cells(after, stride) for stride in STRIDES}
    known[sum(known)] = sum(known.values())
    return [*shape[:-1], known.get(shape[-1], shape[-1])] if shape else shape


def _cells(size: Size, stride: int) -> int:
    return (size.width // stride) * (size.height // stride)
