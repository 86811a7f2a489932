"""A machine, a request, an engine and its passport."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.plans.passport import BuildRequest, Environment, ParityReport, Passport, PrecisionAudit, TensorIo
from engines.plans.store import Found, Store

RTX_3060 = Environment("tensorrt", "10.3.0", "12.6", "560.35.03", "NVIDIA GeForce RTX 3060", "8.6")

ORIN = Environment("tensorrt", "10.3.0", "12.6", "540.4.0", "Orin", "8.7")

ROAD = BuildRequest("road", "a1" * 32, "b2" * 32, "fp16", (640, 384))

PLAN = np.random.default_rng(7).bytes(20_011)
"""Stands for an engine: these tests do not read its content."""


def passport_of(plan: bytes = PLAN, request: BuildRequest = ROAD, environment: Environment = RTX_3060, **facts: Any) -> Passport:
    passport = Passport(
        request=request,
        environment=environment,
        card={"name": "road", "input": {"mean": [0.485, 1e-5, 3.0]}, "figures": {"mIoU (rainy day, é)": 50.6}},
        inputs=(TensorIo("image", "uint8", (1, 384, 640, 3)),),
        outputs=(TensorIo("labels", "uint8", (1, 384, 640)),),
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        audit=PrecisionAudit({"fp16": 0.94, "fp32": 0.06}, {"fp16": 0.98, "fp32": 0.02}),
        parity=ParityReport(8, 0.9991, None, 0, ("softmax",)),
        build_seconds=240.0,
        built_at="2026-11-01T12:00:00+00:00",
    )
    return msgspec.structs.replace(passport, **facts)


AGAIN = r"\. Build it again: run.py build road \(about 4 min\)$"


def fetch(store: Store, request: BuildRequest = ROAD, environment: Environment = RTX_3060) -> bytes:
    """Get an engine like a backend."""
    return store.read(store.find(request, environment))


def passport_file(found: Found) -> Path:
    return found.plan_path.with_suffix(".json")
