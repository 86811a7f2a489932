"""Audit: the actual precision of an engine's layers, read from the JSON of TensorRT's inspector.

Asked for FP16, a builder may build FP32 and only log a warning, so the built engine is inspected.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.plans.passport import PrecisionAudit

LEAST_SHARE = {"fp16": 0.9, "bf16": 0.9, "int8-qdq": 0.5, "fp32": 0.99}
"""The least share of heavy layers in the requested precision."""

COUNTED_AS = {"fp16": ("fp16",), "bf16": ("bf16",), "int8-qdq": ("int8", "fp8"), "fp32": ("fp32",)}

HEAVY = re.compile(r"conv|correlation|gemm|matrix|matmul|mha|fully|einsum|attention|myelin|foreign|fusion|\bdla\b", re.IGNORECASE)
"""Layer kinds that multiply matrices or contain layers that do."""

GENERATED, HEAVY_NAME = re.compile(r"^kgen$", re.IGNORECASE), re.compile(r"gemm|mha|matmul|_conv", re.IGNORECASE)
"""Generated kernels have a single kind; their names say what they do: "_gemm_mha_v2_myl0_4"."""

IDLE = re.compile(r"reformat|shuffle|constant|noop|signal|wait|shape|copy|reinterpret|slice|concat|cast|identity", re.IGNORECASE)
"""Layer kinds that only move data."""

TYPES = (  # as the inspectors of different versions write them
    ("bf16", re.compile(r"bf16|bfloat", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half|float16", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8|float8", re.IGNORECASE)),
    ("int8", re.compile(r"(?<!u)int8", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that calculates on floats or int8."""

    name: str
    kind: str
    precision: str

    @property
    def is_heavy(self) -> bool:
        return bool(HEAVY.search(self.kind) or (GENERATED.search(self.kind) and HEAVY_NAME.search(self.name)))


def read_layers(inspector_json: str) -> list[Layer]:
    """The layers that calculate and have a known type; empty if the JSON cannot be read."""
    try:
        entries = [entry for entry in json.loads(inspector_json)["Layers"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError):
        return []
    layers = []
    for entry in entries:
        kind = str(entry.get("LayerType", ""))
        precision = _precision_of(entry)
        if precision is not None and not IDLE.search(kind):
            layers.append(Layer(str(entry.get("Name", "")), kind, precision))
    return layers


def audit(layers: list[Layer], layer_ms: Mapping[str, float]) -> PrecisionAudit | None:
    """Shares by precision; None if no heavy layer's precision is known, so that nothing is proved.

    layer_ms: measured times by layer name; may be empty.
    """
    if not any(layer.is_heavy for layer in layers):
        return None
    times = {layer.name: layer_ms[layer.name] for layer in layers if layer.name in layer_ms}
    return PrecisionAudit(
        layer_share=_shares([(layer.precision, 1.0) for layer in layers]),
        time_share=_shares([(layer.precision, times[layer.name]) for layer in layers if layer.name in times]),
        heavy_share=_shares([(layer.precision, 1.0) for layer in layers if layer.is_heavy]),
    )


def shortfall(layers: list[Layer], precision: str) -> str:
    """Why an engine is not in `precision`, with the layers in another one; empty if it is."""
    judged = [layer for layer in layers if layer.is_heavy]
    if not judged:
        return ""  # unknown: the network is strongly typed, and the audit records that nothing was proved
    wrong = [layer for layer in judged if layer.precision not in COUNTED_AS[precision]]
    share = 1 - len(wrong) / len(judged)
    least = LEAST_SHARE[precision]
    if share >= least:
        return ""
    named = ", ".join(f"{layer.name[:60]} ({layer.precision})" for layer in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return f"only {share:.0%} of its heavy layers are {precision}, {least:.0%} are required: {named}{more}"


def _precision_of(entry: dict[str, Any]) -> str | None:
    """A layer's precision: the type of its weights if known, else of its first float or int8 input, else of its output."""
    weights = entry.get("Weights")
    if isinstance(weights, dict) and (found := _type_in(str(weights.get("Type", "")))):
        return found
    for key in ("Inputs", "Outputs"):
        for tensor in entry.get(key) or []:
            text = tensor.get("Format/Datatype", tensor.get("Datatype", "")) if isinstance(tensor, dict) else ""
            if found := _type_in(str(text)):
                return found
    return None


def _type_in(text: str) -> str | None:
    return next((name for name, pattern in TYPES if pattern.search(text)), None)


def _shares(weighted: list[tuple[str, float]]) -> dict[str, float]:
    total = sum(weight for _, weight in weighted)
    if total <= 0:
        return {}
    shares: dict[str, float] = {}
    for name, weight in weighted:
        shares[name] = shares.get(name, 0.0) + weight / total
    return {name: round(share, 4) for name, share in sorted(shares.items(), key=lambda item: -item[1])}
