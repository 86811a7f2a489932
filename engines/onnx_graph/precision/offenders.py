"""Where a half-precision network goes wrong: both run side by side on the CPU, every tensor in between compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.loading import import_onnxruntime
from engines.onnx_graph.precision.kinds import INT8_TYPES, stored_weights
from engines.onnx_graph.precision.prepare import name_nodes
from engines.onnx_graph.precision.rounding import rounded_for_cpu
from engines.onnx_graph.precision.wiring import BFLOAT16, FLOAT, FLOAT16, Wiring, captures, sort_nodes

if TYPE_CHECKING:
    import onnx

_TENSORS_AT_ONCE = 48
"""How many tensors one run gives back: all of them at once, of a large network, would fill gigabytes."""


def offenders(
    reference: onnx.ModelProto,
    cast: onnx.ModelProto,
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]],
    limit: int = 3,
) -> tuple[str, ...]:
    """The nodes of `reference` to keep in float32 next: where `cast` goes wrong first, else where it goes wrong most.

    reference: a float32 network; cast: what `cast_precision` made of it. feeds: inputs by name, in the reference's types.
    Returns at most `limit` names, as `name_nodes` gives them, none that is in float32 in `cast` already: those whose result is
    the first not to be finite where the reference's is, in topological order; if there are none, those that add most error (of a
    result, less that of what it is made from, root mean square relative to the reference's spread), the worst first. Where
    `cast` has INT8 layers, these come before all others.
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
    """The largest relative error of each tensor over all feeds, and the nodes that make something not finite."""
    honest = rounded_for_cpu(cast)
    in_cast = {name for node in honest.graph.node for name in node.output}
    tensors = [name for name in wiring.makers if wiring.is_float(name) and name in in_cast]
    sessions = (_session(reference, tensors), _session(honest, tensors))
    errors: dict[str, float] = {}
    broken: set[int] = set()
    for feed in feeds:
        for start in range(0, len(tensors), _TENSORS_AT_ONCE):
            names = tensors[start : start + _TENSORS_AT_ONCE]
            exact, rounded = (session.run(names, _as_asked(session, feed)) for session in sessions)
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
    spread = spread if spread > size * 1e-6 else size  # a constant has no spread; its size stands in
    return float(np.sqrt(np.mean(np.square(found[finite] - true)))) / spread if spread > 0 else 0.0


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> Any:
    """The model on ONNX Runtime's CPU, unoptimised, so that it has every tensor; gives `tensors` too."""
    import onnx

    onnxruntime = import_onnxruntime()

    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    given = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _as_asked(session: Any, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The feed with floats in the width that each input takes."""
    types = {value.name: value.type for value in session.get_inputs()}
    halves = {name: array.astype(np.float16) for name, array in feed.items() if types.get(name) == "tensor(float16)"}
    return {**feed, **halves}


def _low_tensors(cast: onnx.ModelProto) -> set[str]:
    """Those that are made in half precision, also where a graph output is cast back at once."""
    wiring = Wiring(cast)
    low = {name for name, kind in wiring.types.items() if kind in (FLOAT16, BFLOAT16)}
    for node in wiring.nodes:
        is_widening = node.op_type == "Cast" and wiring.types.get(node.output[0]) == FLOAT
        if is_widening and node.input[0] in low and node.output[0] in wiring.outputs:
            low.add(node.output[0])
    return low


def _quantised_tensors(cast: onnx.ModelProto) -> set[str]:
    """What layers make whose weights are stored in INT8. One that only reads what another layer is given is none."""
    weights = stored_weights(cast)
    return {name for node, found in weights if any(tensor.data_type in INT8_TYPES for tensor in found) for name in node.output}


def _low_makers(wiring: Wiring, index: int, low: set[str]) -> list[str]:
    """The node itself where it is in half precision, else the nearest before it that are: they feed it what breaks it."""
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
    """The nodes that make what a node reads."""
    node = wiring.nodes[index]
    return [wiring.makers[name] for name in (*node.input, *captures(node)) if name in wiring.makers]
