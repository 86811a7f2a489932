"""Passport: what a built engine is, as data. Written beside it, signed, and checked before a runtime sees a byte of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

PASSPORT_FORMAT = 1
"""Raised when a field changes its meaning: older passports are then not read, and their engines built again."""


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an engine was built, and so where it runs."""

    runtime: str
    """"tensorrt" or "tensorrt-rtx"."""
    runtime_version: str
    cuda_version: str
    """The newest CUDA that the driver speaks: "13.0"."""
    driver_version: str
    """The kernel driver: "580.65.06"; empty where it does not say."""
    gpu_name: str
    compute_capability: str
    """"8.7"."""


class BuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was asked to be built. Two equal requests on one machine are one engine."""

    model_name: str
    onnx_sha256: str
    """Of the model's own file, before anything was fused or cast."""
    card_sha256: str
    """Of the card's canonical JSON: classes, size and normalisation change what is built."""
    precision: str
    """"fp16", "fp32", "bf16" or "int8-qdq"."""
    size_px: tuple[int, int]
    """Width, height of the network's input."""
    batch: int = 1
    runtime: str = "tensorrt"
    target: str = ""
    """Compute capability to build for, "86", when it is not this machine's GPU; empty: this machine's."""
    dla_core: int | None = None


class PrecisionAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The precision that an engine's layers really have, as its inspector tells. Shares add up to 1."""

    layer_share: dict[str, float]
    """Type ("fp16", "fp32", "int8", ...) to share of the layers that calculate."""
    time_share: dict[str, float]
    """Type to share of the measured time; empty when no time could be measured."""
    heavy_share: dict[str, float] = {}
    """Type to share of the layers that multiply matrices: what a precision is judged by. Empty where there are none."""


class ParityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine's answers compare with the FP32 network's, on real frames."""

    frames: int
    label_agreement: float | None
    """Share of pixels with the same class; None for a network without a class map."""
    mask_iou: float | None
    """Mean over matched objects; None where neither found any."""
    nan_count: int
    kept_fp32: tuple[str, ...] = ()
    """Nodes that had to stay in FP32 to get there."""
    measured_on: Literal["engine", "cpu"] = "engine"
    """"cpu": the cast network with every result rounded as a GPU would, for an engine that cannot run where it was built."""
    alpha_difference: float | None = None
    """Mean difference of the opacity, 0..1, over all pixels; None for a network without a matte."""


class TensorIo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of an engine. shape: of a batch of one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Passport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything known about a built engine."""

    request: BuildRequest
    environment: Environment
    card: dict[str, Any]
    """The ModelCard of what the engine takes and gives (fused outputs, FP16 input): msgspec.to_builtins of it."""
    inputs: tuple[TensorIo, ...]
    outputs: tuple[TensorIo, ...]
    plan_sha256: str
    plan_bytes: int
    audit: PrecisionAudit | None
    """None when the engine was built for another machine's GPU and never ran."""
    parity: ParityReport | None
    build_seconds: float
    built_at: str
    """UTC, ISO 8601."""
    format: int = PASSPORT_FORMAT


class SealedPassport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A passport's file: the passport, and a machine's signature of its canonical JSON."""

    passport: Passport
    signature: str

    def to_json(self) -> bytes:
        """For the file, indented for people. Raises ValueError when JSON cannot hold it, such as a share that is NaN."""
        data = msgspec.json.format(msgspec.json.encode(self), indent=2)
        if canonical_json(sealed_from_json(data).passport) != canonical_json(self.passport):
            raise ValueError("does not survive being written as JSON")
        return data


def canonical_json(facts: msgspec.Struct) -> bytes:
    """The one way to write `facts`: equal facts give equal bytes, however they were stored. This is what is signed."""
    return msgspec.json.encode(facts, order="deterministic")


def sealed_from_json(data: bytes) -> SealedPassport:
    """Read a passport's file; trusts nothing. Raises ValueError that says what the passport is."""
    try:
        sealed = msgspec.json.decode(data, type=SealedPassport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is damaged, or from another version of this program") from error
    if sealed.passport.format != PASSPORT_FORMAT:
        raise ValueError(f"has format {sealed.passport.format}, this program reads {PASSPORT_FORMAT}")
    return sealed
