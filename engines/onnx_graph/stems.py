"""Stems: what a graph's first nodes do with the picture: the range of its pixels, and whether it begins with YOLOX's Focus."""

from typing import Any

import numpy as np

from engines.onnx_graph.precision.wiring import constants
from engines.types import F64

MOVES = frozenset(
    {
        *("Cast", "Identity", "Transpose", "Pad", "Resize", "Upsample", "Unsqueeze", "Squeeze", "Reshape", "Gather", "Expand"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
"""They move pixels, and leave their values as they are."""

NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13})
"""onnx.TensorProto's types of numbers that NumPy has."""

MOST_NODES = 24
"""That are followed: normalisation is a handful."""

SPAN = (0.9, 6.5)
"""From the darkest pixel to the brightest, after normalisation: 1 of 0..1, 2 of -1..1, 4.4 of ImageNet's deviations."""

FOCUS_CHANNELS = 12
"""Of the four quarters of a picture that YOLOX stacks: every second row and column."""


def pixel_range(model: Any, image: str) -> str:
    """ "0..255" or "0..1", where the graph normalises the picture by constants of its own; "" where it does not say."""
    found = _normalisation(model, image)
    if found is None:
        return ""
    gains, offsets = found
    gain, shift = float(np.abs(gains).mean()), float(np.abs(offsets).max())
    if not gain > 0 or (bool((gains == 1).all()) and not shift):  # by 1 and 0: as the pixels come
        return ""
    low, high = SPAN
    if low / 255 <= gain <= high / 255:
        return "0..255"
    if low <= gain <= high:
        return "0..255" if shift / gain > 2 else "0..1"  # a mean of 104 is one of bytes
    return "0..1" if low * 100 <= gain <= 300 else ""


def has_focus(model: Any, image: str) -> bool:
    """Whether it begins by stacking every second row and column of the picture, as YOLOX does."""
    makers = {output: node for node in model.graph.node for output in node.output}
    widths = {name: list(tensor.dims) for name, tensor in constants(model)}
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 2:
            continue
        stacked = makers.get(node.input[0])
        weights = _original(node.input[1], makers)
        if stacked is None or stacked.op_type != "Concat" or len(stacked.input) != FOCUS_CHANNELS // 3:
            continue
        is_wide = widths.get(weights, [0, 0])[1:2] == [FOCUS_CHANNELS]
        if is_wide and all(_is_sliced(part, image, makers) for part in stacked.input):
            return True
    return False


def _normalisation(model: Any, image: str) -> tuple[F64, F64] | None:
    """Per channel, gain and offset of the first additions and multiplications by constants; None where there are none."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    values, tensor = dict(constants(model)), image
    gains, offsets, seen = np.ones(1), np.zeros(1), False
    for _ in range(MOST_NODES):
        nodes = readers.get(tensor, [])
        if len(nodes) != 1:
            break
        (node,) = nodes
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            number = _numbers(values, node.input[1 - list(node.input).index(tensor)])
            is_second = list(node.input).index(tensor) == 1
            if number is None or (is_second and node.op_type in ("Sub", "Div")):
                break
            if node.op_type in ("Add", "Sub"):
                offsets = offsets + (number if node.op_type == "Add" else -number)
            else:
                with np.errstate(divide="ignore"):
                    factor = number if node.op_type == "Mul" else 1 / number
                gains, offsets = gains * factor, offsets * factor
            seen = True
        elif node.op_type not in MOVES or node.input[0] != tensor:
            break
        tensor = node.output[0]
    return (gains, offsets) if seen and np.isfinite(gains).all() and np.isfinite(offsets).all() else None


def _numbers(values: dict[str, Any], name: str) -> F64 | None:
    """One number, or one for each channel, of a constant; None for anything else."""
    import onnx

    tensor = values.get(name)
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    if tensor.data_type not in NUMBERS or int(np.prod(tensor.dims)) not in (1, 3):
        return None
    return np.asarray(onnx.numpy_helper.to_array(tensor), np.float64).ravel()


def _original(tensor: str, makers: dict[str, Any]) -> str:
    """The name of a weight before its DequantizeLinear."""
    node = makers.get(tensor)
    return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else tensor


def _is_sliced(tensor: str, image: str, makers: dict[str, Any]) -> bool:
    """Whether slices alone, at least one of them, lead from the picture to this tensor."""
    count = 0
    for _ in range(MOST_NODES):
        if tensor == image:
            return count > 0
        node = makers.get(tensor)
        if node is None or node.op_type not in {"Slice", *MOVES}:
            return False
        count += node.op_type == "Slice"
        tensor = node.input[0]
    return False
