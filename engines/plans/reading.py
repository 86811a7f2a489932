"""Engines and passports as files, read without trust in their size or content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from engines.errors import BackendUnavailableError
from engines.plans.passport import Passport, SealedPassport, sealed_from_json

TRUST_WARNING = "a TensorRT engine is native code: loading one from somebody else lets its author run anything as you"

MAX_PASSPORT_BYTES = 2**20
MAX_PLAN_BYTES = 2**32
HEADER_BYTES = 64


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
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BackendUnavailableError(f"{passport_path}: the engine's passport {why}", "Copy it again, or remove it") from error
    if passport.plan_sha256 != hashlib.sha256(plan).hexdigest():
        what = f"{passport_path}: this is the passport of another engine"
        raise BackendUnavailableError(what, "Copy both files again, or remove it")
    return plan, passport


def read_passport(path: Path) -> SealedPassport:
    """Raises OSError, or ValueError whose text completes "the passport ..."."""
    data, size_bytes = read_file(path, MAX_PASSPORT_BYTES)
    if size_bytes > MAX_PASSPORT_BYTES:
        raise ValueError("is too large")
    return sealed_from_json(data)
