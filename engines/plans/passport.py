"""Passport: facts about a built engine, written next to it, signed, and checked before a runtime reads the engine.

Engines and passports are read without trust in their size or content.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.errors import BackendUnavailableError

PASSPORT_FORMAT = 2
"""Increased when the meaning of a field changes: older passports are then refused and their engines built again."""

RUNTIMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""Title of each runtime."""

TRUST_WARNING = "a TensorRT engine is native code: loading one from somebody else lets its author run anything as you"

MAX_PASSPORT_BYTES = 2**20
MAX_PLAN_BYTES = 2**32
HEADER_BYTES = 64


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


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the ranges of an INT8 engine were measured on."""

    source: str
    """A video or folder."""
    frames: int
    checks: int
    """Other frames of it, from other stretches of time, on which the engine was compared; 0 if that was done elsewhere."""
    percentile: float
    """The share of an activation's absolute values that its range holds, in percent."""


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
    without_kernel: tuple[str, ...] = ()
    """Nodes that are in FP32 because this TensorRT has no kernel for them in the requested precision."""
    warnings: tuple[str, ...] = ()
    """What the user should know of this engine, a line each."""
    calibration: Calibration | None = None
    """None for an engine that is not INT8."""
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


def looks_like_onnx(data: bytes) -> bool:
    """Whether `data` begins like an ONNX file: field 1 of a ModelProto, the IR version, then one of its other fields."""
    # Tags of producer_name, producer_version, domain, model_version, doc_string, graph, opset_import, metadata_props.
    return len(data) >= 3 and data[0] == 0x08 and 0 < data[1] < 64 and data[2] in b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


def read_file(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """The content of a regular file and its size. Of a file larger than `most_bytes` only the header. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):  # before opening: a FIFO would wait for a writer
        raise OSError(errno.EINVAL, "not a file")
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        return file.read(size_bytes if size_bytes <= most_bytes else HEADER_BYTES), size_bytes


def load_foreign(path: Path) -> tuple[bytes, Passport | None]:
    """An engine that was built elsewhere, and its passport if one is next to it. Both are unverified: see TRUST_WARNING.

    Raises BackendUnavailableError if the file cannot be an engine, or its passport is that of another one.
    """
    cure = "Give a TensorRT engine file"
    try:
        plan, size_bytes = read_file(path, MAX_PLAN_BYTES)
    except OSError as error:
        raise BackendUnavailableError(f"{path}: the engine cannot be read ({error.strerror})", cure) from error
    if size_bytes == 0:
        raise BackendUnavailableError(f"{path}: this file is empty", cure)
    if looks_like_onnx(plan):
        cure = "Run it with --model, or build an engine: run.py build"
        raise BackendUnavailableError(f"{path}: this is an ONNX file, not an engine", cure)
    if size_bytes > MAX_PLAN_BYTES:
        raise BackendUnavailableError(f"{path}: {size_bytes / 2**30:.1f} GiB is too large for an engine", cure)
    passport_path = path.with_suffix(".json")
    if not passport_path.exists():
        return plan, None
    try:
        passport = read_passport(passport_path).passport
    except ValueError as error:
        raise BackendUnavailableError(f"{passport_path}: the engine's passport {error}", "Copy it again, or remove it") from error
    if passport.plan_sha256 != hashlib.sha256(plan).hexdigest():
        what = f"{passport_path}: this is the passport of another engine"
        raise BackendUnavailableError(what, "Copy both files again, or remove it")
    return plan, passport


def read_passport(path: Path) -> SealedPassport:
    """Read a passport's file, which is not trusted. Raises ValueError; its text completes "the passport ..."."""
    try:
        data, size_bytes = read_file(path, MAX_PASSPORT_BYTES)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if size_bytes > MAX_PASSPORT_BYTES:
        raise ValueError("is too large")
    return sealed_from_json(data)
