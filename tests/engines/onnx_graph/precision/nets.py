"""Small networks in ONNX's text form, and helpers that run and inspect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

KINDS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
UNIT_ROUNDOFF = {"fp16": 2.0**-11, "bf16": 2.0**-8}


def net(text: str, opset: int = 17, ir_version: int = 8, domains: str = "", **constants: Any) -> onnx.ModelProto:
    """text: a graph, `(inputs) => (outputs) {nodes}`, followed by local functions. constants: its initializers by name.

    A node is named after its operator and output, "Conv_a".
    """
    model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["": {opset}{domains}]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
    for node in model.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return model


def weights(*shape: int, size: float = 0.5, seed: int = 0) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)
    return values


def check(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)


def session(model: onnx.ModelProto, is_optimised: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not is_optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]], is_optimised: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Every output by name. Floats are fed in the type that the input has now."""
    opened = session(model, is_optimised)
    types = {value.name: value.type for value in opened.get_inputs()}
    fed = {name: array.astype(np.float16) if types[name] == "tensor(float16)" else array for name, array in feeds.items()}
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(names, fed), strict=True))


def feeds_for(model: onnx.ModelProto, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Random values of each input's type and shape; open lengths are 2."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, npt.NDArray[Any]] = {}
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [dim.dim_value or 2 for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if value.name in constants:
            continue
        if dtype == np.bool_:
            feeds[value.name] = np.ones(shape, np.bool_)
        elif dtype.kind == "f":
            feeds[value.name] = rng.uniform(-1, 1, shape).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, 4, shape).astype(dtype)
    return feeds


def made_in(model: onnx.ModelProto, node_name: str) -> str:
    """The float type of the output of the node of that name."""
    (node,) = [node for node in model.graph.node if node.name == node_name]
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output, *inferred.input)}
    return KINDS[kinds[node.output[0]]]


def io_types(model: onnx.ModelProto) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}


def is_sorted(graph: onnx.GraphProto, outer: frozenset[str] = frozenset()) -> bool:
    """Whether every node, also in bodies, comes after the nodes that produce its inputs."""
    known = set(outer) | {value.name for value in (*graph.input, *graph.initializer)} | {""}
    for node in graph.node:
        if not known.issuperset(node.input):
            return False
        bodies = [a.g for a in node.attribute if a.HasField("g")]
        if not all(is_sorted(body, frozenset(known)) for body in bodies):
            return False
        known.update(node.output)
    return known.issuperset(value.name for value in graph.output)
