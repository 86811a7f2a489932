"""Layers that TensorRT has no kernel for in half precision or INT8."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from tensorrt._enums import MAJOR


def errors_without_kernel(model: onnx.ModelProto, no_kernel: Mapping[str, str]) -> list[str]:
    """TensorRT's errors about the first node without a kernel, in the words of its version (NVIDIA/TensorRT, issue 4838).

    no_kernel: names of nodes -> what TensorRT calls them; "" stands for the node's own name. None lacks a kernel for FP32.
    """
    if not no_kernel:
        return []
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        is_int8 = any(makers.get(name) == "DequantizeLinear" for name in node.input)
        is_low = is_int8 or any(types.get(name) in (10, 16) for name in node.output)
        if node.name in no_kernel and is_low:
            return _errors(no_kernel[node.name] or node.name)
    return []


def _errors(label: str) -> list[str]:
    what = f"Internal Error (Could not find any implementation for node {label}."
    if MAJOR < 11:
        return [f"[optimizer.cpp::computeCosts::4195] Error Code 10: {what})"]
    place = "In computeCosts at /_src/optimizer/common/tactic/optimizer.cpp:4211)"
    return [
        "No low-precision conv kernel available for this strongly-typed Conv/ConvTranspose. Consider keeping Conv/ConvTranspose "
        f"and Q/DQ ops in FP32 (e.g. via a tool with an op_block_list). Failing node: {label}",
        f"IBuilder::buildSerializedNetworkToStream: Error Code 10: {what} {place}",
    ]
