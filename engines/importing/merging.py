"""Layers with several operands: arithmetic of maps and constants, and concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.importing import KerasImportError
from engines.importing.maker import Maker, Value
from engines.importing.network import Source, Step

FIT = "Choose a --size that is a multiple of 32"

OPERATORS = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Maximum": "Max",
    "Minimum": "Min",
    "Average": "Add",
    "ops.Add": "Add",
    "ops.Subtract": "Sub",
    "ops.Multiply": "Mul",
    "ops.Divide": "Div",
    "ops.TrueDivide": "Div",
    "ops.Maximum": "Max",
    "ops.Minimum": "Min",
}
"""Keras' kind → ONNX operator of two operands."""


def combine(maker: Maker, step: Step, operands: Sequence[Value | Source]) -> Value:
    """Two or more operands, from left to right."""
    values = [operand for operand in operands if isinstance(operand, Value)]
    _check_together(maker, step, values)
    tensors = [operand.tensor if isinstance(operand, Value) else _constant(maker, step, operand) for operand in operands]
    tensor = tensors[0]
    for number, other in enumerate(tensors[1:], start=1):
        name = step.name if number == len(tensors) - 1 else f"{step.name}/{number}"
        tensor = maker.node(OPERATORS[step.kind], [tensor, other], name)
    if step.kind == "Average":
        tensor = maker.node("Mul", [tensor, maker.weight(f"{step.name}/share", 1 / len(tensors))], f"{step.name}/mean")
    full = [value.shape if len(value.shape) == 3 else (1, 1, *value.shape) for value in values]
    try:
        shape = np.broadcast_shapes(*full)
    except ValueError as error:
        sizes = " and ".join(map(str, full))
        raise KerasImportError(f"{step}: maps of {sizes} do not fit each other", FIT) from error
    is_vector = all(len(value.shape) == 1 for value in values)
    return Value(tensor, shape[2:] if is_vector else shape, stride=values[0].stride)


def concatenate(maker: Maker, step: Step, operands: Sequence[Value | Source]) -> Value:
    values = [operand for operand in operands if isinstance(operand, Value)]
    rank = len(values[0].shape) + 1
    axis = int(step.config.get("axis", -1)) % rank
    if axis == 0 or len(values) < len(operands) or any(len(value.shape) + 1 != rank for value in values):
        raise KerasImportError(f"{step}: joins along axis {axis}, or other things than maps", "Join maps along their channels")
    is_spatial = axis < rank - 1
    if is_spatial:
        maker.refuse_sliding(step, "it joins maps along their rows or columns")
    _check_together(maker, step, values)
    lengths = [[length for place, length in enumerate(value.shape, start=1) if place != axis] for value in values]
    if any(other != lengths[0] for other in lengths):
        sizes = " and ".join(f"{value.grid[0]}x{value.grid[1]}" for value in values)
        raise KerasImportError(f"{step}: maps of {sizes} cannot be joined", FIT)
    tensor = maker.node("Concat", [value.tensor for value in values], step.name, axis=axis + 1 if is_spatial else 1)
    shape = list(values[0].shape)
    shape[axis - 1] = sum(value.shape[axis - 1] for value in values)
    return Value(tensor, tuple(shape), stride=values[0].stride)


def _check_together(maker: Maker, step: Step, values: Sequence[Value]) -> None:
    """While sliding, operands must have the same positions: the mean of a window has one, its map many."""
    if len({value.grid for value in values}) > 1:
        maker.refuse_sliding(step, "it combines numbers of a whole window with the window's map")
    if len({value.stride for value in values}) > 1:
        maker.refuse_sliding(step, "it combines maps of different strides")


def _constant(maker: Maker, step: Step, operand: Source) -> str:
    array = np.asarray(operand, np.float32)
    if array.ndim and array.shape != (1,) * (array.ndim - 1) + array.shape[-1:]:
        what = f"{step}: a constant of shape {array.shape} is not supported"
        raise KerasImportError(what, "Use a number, or one per channel")
    return maker.weight(f"{step.name}/constant", array.reshape(1, -1, 1, 1))
