"""Which nodes of a network TensorRT means when it has no kernel for a layer, and which others will fail in the same way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from engines.onnx_graph.precision.rules import HEAVY
from engines.onnx_graph.precision.wiring import Wiring

if TYPE_CHECKING:
    import onnx

FUSED_RANGE = re.compile(r"ForeignNode\[(.*?)\.\.\.(.*)\]")
"""Everything between two layers, compiled as one."""

BEFORE, AFTER = r"(?<![\w/:])", r"(?![\w/:])"
"""A name ends where neither of these goes on. Dots and hyphens may follow one in TensorRT's text."""


def nodes_meant(labels: Iterable[str], network: onnx.ModelProto) -> tuple[str, ...]:
    """The nodes of `network` that TensorRT's labels stand for, in the network's order; empty for labels of its own layers only.

    A label has names of nodes, and of tensors and weights in place of the layers that it makes for them. For a fused range these
    are all nodes on a way from its first layer to its last.
    """
    wiring = Wiring(network)
    meant: set[int] = set()
    for label in labels:
        ends = FUSED_RANGE.search(label)
        if ends is None:
            meant |= _named(label, wiring)
        else:
            first, last = (_named(end, wiring) for end in ends.groups())
            meant |= (_after(first, wiring) & _before(last, wiring)) | first | last
    return tuple(wiring.nodes[index].name for index in sorted(meant))


def with_twins(names: Collection[str], network: onnx.ModelProto) -> tuple[str, ...]:
    """`names`, and the nodes that multiply matrices of the same form: a kernel that one lacks is lacking for them too."""
    wiring = Wiring(network)
    forms = {_form(node, wiring) for node in wiring.nodes if node.name in names and node.op_type in HEAVY}
    return tuple(node.name for node in wiring.nodes if node.name in names or _form(node, wiring) in forms)


def _named(text: str, wiring: Wiring) -> set[int]:
    """The nodes whose names are in `text`, or that make or read the tensors whose names are."""
    by_name: dict[str, list[int]] = {}
    for name, readers in wiring.readers.items():
        by_name[name] = [wiring.makers[name]] if name in wiring.makers else readers
    for name, maker in wiring.makers.items():
        by_name[name] = [maker]
    for index, node in enumerate(wiring.nodes):
        by_name[node.name] = [index]
    found: set[int] = set()
    for name in sorted((name for name in by_name if name and name in text), key=len, reverse=True):
        text, count = re.subn(f"{BEFORE}{re.escape(name)}{AFTER}", " ", text)
        if count:
            found.update(by_name[name])
    return found


def _after(start: set[int], wiring: Wiring) -> set[int]:
    return _reached(start, lambda node: [index for name in node.output for index in wiring.readers.get(name, ())], wiring)


def _before(start: set[int], wiring: Wiring) -> set[int]:
    return _reached(start, lambda node: [wiring.makers[name] for name in node.input if name in wiring.makers], wiring)


def _reached(start: set[int], step: Any, wiring: Wiring) -> set[int]:
    seen, waiting = set(start), list(start)
    while waiting:
        for index in step(wiring.nodes[waiting.pop()]):
            if index not in seen:
                seen.add(index)
                waiting.append(index)
    return seen


def _form(node: Any, wiring: Wiring) -> tuple[Any, ...] | None:
    """What decides which kernels a node can have: its operator, attributes and the shapes of its weights."""
    if node.op_type not in HEAVY:
        return None
    shapes: Sequence[Any] = [tuple(wiring.constants[name].dims) for name in node.input[1:] if name in wiring.constants]
    attributes = sorted((attribute.name, attribute.SerializeToString()) for attribute in node.attribute)
    return (node.op_type, tuple(attributes), tuple(shapes))
