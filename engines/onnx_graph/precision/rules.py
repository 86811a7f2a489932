"""Which nodes of a network may calculate in half precision."""

import functools
import math
from collections.abc import Collection
from typing import Any

import numpy as np

from engines.onnx_graph.precision.wiring import BFLOAT16, FLOAT, FLOAT16, Wiring, captures, subgraphs

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})
"""Multiply and accumulate: the purpose of half precision. Hardware accumulates in float32."""

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Mean"})

ACTIVATIONS = frozenset(
    {"Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "ThresholdedRelu"}
)

NEUTRAL = frozenset(
    {
        "Reshape", "Transpose", "Concat", "Slice", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND",
        "Identity", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Pad", "Split", "Where", "DepthToSpace", "SpaceToDepth",
        "Compress", "Dropout", "Resize", "Upsample", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "TopK", "ArgMax",
        "ArgMin", "Relu", "Clip", "Neg", "Abs", "Max", "Min", "Sign", "Floor", "Ceil", "Round", "Greater", "GreaterOrEqual",
        "Less", "LessOrEqual", "Equal", "QuantizeLinear",
    }
)  # fmt: skip
"""Move, select or compare values: equally exact in every type, so they take the type of their inputs."""

BOUNDED = frozenset(
    {
        "Softmax", "LogSoftmax", "Hardmax", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
        "GroupNormalization", "RMSNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN", "AveragePool",
        "GlobalAveragePool",
    }
)  # fmt: skip
"""Calculated in float32; their results fit in half precision, so the nodes after them need not stay in float32."""

SUMS = frozenset(
    {"ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "CumSum",
     "GlobalAveragePool"}
)  # fmt: skip

NO_BFLOAT16 = frozenset({"ConvTranspose", "HardSwish"})
"""Operators that TensorRT-RTX 1.7 refuses in bfloat16."""

MAX_POOL_WINDOW = 64
"""An average over more values than 8 x 8 is a reduction."""

SMALL_INTEGERS = frozenset({2, 3, 9})
"""uint8, int8, bool: exact in either type. Larger integers are not: float16 skips from 2048 on, bfloat16 from 256."""

LARGEST = {FLOAT16: 65504.0, BFLOAT16: 3.38953139e38}
SMALLEST_NORMAL = {FLOAT16: 2.0**-14, BFLOAT16: 2.0**-126}

DEAD_FACTOR = 1e-9
"""A factor below this counts as zero: it reduces the largest float16 to 0.00007."""

_TYPE_NAMES = {FLOAT16: "tensor(float16)", BFLOAT16: "tensor(bfloat16)"}


def low_nodes(wiring: Wiring, low_type: int, keep_fp32: Collection[str], io_type: int) -> list[bool]:
    """For each node: whether it calculates in `low_type`. False for nodes without float32 tensors.

    Heavy nodes, arithmetic and activations do, unless they need float32's range or precision. Neutral nodes take the type of the
    nodes before them; if that is open or mixed, the type that their readers need.
    """
    verdicts, sensitive = _own_verdicts(wiring, low_type, keep_fp32)
    lows: list[bool | None] = []
    for node, verdict in zip(wiring.nodes, verdicts, strict=True):
        if verdict != "neutral":
            lows.append({"low": True, "high": False}.get(verdict))
            continue
        inputs = [name for name in wiring.float_inputs(node) if name in wiring.makers]
        votes = {lows[wiring.makers[name]] for name in inputs} - {None}
        if len(votes) == 1:
            lows.append(votes.pop())
        else:
            lows.append(False if votes and any(name in sensitive for name in inputs) else None)
    return _settled(wiring, lows, io_type)


def _settled(wiring: Wiring, lows: list[bool | None], io_type: int) -> list[bool]:
    """Give open nodes the type that their readers need, from the last node to the first."""
    needed: dict[str, set[bool]] = {name: {io_type != FLOAT} for name in wiring.outputs}
    settled = [False] * len(lows)
    for index in reversed(range(len(lows))):
        node = wiring.nodes[index]
        low = lows[index]
        if low is None:
            needs = set().union(*(needed.get(name, set()) for name in node.output))
            # The first node of a chain stays in float32 if any reader needs that.
            low = True in needs and (node.op_type in NEUTRAL or False not in needs)
        settled[index] = low
        if node.op_type not in ("Shape", "Size"):
            for name in wiring.float_inputs(node):
                needed.setdefault(name, set()).add(low)
        for name in captures(node):
            needed.setdefault(name, set()).add(False)
    return settled


def _own_verdicts(wiring: Wiring, low_type: int, keep_fp32: Collection[str]) -> tuple[list[str], set[str]]:
    """Each node's own verdict ("low", "high", "neutral", "open"), and the sensitive tensors.

    Sensitive: statistics, exponents, counts and coordinates, whose range or digits arithmetic in half precision would lose. So
    are the results of their readers, up to the next heavy or bounded node.
    """
    leads_to_heavy = leading_to_heavy(wiring)
    sensitive: set[str] = set()
    verdicts = []
    for node in wiring.nodes:
        verdict = _verdict(wiring, node, low_type)
        if not any(wiring.is_float(name) for name in (*node.input, *node.output)):
            verdicts.append("high")
            continue
        has_sensitive = any(name in sensitive for name in node.input) and node.op_type not in HEAVY | BOUNDED
        makes_sensitive = has_sensitive or (verdict == "high" and node.op_type not in BOUNDED | NO_BFLOAT16)
        if node.op_type in ARITHMETIC and (has_sensitive or _calculates_coordinates(wiring, node, leads_to_heavy)):
            verdict, makes_sensitive = "high", True
        if node.op_type in ACTIVATIONS and (has_sensitive or _is_summed_up(wiring, node)):
            verdict = "high"
        if node.name in keep_fp32:
            verdict, makes_sensitive = "high", has_sensitive
        if makes_sensitive:
            sensitive.update(name for name in node.output if wiring.is_float(name))
        verdicts.append(verdict)
    return verdicts, sensitive


def _verdict(wiring: Wiring, node: Any, low_type: int) -> str:
    """A node's verdict by its operator, attributes and constants."""
    op = node.op_type
    if any(True for _ in subgraphs(node)) or not wiring.is_typed(node):
        return "high"
    if not _is_allowed(wiring, node, low_type) or not _fits(wiring, node, low_type):
        return "high"
    if op in NO_BFLOAT16 and low_type == BFLOAT16:
        return "high"
    if op == "Cast":
        return _verdict_on_cast(wiring, node, low_type)
    if op == "ConstantOfShape":
        return "open"
    if op == "AveragePool":
        window = next((attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"), ())
        return "low" if math.prod(window) <= MAX_POOL_WINDOW else "high"
    if op == "Mul" and len(set(node.input)) == 1:
        return "high"  # a square: exceeds float16 from 256 on
    if op in NEUTRAL:
        return "neutral"
    return "low" if op in HEAVY or op in ARITHMETIC or op in ACTIVATIONS or op == "DequantizeLinear" else "high"


def _verdict_on_cast(wiring: Wiring, node: Any, low_type: int) -> str:
    source = wiring.types.get(node.input[0])
    if source == FLOAT:
        return "neutral"
    return "open" if source in SMALL_INTEGERS or source == low_type else "high"


def leading_to_heavy(wiring: Wiring) -> list[bool]:
    """For each node: whether a heavy node follows it."""
    leads = [False] * len(wiring.nodes)
    for index in reversed(range(len(leads))):
        readers = [reader for name in wiring.nodes[index].output for reader in wiring.readers.get(name, ())]
        leads[index] = any(leads[reader] or wiring.nodes[reader].op_type in HEAVY for reader in readers)
    return leads


def _calculates_coordinates(wiring: Wiring, node: Any, leads_to_heavy: list[bool]) -> bool:
    """Arithmetic on lists (not maps) after the last heavy node: boxes in pixels, where float16 has steps of half a pixel."""
    rank = wiring.ranks.get(node.output[0])
    return rank is not None and rank <= 3 and not leads_to_heavy[wiring.makers[node.output[0]]]


def _is_summed_up(wiring: Wiring, node: Any) -> bool:
    """Whether a sum reads this node, directly or through neutral nodes: the rounding of many values near 0 or 1 adds up."""
    if node.op_type not in ("Sigmoid", "HardSigmoid", "Tanh"):
        return False
    tensors, seen = list(node.output), set()
    while tensors:
        for index in wiring.readers.get(tensors.pop(), ()):
            reader = wiring.nodes[index]
            if reader.op_type in SUMS:
                return True
            if reader.op_type in NEUTRAL and index not in seen:
                seen.add(index)
                tensors += list(reader.output)
    return False


def _fits(wiring: Wiring, node: Any, low_type: int) -> bool:
    """Whether the node's constants keep their meaning: none beyond the type's range, no divisor or offset that becomes zero.

    The bounds of a Clip may exceed the range: infinite bounds have no effect, as before. Weights, slopes and tiny factors may
    become zero: trained networks have many dead branches.
    """
    import onnx

    settings = [attribute.f for attribute in node.attribute if attribute.type == onnx.AttributeProto.FLOAT]
    if node.op_type != "Clip" and any(LARGEST[low_type] < abs(value) < math.inf for value in settings):
        return False
    tensors = [wiring.constants[name] for name in wiring.float_inputs(node) if name in wiring.constants]
    tensors += [attribute.t for attribute in node.attribute if attribute.name == "value" and attribute.t.data_type == FLOAT]
    for tensor in tensors:
        sizes = np.abs(onnx.numpy_helper.to_array(tensor))
        sizes = sizes[np.isfinite(sizes)]
        largest = float(sizes.max()) if sizes.size else 0.0
        if largest > LARGEST[low_type] and node.op_type != "Clip":
            return False
        is_dead = node.op_type in HEAVY or node.op_type in ACTIVATIONS or (node.op_type == "Mul" and largest < DEAD_FACTOR)
        if 0 < largest < SMALLEST_NORMAL[low_type] and not is_dead and not _is_exact(sizes, low_type):
            return False
        is_scaled = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if is_scaled and low_type == FLOAT16 and (sizes[sizes > 0] <= 2.0**-25).any():
            return False  # a scale of zero, which TensorRT refuses
    return True


def _is_exact(sizes: Any, low_type: int) -> bool:
    """Whether float16 can represent these numbers, its smallest ones included."""
    return low_type == FLOAT16 and np.array_equal(sizes.astype(np.float16), sizes)


def _is_allowed(wiring: Wiring, node: Any, low_type: int) -> bool:
    """Whether ONNX has this operator for this type in the model's opset."""
    if node.domain not in ("", "ai.onnx"):
        return False
    floats = set(wiring.float_inputs(node))
    inputs = [index for index, name in enumerate(node.input) if name in floats]
    outputs = [index for index, name in enumerate(node.output) if wiring.is_float(name)]
    return _allows(node.op_type, wiring.opset, tuple(inputs), tuple(outputs), _TYPE_NAMES[low_type])


@functools.lru_cache(maxsize=4096)
def _allows(op_type: str, opset: int, inputs: tuple[int, ...], outputs: tuple[int, ...], type_name: str) -> bool:
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return False
    by_variable = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    for formal, used in ((schema.inputs, inputs), (schema.outputs, outputs)):
        for index in used:
            kind = formal[min(index, len(formal) - 1)].type_str  # the last may be variadic
            if type_name not in by_variable.get(kind, [kind]):
                return False
    return True
