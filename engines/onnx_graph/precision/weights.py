"""Rounding weights to half precision so that what each output channel loses in one weight it gets back in the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.onnx_graph.precision.wiring import FLOAT, FLOAT16, Wiring, as_type, bfloat16_bits

if TYPE_CHECKING:
    import onnx


def output_axes(wiring: Wiring) -> dict[str, int]:
    """The constants that are weights of convolutions and matrix products -> the axis that their outputs lie on."""
    axes: dict[str, int] = {}
    for node in wiring.nodes:
        axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}.get(node.op_type)
        settings = {attribute.name: attribute.i for attribute in node.attribute if attribute.name in ("group", "transB")}
        if axis is None or (node.op_type == "ConvTranspose" and settings.get("group", 1) != 1):
            continue
        tensor = wiring.constants.get(node.input[1])
        if tensor is not None and tensor.data_type == FLOAT and len(tensor.dims) >= 2:
            if node.op_type == "MatMul" and len(tensor.dims) > 2:
                continue
            axes[tensor.name] = 0 if settings.get("transB") else axis
    return axes


def rounded_weight(tensor: onnx.TensorProto, element_type: int, name: str, axis: int) -> onnx.TensorProto:
    """A copy of a weight in half precision whose sums over all but `axis` hardly change.

    Plain rounding leaves each output channel an offset, since what comes in is mostly positive. Here each weight takes on what
    the one before it lost, from the largest to the smallest, but never more than one step of its own size (its input may be as
    large as the other's is small), so none moves by more than one and a half steps. Measured on DeepLab v3 (MobileNet v2) over 20
    frames: 99.84 % of the labels as in float32, 99.69 % with plain rounding.
    """
    import onnx

    values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
    rows = np.moveaxis(values, axis, 0)
    flat = rows.reshape(len(rows), -1)
    order = np.argsort(-np.abs(flat), axis=1, kind="stable")
    columns = np.ascontiguousarray(np.take_along_axis(flat, order, 1).T)
    carry = np.zeros(len(rows))
    for column, steps in zip(columns, _steps(columns, element_type), strict=True):  # (outputs,): each one's next smaller weight
        wanted = column + np.clip(carry, -steps, steps)
        column[:] = _nearest(wanted, element_type)
        carry = wanted - column
    rounded = np.empty_like(flat)
    np.put_along_axis(rounded, order, columns.T, 1)
    shaped = np.moveaxis(rounded.reshape(rows.shape), 0, axis).astype(np.float32)
    return as_type(onnx.numpy_helper.from_array(np.ascontiguousarray(shaped)), element_type, name)


def _steps(values: npt.NDArray[np.float64], element_type: int) -> npt.NDArray[np.float64]:
    """How far apart neighbours in half precision are at each value."""
    bits, lowest = (10, -14) if element_type == FLOAT16 else (7, -126)
    _, exponents = np.frexp(values)
    steps: npt.NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponents - 1, lowest) - bits)
    return steps


def _nearest(values: npt.NDArray[np.float64], element_type: int) -> npt.NDArray[Any]:
    if element_type == FLOAT16:
        return np.clip(values, -65504, 65504).astype(np.float16)  # a carry must not push the largest to infinity
    return (bfloat16_bits(values.astype(np.float32)).astype(np.uint32) << 16).view(np.float32)
