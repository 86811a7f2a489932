"""Detectors of bright squares, made on the fly: their results are known, and so is what another input size does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.models.model import Model, load_model
from engines.types import Image, Size

CELL_PX, SPOT_PX = 16, 48

Kind = Literal["open", "fixed", "shares", "iterating", "coarse"]


OWN = Size(128, 128)


def spots(folder: Path, size: Size = OWN, kind: Kind = "open", fit: str = "letterbox") -> Model:
    """A detector for squares of SPOT_PX network pixels.

    kind: "open" runs at any size; "fixed" has its number of cells in a Reshape; "shares" runs, but takes rows as shares of its
    own height; "iterating" has a Loop; "coarse" takes multiples of 64 only.
    """
    cells = (size.width // CELL_PX) * (size.height // CELL_PX)
    whole = {"fixed": [1, 5, cells]}.get(kind, [1, 5, -1])
    numbers: dict[str, object] = {
        "cell_px": np.array(CELL_PX, np.float32),
        "half": np.array(0.5, np.float32),
        "dark": np.array(0.55, np.float32),
        "gain": np.array(2, np.float32),
        "little": np.array(1e-4, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(0.95, np.float32),
        "two": np.array(2, np.int64),
        "two_px": np.array(2, np.float32),
        "three": np.array(3, np.int64),
        "rows_px": np.array(size.height / CELL_PX, np.float32),
        "shape": np.array(whole, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        node("AveragePool", ["grey"], ["cells"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        node("Identity", ["cells"], ["known"]),
        node("AveragePool", ["known"], ["means"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
        node("Sub", ["means", "means"], ["zeros"]),
        node("Exp", ["zeros"], ["ones"]),
        node("CumSum", ["ones", "three"], ["columns"]),
        node("CumSum", ["ones", "two"], ["rows"]),
        node("Mul", ["rows", "two_px"], ["twice"]),
        node("Add", ["columns", "twice"], ["order"]),
        node("Mul", ["order", "little"], ["tie"]),
        node("Add", ["means", "tie"], ["unequal"]),  # of two equal neighbours one is the peak
        node("MaxPool", ["unequal"], ["highest"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Equal", ["unequal", "highest"], ["is_peak"]),
        node("Where", ["is_peak", "means", "zeros"], ["peaks"]),
        node("Sub", ["peaks", "dark"], ["lighter"]),
        node("Mul", ["lighter", "gain"], ["amount"]),
        node("Clip", ["amount", "low", "high"], ["scores"]),
        *(_place("columns", "x")),
        *(_place("rows", "pixel_y")),
        node("Mul", ["ones", "spot"], ["sides"]),
        node("Concat", ["x", "y", "sides", "sides", "scores"], ["boxes"], axis=1),
        node("Reshape", ["boxes", "shape"], ["output0"]),
    ]
    numbers["spot"] = np.array(SPOT_PX, np.float32)
    if kind == "shares":
        numbers["own_px"] = np.array(size.height, np.float32)
        nodes[-3:-3] = [
            node("ReduceMax", ["rows"], ["count"], keepdims=1),
            node("Mul", ["count", "cell_px"], ["height"]),
            node("Div", ["pixel_y", "height"], ["share"]),
            node("Mul", ["share", "own_px"], ["y"]),
        ]
    else:
        nodes[-3:-3] = [node("Identity", ["pixel_y"], ["y"])]
    if kind == "coarse":  # cells go through blocks of four by four
        nodes[2:3] = [
            node("SpaceToDepth", ["cells"], ["blocks"], blocksize=4),
            node("DepthToSpace", ["blocks"], ["known"], blocksize=4),
        ]
    if kind == "iterating":
        nodes[2] = _loop()
        numbers |= {"once": np.array(1, np.int64), "yes": np.array(True)}
    graph = helper.make_graph(
        nodes,
        "spots",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size.height, size.width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    path = folder / f"spots-{kind}-{size}-{fit}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    path.with_suffix(".toml").write_text(
        'family = "boxes"\nclasses = ["spot"]\noutputs = { predictions = "output0" }\n'
        f'[input]\nfit = "{fit}"\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n'
    )
    return load_model(path)


def _place(count: str, name: str) -> list[onnx.NodeProto]:
    """The middle of a cell, in network pixels."""
    return [
        helper.make_node("Sub", [count, "half"], [f"{name}_cells"]),
        helper.make_node("Mul", [f"{name}_cells", "cell_px"], [name]),
    ]


def _loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["once", "yes", "cells"], ["known"], body=body)


def picture(size: Size, *spots_at: tuple[float, float]) -> Image:
    """A dark picture with bright squares around these places, shares of its width and height."""
    image = np.full((size.height, size.width, 3), 30, np.uint8)
    side = max(size.width, size.height) * SPOT_PX / 128
    for x, y in spots_at:
        centre = x * size.width, y * size.height
        corners = [tuple(round(place + sign * side / 2) for place in centre) for sign in (-1, 1)]
        cv2.rectangle(image, corners[0], corners[1], (250, 250, 250), -1)
    return image
