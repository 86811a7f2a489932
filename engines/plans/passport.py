"""Passport: facts about a built engine, written next to it, signed, and checked before a runtime reads the engine."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

PASSPORT_FORMAT = 1
"""Increased when the meaning of a field changes: older passports are then refused and their engines built again."""

RUNTIMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""Title of each runtime."""


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that an engine was built on, and so runs on."""

    runtime: str
    """"tensorrt" or "tensorrt-rtx"."""
    runtime_version: str
    cuda_version: str
    """The newest CUDA that the driver supports: "13.0"."""
    driver_version: str
    """Version of the kernel driver: "580.65.06"; empty if unknown."""
    gpu_name: str
    compute_capability: str
    """"8.7"."""


class BuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to build. Two equal requests on one machine are the same engine."""

    model_name: str
    onnx_sha256: str
    """Of the model's file, before fusing and casting."""
    card_sha256: str
    """Of the card's canonical JSON: classes, size and normalisation affect the engine."""
    precision: str
    """"fp16", "fp32", "bf16" or "int8-qdq"."""
    size_px: tuple[int, int]
    """Width and height of the network's input."""
    batch: int = 1
    runtime: str = "tensorrt"
    target: str = ""
    """Compute capability to build for, "86"; empty for this machine's GPU."""
    dla_core: int | None = None


class PrecisionAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The actual precision of an engine's layers, from its inspector. Shares add up to 1."""

    layer_share: dict[str, float]
    """Type ("fp16", "fp32", "int8", ...) -> share of the layers that calculate."""
    time_share: dict[str, float]
    """Type -> share of the measured time; empty if no time could be measured."""
    heavy_share: dict[str, float] = {}
    """Type -> share of the layers that multiply matrices, which decide the precision. Empty if there are none."""


class ParityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine's results on real frames compare with those of the FP32 network."""

    frames: int
    label_agreement: float | None
    """Share of pixels with the same class; None for a network without a class map."""
    mask_iou: float | None
    """Mean over matched objects; None if there are none."""
    nan_count: int
    kept_fp32: tuple[str, ...] = ()
    """Nodes kept in FP32 for this result."""
    measured_on: Literal["engine", "cpu"] = "engine"
    """"cpu": the cast network with every result rounded as a GPU would, for an engine that cannot run where it was built."""
    alpha_difference: float | None = None
    """Mean difference of the opacity, 0..1, over all pixels; None for a network without a matte."""


class TensorIo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of an engine. shape: for a batch of one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Passport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All facts about a built engine."""

    request: BuildRequest
    environment: Environment
    card: dict[str, Any]
    """The ModelCard of the engine (fused outputs, FP16 input), as built-in types."""
    inputs: tuple[TensorIo, ...]
    outputs: tuple[TensorIo, ...]
    plan_sha256: str
    plan_bytes: int
    audit: PrecisionAudit | None
    """None if the engine was built for another machine's GPU and never ran."""
    parity: ParityReport | None
    build_seconds: float
    built_at: str
    """UTC, ISO 8601."""
    format: int = PASSPORT_FORMAT


class SealedPassport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A passport's file: the passport and the signature of its canonical JSON."""

    passport: Passport
    signature: str

    def to_json(self) -> bytes:
        """The indented text of the file. Raises ValueError if JSON cannot represent it, such as a share that is NaN."""
        data = msgspec.json.format(msgspec.json.encode(self), indent=2)
        if canonical_json(sealed_from_json(data).passport) != canonical_json(self.passport):
            raise ValueError("cannot be represented in JSON")
        return data


def canonical_json(facts: msgspec.Struct) -> bytes:
    """The bytes that are signed: equal facts give equal bytes."""
    return msgspec.json.encode(facts, order="deterministic")


def sealed_from_json(data: bytes) -> SealedPassport:
    """Read a passport's file, which is not trusted. Raises ValueError; its text completes "the passport ..."."""
    try:
        sealed = msgspec.json.decode(data, type=SealedPassport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is damaged, or from another version of this program") from error
    if sealed.passport.format != PASSPORT_FORMAT:
        raise ValueError(f"has format {sealed.passport.format}, this program reads {PASSPORT_FORMAT}")
    return sealed
