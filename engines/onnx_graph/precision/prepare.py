"""Preparing a graph for the caster: node names, order, constants as initializers, batch normalisation folded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.onnx_graph.precision.wiring import (
    BFLOAT16,
    CONSTANTS_ALONE_IR,
    FLOAT,
    opset_of,
    replace_entries,
    sort_nodes,
    subgraphs,
    tensor_names,
    tensors_read,
    unused_name,
)

if TYPE_CHECKING:
    import onnx

BFLOAT16_OPSET = 22
"""The first opset in which convolution, pooling and the common activations support bfloat16."""


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node, including those in bodies, has a unique name. Names that are unique already are kept.

    Local functions are inlined, so that `keep_fp32` can name their nodes.
    """
    from onnx.inliner import inline_local_functions

    named = inline_local_functions(model) if model.functions else copy.deepcopy(model)
    taken: set[str] = set()
    _name_nodes(named.graph, taken)
    return named


def _name_nodes(graph: onnx.GraphProto, taken: set[str]) -> None:
    kept = {node.name for node in graph.node if node.name}
    for node in graph.node:
        if node.name in kept and node.name not in taken:
            taken.add(node.name)
            continue
        first = next((name for name in node.output if name), "")
        node.name = unused_name(node.name or f"{node.op_type}_{first}", taken | kept)
        taken.add(node.name)
    for node in graph.node:
        for body in subgraphs(node):
            _name_nodes(body, taken)


def prepared(model: onnx.ModelProto, low_type: int) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A tidy copy, and the names of removed nodes -> the node that replaces each, or "".

    Functions are inlined, nodes named and sorted, float constants are initializers that are not inputs, and batch normalisation
    is folded into the convolution before it.
    """
    ready = name_nodes(model)
    sort_nodes(ready.graph)
    if low_type == BFLOAT16:
        ready = name_nodes(with_opset(ready, BFLOAT16_OPSET))  # the converter adds nodes of its own
    constants = {tensor.name for tensor in ready.graph.initializer}
    replace_entries(ready.graph.input, [value for value in ready.graph.input if value.name not in constants])
    ready.ir_version = max(ready.ir_version, CONSTANTS_ALONE_IR)
    gone = dict.fromkeys(_gather_constants(ready.graph), "")
    return ready, gone | fold_batch_normalisation(ready)


def with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A new model in a newer opset; `model` itself if it is new enough already or ONNX's converter fails."""
    import onnx

    if opset_of(model) >= opset:
        return model
    try:
        newer = onnx.version_converter.convert_version(model, opset)
        newer.ir_version = max(newer.ir_version, 10)
        onnx.checker.check_model(newer, full_check=True)
    except Exception:  # of many types, mostly for custom operators; the older graph is correct, with less in low precision
        return model
    return newer


def _gather_constants(graph: onnx.GraphProto) -> list[str]:
    """Turn the float Constant nodes of a graph into initializers. Changes the graph; returns the names of the nodes."""
    import onnx

    outputs = {value.name for value in graph.output}
    kept, gone = [], []
    for node in graph.node:
        tensor = _constant_tensor(node) if node.op_type == "Constant" and node.output[0] not in outputs else None
        if tensor is None or tensor.data_type != FLOAT:
            kept.append(node)
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), node.output[0]))
            gone.append(node.name)
    if gone:
        replace_entries(graph.node, kept)
    return gone


def _constant_tensor(node: Any) -> Any:
    import onnx

    attribute = node.attribute[0]
    if attribute.name == "value":
        return attribute.t
    if attribute.name in ("value_float", "value_floats"):
        values = onnx.helper.get_attribute_value(attribute)
        return onnx.numpy_helper.from_array(np.array(values, np.float32))
    return None


def fold_batch_normalisation(model: onnx.ModelProto) -> dict[str, str]:
    """Fold each batch normalisation into the convolution before it if nothing else reads that. Changes `model`.

    Calculated in float64 and rounded once. Returns the names of the removed normalisations -> those of their convolutions.
    """
    import onnx

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    reads: dict[str, int] = dict.fromkeys((value.name for value in graph.output), 1)
    for node in graph.node:
        for name in tensors_read(node):
            reads[name] = reads.get(name, 0) + 1
    taken = tensor_names(graph)
    folded: dict[str, str] = {}
    for node in graph.node:
        convolution = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if convolution is None or reads[node.input[0]] > 1 or not _can_fold(convolution, node, constants):
            continue
        weights = _folded(convolution, node, constants)
        for slot, values in enumerate(weights, start=1):
            name = unused_name(f"{node.name}_{'weight' if slot == 1 else 'bias'}", taken)
            graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
            del convolution.input[slot : slot + 1]
            convolution.input.insert(slot, name)
        convolution.output[0] = node.output[0]
        folded[node.name] = convolution.name
    if folded:
        replace_entries(graph.node, [node for node in graph.node if node.name not in folded])
        read = {value.name for value in graph.output}.union(*map(tensors_read, graph.node))
        replace_entries(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    return folded


def _can_fold(convolution: Any, norm: Any, constants: dict[str, Any]) -> bool:
    if convolution.op_type not in ("Conv", "ConvTranspose") or len([name for name in norm.output if name]) > 1:
        return False
    settings = {attribute.name: attribute.i for attribute in norm.attribute}
    if settings.get("training_mode") or settings.get("spatial") == 0:  # statistics of the batch, or of each pixel
        return False
    used = [*convolution.input[1:], *norm.input[1:]]
    return all(name in constants and constants[name].data_type == FLOAT for name in used if name)


def _folded(convolution: Any, norm: Any, constants: dict[str, Any]) -> tuple[Any, Any]:
    """The convolution's weight and bias including the normalisation, float64."""
    import onnx

    def values(name: str) -> Any:
        return onnx.numpy_helper.to_array(constants[name]).astype(np.float64)

    scale, shift, mean, variance = (values(name) for name in norm.input[1:5])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
    gain = scale / np.sqrt(variance + epsilon)
    weight = values(convolution.input[1])
    bias = values(convolution.input[2]) if len(convolution.input) > 2 and convolution.input[2] else np.zeros_like(gain)
    if convolution.op_type == "Conv":
        per_weight = gain.reshape(-1, *[1] * (weight.ndim - 1))
    else:  # (inputs, outputs / groups, ...): each group of inputs has its own outputs
        groups = next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
        rows = np.repeat(gain.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        per_weight = rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))
    return weight * per_weight, (bias - mean) * gain + shift
