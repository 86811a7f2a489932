"""Layers that move numbers: padding, cropping, resizing, flattening, reshaping."""

import dataclasses
import math
from typing import Any

import numpy as np

from engines.importing import KerasImportError
from engines.importing.convolutions import map_shape, pair
from engines.importing.maker import Maker, Value
from engines.importing.network import Step


def sides(given: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Keras' padding and cropping: one number, one per direction, or (top, bottom), (left, right)."""
    if isinstance(given, int):
        given = (given, given)
    rows, columns = given
    return pair(rows), pair(columns)


def zero_padding(maker: Maker, step: Step, value: Value) -> Value:
    (top, bottom), (left, right) = sides(step.config["padding"])
    maker.approximate.append(step.name)
    pads = maker.integers(f"{step.name}/pads", [0, 0, top, left, 0, 0, bottom, right])
    height, width, channels = map_shape(step, value)
    tensor = maker.node("Pad", [value.tensor, pads], step.name, mode="constant")
    return Value(tensor, (height + top + bottom, width + left + right, channels), stride=value.stride)


def cropping(maker: Maker, step: Step, value: Value) -> Value:
    (top, bottom), (left, right) = sides(step.config["cropping"])
    height, width, channels = map_shape(step, value)
    if top + bottom >= height or left + right >= width:
        raise KerasImportError(f"{step}: crops a map of {height}x{width} to nothing", "Choose a larger --size")
    past_all = np.iinfo(np.int32).max
    starts = maker.integers(f"{step.name}/starts", [top, left])
    ends = maker.integers(f"{step.name}/ends", [-bottom or past_all, -right or past_all])
    tensor = maker.node("Slice", [value.tensor, starts, ends, maker.integers(f"{step.name}/axes", [2, 3])], step.name)
    return Value(tensor, (height - top - bottom, width - left - right, channels), stride=value.stride)


def upsampling(maker: Maker, step: Step, value: Value) -> Value:
    maker.refuse_sliding(step, "it enlarges a map")
    down, across = pair(step.config.get("size", 2))
    height, width, channels = map_shape(step, value)
    scales = maker.weight(f"{step.name}/scales", [1, 1, down, across])
    tensor = maker.node("Resize", [value.tensor, "", scales], step.name, **_sampling(step))
    return Value(tensor, (height * down, width * across, channels))


def resizing(maker: Maker, step: Step, value: Value) -> Value:
    height, width = int(step.config["height"]), int(step.config["width"])
    if (height, width) == value.grid:
        return value
    maker.refuse_sliding(step, "it resizes every window")
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if step.config.get(key):
            raise KerasImportError(f"{step}: {key}=True is not supported", "Resize without it")
    sizes = maker.integers(f"{step.name}/sizes", [1, value.channels, height, width])
    tensor = maker.node("Resize", [value.tensor, "", "", sizes], step.name, **_sampling(step))
    return Value(tensor, (height, width, map_shape(step, value)[2]))


def _sampling(step: Step) -> dict[str, str]:
    """Pixel centres are at half pixels, in Keras as in OpenCV."""
    interpolation = step.config.get("interpolation", "nearest")
    if interpolation == "bilinear":
        return {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if interpolation == "nearest":
        return {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
    raise KerasImportError(f'{step}: unknown interpolation "{interpolation}"', "Known: nearest, bilinear")


def flatten(maker: Maker, step: Step, value: Value) -> Value:
    """Changes only the shape: the map stays a map until a layer mixes its numbers."""
    return value if len(value.shape) == 1 else _flat(value)


def _flat(value: Value) -> Value:
    return dataclasses.replace(value, shape=(math.prod(value.shape),), window=value.grid)


def as_vector(maker: Maker, step: Step, value: Value) -> Value:
    """A flattened map as a vector, in Keras' order: row by row, channels innermost. Other values are unchanged.

    One kernel per position of the window picks the number there; then the channels of each position are put together.
    """
    if value.window is None:
        return value
    rows, columns = value.window
    places, channels = rows * columns, value.channels // (rows * columns)
    picks = np.tile(np.eye(places, dtype=np.float32).reshape(places, 1, rows, columns), (channels, 1, 1, 1))
    kernel = maker.weight(f"{step.name}/places", picks)
    picked = maker.node("Conv", [value.tensor, kernel], f"{step.name}/picked", group=channels)
    order = np.arange(channels * places).reshape(channels, places).T.ravel()
    tensor = maker.node("Gather", [picked, maker.integers(f"{step.name}/order", order.tolist())], f"{step.name}/vector", axis=1)
    return Value(tensor, value.shape, stride=value.stride)


def reshape(maker: Maker, step: Step, value: Value) -> Value:
    total = math.prod(value.shape)
    target = [int(length) for length in step.config["target_shape"]]
    if -1 in target:
        target[target.index(-1)] = total // -math.prod(target)
    shape = tuple(target)
    if shape == value.shape:
        return value
    if len(shape) == 1 and value.grid != (1, 1):
        return _flat(value)
    value = as_vector(maker, step, value)
    if value.grid == (1, 1) and shape in ((total,), (1, 1, total)):
        return dataclasses.replace(value, shape=shape)
    maker.refuse_sliding(step, "it separates a window's rows and columns")
    if len(shape) != 3:
        raise KerasImportError(f"{step}: a shape of {shape} is not supported", "Use (height, width, channels) or one number")
    last = maker.node("Transpose", [value.tensor], f"{step.name}/channels_last", perm=[0, 2, 3, 1])
    again = maker.node("Reshape", [last, maker.integers(f"{step.name}/shape", [1, *shape])], f"{step.name}/reshaped")
    return Value(maker.node("Transpose", [again], step.name, perm=[0, 3, 1, 2]), shape)
