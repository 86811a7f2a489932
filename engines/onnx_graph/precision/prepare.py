"""What is tidied in a graph before it is cast: names, order, constants in one place, batch normalisation folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.onnx_graph.precision.wiring import (
    BFLOAT16,
    FLOAT,
    captures,
    main_opset,
    replace_nodes,
    sort_nodes,
    subgraphs,
    tensor_names,
    unused_name,
)

if TYPE_CHECKING:
    import onnx

BFLOAT16_OPSET = 22
"""The first in which convolution, pooling and the common activations take bfloat16."""


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own, those in bodies too. Names that are unique stay as they are.

    Local functions are written out: their nodes are what `keep_fp32` can name.
    """
    from onnx.inliner import inline_local_functions

    named = inline_local_functions(model) if model.functions else _copy(model)
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
    """A tidy copy, and for each node that is gone its name -> the name of the one that does its work, or "".

    Functions are inlined, nodes named and sorted, float constants are initialisers, and none of these is an input; batch
    normalisation is folded into the convolution before it.
    """
    ready = name_nodes(model)
    sort_nodes(ready.graph)
    if low_type == BFLOAT16:
        ready = name_nodes(_with_opset(ready, BFLOAT16_OPSET))  # the converter adds nodes of its own
    constants = {tensor.name for tensor in ready.graph.initializer}
    inputs = [value for value in ready.graph.input if value.name not in constants]
    del ready.graph.input[:]
    ready.graph.input.extend(inputs)
    ready.ir_version = max(ready.ir_version, 4)  # the first in which an initialiser need not be an input
    gone = dict.fromkeys(_gather_constants(ready.graph), "")
    return ready, gone | fold_batch_normalisation(ready)


def with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in a newer opset; as it is where it is new enough already, or ONNX's converter cannot carry it over."""
    return _with_opset(_copy(model), opset)


def _with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    import onnx

    if main_opset(model) >= opset:
        return model
    try:
        newer = onnx.version_converter.convert_version(model, opset)
        newer.ir_version = max(newer.ir_version, 10)
        onnx.checker.check_model(newer, full_check=True)
    except (
        Exception
    ):  # it gives up in many ways, on custom operators above all; the older graph is right, only less in low precision
        return model
    return newer


def _gather_constants(graph: onnx.GraphProto) -> list[str]:
    """Turn the float Constant nodes of a graph, which is changed, into initialisers. Returns their names."""
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
        replace_nodes(graph, kept)
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
    """Move each batch normalisation into the convolution before it where nothing else reads that; `model` is changed.

    Worked out in float64 and rounded once. Returns the name of each normalisation that went -> its convolution's.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    reads: dict[str, int] = dict.fromkeys((value.name for value in graph.output), 1)
    for node in graph.node:
        for name in (*node.input, *captures(node)):
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
            graph.initializer.append(_float_tensor(values, name))
            del convolution.input[slot : slot + 1]
            convolution.input.insert(slot, name)
        convolution.output[0] = node.output[0]
        folded[node.name] = convolution.name
    if folded:
        replace_nodes(graph, [node for node in graph.node if node.name not in folded])
        _drop_unread_constants(graph)
    return folded


def _can_fold(convolution: Any, norm: Any, constants: dict[str, Any]) -> bool:
    if convolution.op_type not in ("Conv", "ConvTranspose") or len([name for name in norm.output if name]) > 1:
        return False
    settings = {attribute.name: attribute.i for attribute in norm.attribute}
    if settings.get("training_mode") or settings.get("spatial") == 0:  # statistics of the batch; of every single pixel
        return False
    used = [*convolution.input[1:], *norm.input[1:]]
    return all(name in constants and constants[name].data_type == FLOAT for name in used if name)


def _folded(convolution: Any, norm: Any, constants: dict[str, Any]) -> tuple[Any, Any]:
    """The convolution's weight and bias with the normalisation in them, float64."""
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
    else:  # (inputs, outputs / groups, ...): each group of inputs makes its own share of the outputs
        groups = next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
        rows = np.repeat(gain.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        per_weight = rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))
    return weight * per_weight, (bias - mean) * gain + shift


def _float_tensor(values: Any, name: str) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(values.astype(np.float32), name)


def _drop_unread_constants(graph: onnx.GraphProto) -> None:
    read = {value.name for value in graph.output}
    read |= {name for node in graph.node for name in (*node.input, *captures(node))}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    duplicate = onnx.ModelProto()
    duplicate.CopyFrom(model)
    return duplicate
