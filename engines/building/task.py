"""What parent and child of a build tell each other, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from engines.plans.passport import BuildRequest, ParityReport, PrecisionAudit, TensorIo


class Task(msgspec.Struct, frozen=True):
    """What the parent asks for; travels as JSON."""

    request: BuildRequest
    model_path: str
    card: dict[str, Any]
    scratch: str
    """The folder to leave the plan and the timing cache in."""
    workspace_bytes: int
    frames: str | None = None
    timing_cache: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What the child made; travels as JSON."""

    plan: str
    """Path of the plan."""
    timing_cache: str | None
    card: dict[str, Any]
    inputs: tuple[TensorIo, ...]
    outputs: tuple[TensorIo, ...]
    audit: PrecisionAudit | None
    parity: ParityReport | None
    build_seconds: float
