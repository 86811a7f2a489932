"""The card: what a bench found, with all that a figure needs beside it. A JSON file, checked when it is read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from realtime.errors import BenchError

FORMAT = 1
MAX_CARD_BYTES = 4 * 1024**2


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure: each repeat's, and their median, smallest and largest."""

    median: float
    low: float
    high: float
    unit: str
    repeats: tuple[float, ...]


class Percentiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of times in milliseconds, and how many of them there are."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int


class Doors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames of all repeats: captured = processed + dropped_before_model + in_flight.

    shown: at the maximum, where there is no screen, the pictures that were drawn. missed_by_the_feed: what a camera would have
    given besides; they are not among the captured.
    """

    captured: int
    processed: int
    dropped_before_model: int
    in_flight: int
    shown: int
    dropped_before_screen: int
    missed_by_the_feed: int


class Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one way of feeding gave. how: in words; figures, unreadable: by name, the latter with the reason."""

    how: str
    figures: dict[str, Figure]
    stages: dict[str, Percentiles]
    age: Percentiles | None
    mask_age: Percentiles | None
    doors: Doors
    unreadable: dict[str, str]


class ModelFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sha256: str
    input: str
    licence: str
    backend: str
    """As it was chosen: "openvino"."""
    runs_on: str
    """As it describes itself, versions and all."""
    precision: str
    """What it computes in, as far as it says."""


class SourceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    size: str
    fps: float | None


class Alone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part in a loop, with nothing beside it. CPU time is of all threads."""

    wall_ms: Percentiles
    cpu_ms: float


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bench's result. None for a mode that cannot be had: a camera sets its own pace."""

    format: int
    date: str
    program: dict[str, str]
    machine: dict[str, str]
    versions: dict[str, str]
    model: ModelFacts
    source: SourceFacts
    settings: dict[str, Any]
    method: dict[str, Any]
    fixed: Mode | None
    maximum: Mode | None
    source_alone: Alone | None
    model_alone: Alone
    notes: tuple[str, ...]


def figure(repeats: Sequence[float], unit: str) -> Figure:
    """From each repeat's value; at least one."""
    rounded = tuple(round(value, 4) for value in repeats)
    return Figure(round(statistics.median(rounded), 4), min(rounded), max(rounded), unit, rounded)


def to_json(card: Card) -> bytes:
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def read_card(path: Path) -> Card:
    """Raises BenchError, one line, when there is no such file, or it is no card that this version reads."""
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise BenchError(f"{path}: larger than {MAX_CARD_BYTES // 1024**2} MiB; this is no card of run.py bench")
        text = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror or error}); name a card.json of run.py bench") from error
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BenchError(f"{path}: no valid JSON ({error}); name a card.json of run.py bench") from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found is None or "fixed" not in raw or "maximum" not in raw:
        raise BenchError(f"{path}: no card of run.py bench")
    if found != FORMAT:
        raise BenchError(f"{path}: a card of format {found}, this version reads {FORMAT}; make the baseline again")
    try:
        return msgspec.convert(raw, Card)
    except msgspec.ValidationError as error:
        raise BenchError(f"{path}: a damaged card ({error}); make the baseline again") from error
