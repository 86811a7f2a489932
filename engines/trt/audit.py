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

LIGHT = re.compile(r"point|element|activation|softmax|norm|reduce|pooling", re.IGNORECASE)
"""Layer kinds that do not, although they may be called a fusion."""

GENERATED, HEAVY_NAME = re.compile(r"^kgen$", re.IGNORECASE), re.compile(r"gemm|mha|matmul|_conv", re.IGNORECASE)
"""Generated kernels have a single kind; their names say what they do: "_gemm_mha_v2_myl0_4"."""

IDLE = re.compile(r"reformat|shuffle|constant|noop|signal|wait|shape|copy|reinterpret|slice|concat|cast|identity", re.IGNORECASE)
"""Layer kinds that only move data."""

OPAQUE = re.compile(r"^myelin$|^foreignnode$|\bdla\b", re.IGNORECASE)
"""Kinds that contain layers of any type between their inputs and outputs."""

TYPES = (  # as the inspectors of different versions write them
    ("bf16", re.compile(r"bf16|bfloat", re.IGNORECASE)),
    ("tf32", re.compile(r"tf32", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half|float16", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8|float8|e4m3|e5m2", re.IGNORECASE)),
    ("fp4", re.compile(r"fp4|float4|e2m1", re.IGNORECASE)),
    ("int8", re.compile(r"(?<!u)int8", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)

TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType")

TACTICS = (  # "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc...", "ampere_h16816gemm_256x128..."
    ("bf16", re.compile(r"bf16bf16|_bf16(?:_|$)")),
    ("tf32", re.compile(r"tf32")),
    ("int8", re.compile(r"i8i8|igemm|imma")),
    ("fp16", re.compile(r"f16f16|hgemm|h\d+gemm")),
    ("fp32", re.compile(r"f32f32|sgemm")),
)
"""The type that a kernel multiplies, by the names of NVIDIA's libraries."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that calculates on floats or int8."""

    name: str
    kind: str
    precision: str

    @property
    def is_heavy(self) -> bool:
        if LIGHT.search(self.kind):
            return False
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
    """A layer's precision: the type of its weights if known, else of its first float or int8 input, else of its output.

    What is opaque has one only if all its inputs and outputs agree. A kernel's name tells TF32 from FP32, and the type where the
    inspector has none ("N/A due to dynamic shapes").
    """
    tactic = _match(TACTICS, str(entry.get("TacticName", "")).lower())
    weights = entry.get("Weights")
    tensors = [found for key in ("Inputs", "Outputs") for found in _types_of(entry.get(key))]
    if isinstance(weights, dict) and (found := _match(TYPES, str(weights.get("Type", "")))):
        precision: str | None = found
    elif OPAQUE.search(str(entry.get("LayerType", ""))):
        precision = tensors[0] if len(set(tensors)) == 1 else None
    else:
        precision = _match(TYPES, str(entry.get("Precision", ""))) or (tensors[0] if tensors else tactic)
    return "tf32" if precision == "fp32" and tactic == "tf32" else precision


def _types_of(tensors: Any) -> list[str]:
    """The float and int8 types of a layer's inputs or outputs."""
    entries = [tensor for tensor in tensors if isinstance(tensor, dict)] if isinstance(tensors, list) else []
    texts = [str(next((entry[key] for key in TYPE_KEYS if key in entry), "")) for entry in entries]
    return [found for text in texts if (found := _match(TYPES, text))]


def _match(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    return next((name for name, pattern in patterns if pattern.search(text)), None)


def _shares(weighted: list[tuple[str, float]]) -> dict[str, float]:
    total = sum(weight for _, weight in weighted)
    if total <= 0:
        return {}
    shares: dict[str, float] = {}
    for name, weight in weighted:
        shares[name] = shares.get(name, 0.0) + weight / total
    return {name: round(share, 4) for name, share in sorted(shares.items(), key=lambda item: -item[1])}
