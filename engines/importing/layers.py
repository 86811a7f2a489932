"""Every known layer and its translation: the table KINDS."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from engines.errors import nearest
from engines.importing import KerasImportError, shapes
from engines.importing.activations import ACROSS_CHANNELS, LAYERS, activate
from engines.importing.convolutions import conv2d, conv2d_transpose, convolve, global_pool, pool
from engines.importing.maker import Maker, Value
from engines.importing.network import Network, Source, Step

Layer = Callable[[Maker, Step, Value], Value]

ONLY_IN_TRAINING = (
    "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
)  # fmt: skip
"""Layers that do nothing after training."""
FIT = "Choose a --size that is a multiple of 32"
ARITHMETIC = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Maximum": "Max", "Minimum": "Min"}
OPERATORS = {
    **ARITHMETIC,
    "Average": "Add",
    **{f"ops.{kind}": operator for kind, operator in ARITHMETIC.items()},
    "ops.Divide": "Div",
    "ops.TrueDivide": "Div",
}
"""Keras' kind → ONNX operator of two operands."""


def translate(network: Network, maker: Maker, image: Value) -> Value:
    """Add the steps of `network` on `image` to the graph. Raises KerasImportError that names the layer."""
    values = {network.image: image}
    for step in network.steps:
        operands = [values[source] if isinstance(source, str) else source for source in step.inputs]
        values[step.output] = _apply(maker, step, operands)
    return values[network.result]


def _apply(maker: Maker, step: Step, operands: Sequence[Value | Source]) -> Value:
    if step.config.get("data_format") == "channels_first" and step.kind not in ONLY_IN_TRAINING:
        cure = 'Build the model with keras.config.set_image_data_format("channels_last")'
        raise KerasImportError(f"{step}: has channels first", cure)
    if step.kind in OPERATORS or step.kind in ("Concatenate", "ops.Concatenate"):
        vectors = [shapes.as_vector(maker, step, value) if isinstance(value, Value) else value for value in operands]
        merge = _combine if step.kind in OPERATORS else _concatenate
        return merge(maker, step, vectors)
    layer = KINDS.get(step.kind)
    if layer is None:
        names = sorted({kind.removeprefix("ops.") for kind in (*KINDS, *OPERATORS, "Concatenate")})
        near = nearest(step.kind.removeprefix("ops."), names)
        cure = "docs/keras.md lists the supported layers; PyTorch or TensorFlow may export the model to ONNX themselves"
        cure = f'Did you mean "{near}"? {cure}' if near else cure
        raise KerasImportError(f"{step}: this kind of layer is not supported", cure)
    (value,) = operands if len(operands) == 1 else (None,)
    if not isinstance(value, Value):
        raise KerasImportError(f"{step}: has {len(operands)} inputs, and one is supported", "Build it with one input")
    mixes_channels = step.config.get("activation") in ACROSS_CHANNELS
    takes_flat = step.kind == "Dense" or (step.kind in TAKE_FLAT and not mixes_channels)
    return layer(maker, step, value if takes_flat else shapes.as_vector(maker, step, value))


def _dense(maker: Maker, step: Step, value: Value) -> Value:
    """A convolution whose kernel is as large as the flattened map: Keras flattens row by row, channels innermost."""
    kernel, *bias = step.weights
    rows, columns = value.window or (1, 1)
    taken, units = kernel.shape
    planar = kernel.reshape(rows, columns, taken // (rows * columns), units).transpose(3, 2, 0, 1)
    tensor = convolve(maker, step.name, value.tensor, planar, bias[0] if bias else None)
    tensor = activate(maker, tensor, step.config.get("activation"), step)
    return Value(tensor, (*value.shape[:-1], units), stride=value.stride)


def _batch_normalization(maker: Maker, step: Step, value: Value) -> Value:
    axis = step.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, Sequence) else axis  # a list until Keras 3
    if axis not in (-1, len(value.shape)):
        raise KerasImportError(f"{step}: normalises over axis {axis}", "Normalise over the last axis, channels")
    weights, channels = list(step.weights), value.channels
    scale = weights.pop(0) if step.config.get("scale", True) else np.ones(channels, np.float32)
    shift = weights.pop(0) if step.config.get("center", True) else np.zeros(channels, np.float32)
    named = zip(("scale", "shift", "mean", "variance"), (scale, shift, *weights), strict=True)
    inputs = [value.tensor, *(maker.weight(f"{step.name}/{name}", array) for name, array in named)]
    tensor = maker.node("BatchNormalization", inputs, step.name, epsilon=float(step.config.get("epsilon", 1e-3)))
    return _same(value, tensor)


def _normalization(maker: Maker, step: Step, value: Value) -> Value:
    """Its weights are (mean, variance), one number or one per channel."""
    mean, variance = (array.ravel() for array in step.weights)
    if step.config.get("invert") or mean.size not in (1, value.channels):
        what = f"{step}: is inverted, or has {mean.size} means for {value.channels} channels"
        raise KerasImportError(what, "Use one mean for all channels or one per channel, not inverted")
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    return _same(value, affine(maker, step.name, value.tensor, 1 / deviation, -mean / deviation))


def _rescaling(maker: Maker, step: Step, value: Value) -> Value:
    scale, offset = (np.asarray(step.config.get(key, start), np.float32).ravel() for key, start in (("scale", 1), ("offset", 0)))
    return _same(value, affine(maker, step.name, value.tensor, scale, offset))


def affine(maker: Maker, name: str, tensor: str, scale: npt.ArrayLike, shift: npt.ArrayLike) -> str:
    """tensor x scale + shift, each one number or one per channel; without nodes that change nothing."""
    for op_type, numbers, neutral in (("Mul", scale, 1), ("Add", shift, 0)):
        array = np.asarray(numbers, np.float32).ravel()
        if (array != neutral).any():
            label = f"{name}/{op_type.lower()}"
            tensor = maker.node(op_type, [tensor, maker.weight(f"{label}/by", array.reshape(1, -1, 1, 1))], label)
    return tensor


def _activation(maker: Maker, step: Step, value: Value) -> Value:
    """Of an Activation layer's configuration, or one of `keras.ops`."""
    name = step.config.get("activation") if step.kind == "Activation" else step.kind.removeprefix("ops.").lower()
    return _same(value, activate(maker, value.tensor, name, step))


def _activation_layer(maker: Maker, step: Step, value: Value) -> Value:
    return _same(value, LAYERS[step.kind.removeprefix("ops.")](maker, value.tensor, step.config, step))


def _prelu(maker: Maker, step: Step, value: Value) -> Value:
    slope = step.weights[0]
    if slope.ndim == 3 and slope.shape[:2] != (1, 1):
        maker.refuse_sliding(step, "it has a slope for every position of the window")
    planar = slope.transpose(2, 0, 1) if slope.ndim == 3 else slope.reshape(-1, 1, 1)
    return _same(value, maker.node("PRelu", [value.tensor, maker.weight(f"{step.name}/slope", planar)], step.name))


def _combine(maker: Maker, step: Step, operands: Sequence[Value | Source]) -> Value:
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


def _concatenate(maker: Maker, step: Step, operands: Sequence[Value | Source]) -> Value:
    values = [operand for operand in operands if isinstance(operand, Value)]
    rank = len(values[0].shape) + 1
    axis = int(step.config.get("axis", -1)) % rank
    if axis == 0 or len(values) < len(operands) or any(len(value.shape) + 1 != rank for value in values):
        raise KerasImportError(f"{step}: joins along axis {axis}, or other things than maps", "Join maps along their channels")
    is_spatial = axis < rank - 1
    if is_spatial:
        maker.refuse_sliding(step, "it joins maps along their rows or columns")
    _check_together(maker, step, values)
    if len({value.shape[: axis - 1] + value.shape[axis:] for value in values}) > 1:
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
    if array.ndim and array.size != array.shape[-1]:
        what = f"{step}: a constant of shape {array.shape} is not supported"
        raise KerasImportError(what, "Use a number, or one per channel")
    return maker.weight(f"{step.name}/constant", array.reshape(1, -1, 1, 1))


def _pass(maker: Maker, step: Step, value: Value) -> Value:
    return value


def _same(value: Value, tensor: str) -> Value:
    return dataclasses.replace(value, tensor=tensor)


KINDS: dict[str, Layer] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D", "SeparableConv2D"), conv2d),
    "Conv2DTranspose": conv2d_transpose,
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), pool),
    **dict.fromkeys(("GlobalMaxPooling2D", "GlobalAveragePooling2D"), global_pool),
    "Dense": _dense,
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "ZeroPadding2D": shapes.zero_padding,
    "Cropping2D": shapes.cropping,
    "UpSampling2D": shapes.upsampling,
    "Resizing": shapes.resizing,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "BatchNormalization": _batch_normalization,
    "PReLU": _prelu,
    **dict.fromkeys(("Activation", "ops.Relu", "ops.Relu6", "ops.Sigmoid", "ops.Tanh", "ops.Silu"), _activation),
    **dict.fromkeys(LAYERS, _activation_layer),
    "ops.Softmax": _activation_layer,
    **dict.fromkeys(ONLY_IN_TRAINING, _pass),
}
"""Keras' kind → its translation. Without layers of several operands."""

TAKE_FLAT = {
    "Flatten", "Reshape", "Rescaling", "Activation", "ReLU", "LeakyReLU", "ELU", "ops.Relu", "ops.Relu6", "ops.Sigmoid",
    "ops.Tanh", "ops.Silu", *ONLY_IN_TRAINING,
}  # fmt: skip
"""Layers that treat all numbers alike take a flattened map as it is."""
