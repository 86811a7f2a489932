"""Layers with a window: convolutions and pooling, with TensorFlow's padding."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engines.importing import KerasImportError
from engines.importing.activations import activate
from engines.importing.maker import Maker, Value
from engines.importing.network import Step

Pair = tuple[int, int]


class Sweep(NamedTuple):
    """A window over a map: padding at the top, left, bottom and right, and the rows and columns of the result."""

    pads: list[int]
    grid: Pair


def pair(number: Any) -> Pair:
    """One number stands for both directions."""
    return (int(number), int(number)) if isinstance(number, int | float) else (int(number[0]), int(number[1]))


def sweep(maker: Maker, step: Step, value: Value, kernel: Pair, strides: Pair, dilation: Pair = (1, 1)) -> Sweep:
    """The geometry of `step` on `value`. Raises KerasImportError for a map smaller than the window."""
    padding = step.config.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise KerasImportError(f'{step}: unknown padding "{padding}"', "Known: valid, same")
    lengths, steps = np.array(value.grid), np.array(strides)
    reach = (np.array(kernel) - 1) * dilation + 1
    grid = -(-lengths // steps) if padding == "same" else (lengths - reach) // steps + 1
    total = np.maximum((grid - 1) * steps + reach - lengths, 0)  # 0 for "valid"
    if grid.min() < 1:
        what = f"{step}: its {kernel[0]}x{kernel[1]} window does not fit a map of {value.grid[0]}x{value.grid[1]}"
        raise KerasImportError(what, "Choose a larger --size")
    if total.any():
        maker.approximate.append(step.name)
    return Sweep([*(total // 2).tolist(), *(total - total // 2).tolist()], pair(grid))


def map_shape(step: Step, value: Value) -> tuple[int, int, int]:
    """Rows, columns and channels. Raises KerasImportError for a vector."""
    if len(value.shape) != 3:
        raise KerasImportError(f"{step}: needs a map of rows and columns, and gets {value.shape}", "Check the layer before it")
    height, width, channels = value.shape
    return height, width, channels


def swept(step: Step, value: Value, tensor: str, grid: Pair, channels: int, strides: Pair) -> Value:
    """The result of a window over `value`."""
    map_shape(step, value)
    return Value(tensor, (*grid, channels), stride=(value.stride[0] * strides[0], value.stride[1] * strides[1]))


def convolve(
    maker: Maker, name: str, tensor: str, kernel: npt.NDArray[Any], bias: npt.NDArray[Any] | None, **attributes: Any
) -> str:
    """A Conv node. kernel: (out, in / groups, rows, columns)."""
    inputs = [tensor, maker.weight(f"{name}/kernel", kernel)]
    if bias is not None:
        inputs.append(maker.weight(f"{name}/bias", bias))
    return maker.node("Conv", inputs, name, **attributes)


def conv2d(maker: Maker, step: Step, value: Value) -> Value:
    """Conv2D, DepthwiseConv2D, SeparableConv2D: their kernels are (rows, columns, in, out)."""
    strides, dilation = pair(step.config.get("strides", 1)), pair(step.config.get("dilation_rate", 1))
    weights = list(step.weights)
    kernel = weights.pop(0)
    rows, columns, per_group, made = kernel.shape
    if step.kind == "Conv2D":
        planar, groups = kernel.transpose(3, 2, 0, 1), int(step.config.get("groups", 1))
    else:  # each input channel has `made` kernels, with adjacent outputs
        planar, groups = kernel.transpose(2, 3, 0, 1).reshape(per_group * made, 1, rows, columns), per_group
    geometry = sweep(maker, step, value, (rows, columns), strides, dilation)
    pointwise = weights.pop(0) if step.kind == "SeparableConv2D" else None
    bias = weights[0] if weights else None
    attributes = {"strides": strides, "dilations": dilation, "pads": geometry.pads, "group": groups}
    tensor = convolve(maker, step.name, value.tensor, planar, bias if pointwise is None else None, **attributes)
    if pointwise is not None:
        planar = pointwise.transpose(3, 2, 0, 1)
        tensor = convolve(maker, f"{step.name}/pointwise", tensor, planar, bias)
    tensor = activate(maker, tensor, step.config.get("activation"), step)
    return swept(step, value, tensor, geometry.grid, len(planar), strides)


def conv2d_transpose(maker: Maker, step: Step, value: Value) -> Value:
    """Its kernel is (rows, columns, out, in). "same" cuts off what a convolution of that stride would pad."""
    maker.refuse_sliding(step, "it enlarges a map")
    kernel = step.weights[0]
    rows, columns, channels, _ = kernel.shape
    strides, dilation = pair(step.config.get("strides", 1)), pair(step.config.get("dilation_rate", 1))
    given = step.config.get("output_padding")
    extra: tuple[int | None, int | None] = (None, None) if given is None else pair(given)
    cuts, grid = [], []
    for axis, size in enumerate((rows, columns)):
        cuts.append(_cut(size, strides[axis], dilation[axis], step.config.get("padding"), extra[axis]))
        grid.append((value.grid[axis] - 1) * strides[axis] + (size - 1) * dilation[axis] + 1 - sum(cuts[axis]))
    inputs = [value.tensor, maker.weight(f"{step.name}/kernel", kernel.transpose(3, 2, 0, 1))]
    inputs += [maker.weight(f"{step.name}/bias", bias) for bias in step.weights[1:]]
    (top, bottom), (left, right) = cuts
    pads, appended = [top, left, max(bottom, 0), max(right, 0)], [max(-bottom, 0), max(-right, 0)]
    attributes = {"strides": strides, "dilations": dilation, "pads": pads, "output_padding": appended}
    tensor = maker.node("ConvTranspose", inputs, step.name, **attributes)
    tensor = activate(maker, tensor, step.config.get("activation"), step)
    return swept(step, value, tensor, (grid[0], grid[1]), channels, (1, 1))


def _cut(size: int, stride: int, dilation: int, padding: Any, extra: int | None) -> Pair:
    """The rows or columns that Keras cuts off the full output before and after; it appends negative ones.

    Source: keras/src/backend/common/backend_utils.py, which does as TensorFlow did.
    """
    reach = (size - 1) * dilation + 1
    if padding == "valid":
        return 0, -(max(reach, stride) - reach if extra is None else extra)
    total = stride + reach - 2 if extra is None else reach + reach % 2 - 2 + extra
    left = min(total // 2 + total % 2, reach - 1)
    return (reach - 1) - left, (reach - 1) - (total - left)


def pool(maker: Maker, step: Step, value: Value) -> Value:
    """MaxPooling2D, AveragePooling2D; padding does not count."""
    kernel = pair(step.config.get("pool_size", 2))
    strides = pair(step.config.get("strides") or kernel)
    geometry = sweep(maker, step, value, kernel, strides)
    is_max = step.kind == "MaxPooling2D"
    if not is_max and max(kernel) > 2 and geometry.pads[:2] != geometry.pads[2:]:
        what = f'{step}: Keras\' backends disagree about averages of more than 2 with padding="same" on one side only'
        raise KerasImportError(what, 'Use padding="valid"')
    settings = {"kernel_shape": kernel, "strides": strides, "pads": geometry.pads}
    tensor = maker.node("MaxPool" if is_max else "AveragePool", [value.tensor], step.name, **settings)
    return swept(step, value, tensor, geometry.grid, value.channels, strides)


def global_pool(maker: Maker, step: Step, value: Value) -> Value:
    """GlobalMaxPooling2D, GlobalAveragePooling2D: over the frame, or over each window where the classifier slides."""
    kind = "MaxPool" if step.kind == "GlobalMaxPooling2D" else "AveragePool"
    if maker.is_sliding:
        tensor = maker.node(kind, [value.tensor], step.name, kernel_shape=value.grid)
    else:
        tensor = maker.node(f"Global{kind}", [value.tensor], step.name)
    channels = value.channels
    return Value(tensor, (1, 1, channels) if step.config.get("keepdims") else (channels,), stride=value.stride)
