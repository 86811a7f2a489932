"""Where a half-precision network goes wrong: it and the float32 network run on the CPU, and every tensor is compared."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.loading import cpu_session
from engines.onnx_graph.precision.prepare import name_nodes
from engines.onnx_graph.precision.rounding import rounded_for_cpu
from engines.onnx_graph.precision.weights import INT8_TYPES, stored_weights
from engines.onnx_graph.precision.wiring import BFLOAT16, FLOAT, FLOAT16, Wiring, sort_nodes, tensors_read

if TYPE_CHECKING:
    import onnx

_TENSORS_AT_ONCE = 48
"""Tensors returned by one run: all tensors of a large network at once would take gigabytes."""


def offenders(
    reference: onnx.ModelProto, cast: onnx.ModelProto, feeds: Sequence[Mapping[str, npt.NDArray[Any]]], limit: int = 3
) -> tuple[str, ...]:
    """The nodes of `reference` to keep in float32 next: those where `cast` fails first, otherwise those that add most error.

    reference: a float32 network; cast: the result of `cast_precision`. feeds: inputs by name, in the reference's types.
    Returns at most `limit` names, as `name_nodes` gives them, of nodes not in float32 in `cast`: in topological order the first
    whose result is not finite although the reference's is; if there are none, those that add most error, the worst first.
    INT8 layers of `cast` come before all others. A node's added error is its result's less its largest input's, each as root
    mean square relative to the reference's standard deviation.
    """
    reference = name_nodes(reference)
    sort_nodes(reference.graph)
    wiring = Wiring(reference)
    errors, broken = _errors(wiring, reference, cast, feeds)
    low = _low_tensors(cast)
    if broken:
        first = [index for index in sorted(broken) if not broken.intersection(_makers_of(wiring, index))]
        found = dict.fromkeys(name for index in first for name in _low_makers(wiring, index, low))
        return tuple(found)[:limit]
    added = {}
    for index, node in enumerate(wiring.nodes):
        if any(name in low for name in node.output):
            before = max((errors.get(name, 0.0) for name in node.input), default=0.0)
            added[index] = max(errors.get(name, 0.0) for name in node.output) - before
    quantised = _quantised_tensors(cast)
    is_quantised = {index: any(name in quantised for name in wiring.nodes[index].output) for index in added}
    worst_first = sorted(added, key=lambda index: (not is_quantised[index], -added[index]))
    ranked = [index for index in worst_first if added[index] > 0]
    return tuple(wiring.nodes[index].name for index in ranked[:limit])


def _errors(
    wiring: Wiring, reference: onnx.ModelProto, cast: onnx.ModelProto, feeds: Sequence[Mapping[str, npt.NDArray[Any]]]
) -> tuple[dict[str, float], set[int]]:
    """The largest relative error of each tensor over all feeds, and the nodes whose result is not finite."""
    rounded_cast = rounded_for_cpu(cast)
    in_cast = {name for node in rounded_cast.graph.node for name in node.output}
    tensors = [name for name in wiring.makers if wiring.is_float(name) and name in in_cast]
    sessions = (_session(reference, tensors), _session(rounded_cast, tensors))
    errors: dict[str, float] = {}
    broken: set[int] = set()
    for feed in feeds:
        for start in range(0, len(tensors), _TENSORS_AT_ONCE):
            names = tensors[start : start + _TENSORS_AT_ONCE]
            exact, rounded = (session.run(names, _in_input_types(session, feed)) for session in sessions)
            for name, true, found in zip(names, exact, rounded, strict=True):
                if not np.isfinite(found[np.isfinite(true)]).all():
                    broken.add(wiring.makers[name])
                errors[name] = max(errors.get(name, 0.0), _relative_error(true, found))
    return errors, broken


def _relative_error(true: npt.NDArray[np.float32], found: npt.NDArray[Any]) -> float:
    finite = np.isfinite(true) & np.isfinite(found)
    if not finite.any():
        return 0.0
    true = true[finite].astype(np.float64)
    size, spread = float(np.abs(true).mean()), float(true.std())
    spread = spread if spread > size * 1e-6 else size  # a constant has no spread: use its size
    return float(np.sqrt(np.mean(np.square(found[finite] - true)))) / spread if spread > 0 else 0.0


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> Any:
    """The model on ONNX Runtime's CPU with `tensors` as further outputs; not optimised, so that every tensor exists."""
    import onnx

    exposed = copy.deepcopy(model)
    given = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in given)
    return cpu_session(exposed.SerializeToString(), optimised=False)


def _in_input_types(session: Any, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The feed with each float array in the type of its input."""
    types = {value.name: value.type for value in session.get_inputs()}
    halves = {name: array.astype(np.float16) for name, array in feed.items() if types.get(name) == "tensor(float16)"}
    return {**feed, **halves}


def _low_tensors(cast: onnx.ModelProto) -> set[str]:
    """The tensors produced in half precision, including graph outputs that are cast back at once."""
    wiring = Wiring(cast)
    low = {name for name, kind in wiring.types.items() if kind in (FLOAT16, BFLOAT16)}
    for node in wiring.nodes:
        is_widening = node.op_type == "Cast" and wiring.types.get(node.output[0]) == FLOAT
        if is_widening and node.input[0] in low and node.output[0] in wiring.outputs:
            low.add(node.output[0])
    return low


def _quantised_tensors(cast: onnx.ModelProto) -> set[str]:
    """The results of layers whose weights are stored in INT8."""
    weights = stored_weights(cast)
    return {name for node, found in weights if any(tensor.data_type in INT8_TYPES for tensor in found) for name in node.output}


def _low_makers(wiring: Wiring, index: int, low: set[str]) -> list[str]:
    """The node itself if it is in half precision, else the nearest nodes before it that are: their results break it."""
    found: list[str] = []
    waiting, seen = [index], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        node = wiring.nodes[current]
        if any(name in low for name in node.output):
            found.append(node.name)
        else:
            waiting += _makers_of(wiring, current)
    return found


def _makers_of(wiring: Wiring, index: int) -> list[int]:
    """The nodes that produce the tensors that a node reads."""
    return [wiring.makers[name] for name in tensors_read(wiring.nodes[index]) if name in wiring.makers]
