"""The card: the results of a bench, and the facts they depend on. A JSON file, checked when it is read."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from realtime.errors import BenchError
from realtime.settings import Settings

FORMAT = 1
MAX_CARD_BYTES = 4 * 1024**2
NAME_A_CARD = "Name a card.json of run.py bench"


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure: the value of each repeat, and their median, minimum and maximum."""

    median: float
    low: float
    high: float
    unit: str
    repeats: tuple[float, ...]


class Percentiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Percentiles of times in milliseconds, and their number."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames of one repeat, or of all: captured = processed + dropped_before_model + in_flight.

    in_flight: how many more than at the beginning. shown: at the maximum, which has no screen, the frames drawn.
    dropped_before_screen: processed, but not shown. missed_by_the_feed: frames of a camera that the feed delivered too late; they
    are not captured.
    """

    captured: int
    processed: int
    dropped_before_model: int
    in_flight: int
    shown: int
    dropped_before_screen: int
    missed_by_the_feed: int


class Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The results of one mode. how: the feed, in words. figures, unreadable: by name, the latter with the reason."""

    how: str
    figures: dict[str, Figure]
    stages: dict[str, Percentiles]
    age: Percentiles | None
    mask_age: Percentiles | None
    doors: Counts
    unreadable: dict[str, str]


class ModelFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sha256: str
    input: str
    licence: str
    backend: str
    """Its name: "openvino"."""
    runs_on: str
    """Its own description, with versions."""
    precision: str
    """The precision in its description."""
    input_reason: str = ""
    """Why the input has this size, where it is not the model's own or could be smaller."""


class SourceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    size: str
    fps: float | None
    decoder: str = ""
    """ "CPU", or the GPU's decoder by name; empty where nothing is decoded."""


class EngineFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engine of a GPU, by its passport. build_s: of the build alone. wall_s: with all checks, if this bench built it."""

    build_s: float
    built_at: str
    wall_s: float | None = None


class ClockRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A clock while the modes were measured. limit_mhz: the highest that it was allowed; None where that is not reported."""

    median_mhz: float
    low_mhz: float
    high_mhz: float
    limit_mhz: float | None


class Temperature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sensor before and after the modes were measured, and its highest in between, in degrees Celsius."""

    before_c: float | None
    after_c: float | None
    highest_c: float


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the machine was like during the measurement.

    throttled: the reasons for lowered clocks; None where nothing reports them. unreadable: what is not known, and why.
    """

    clocks: dict[str, ClockRange]
    temperatures: dict[str, Temperature]
    throttled: tuple[str, ...] | None
    unreadable: dict[str, str]
    power_source: str = ""
    """Which power was measured: of the whole board, or of the graphics card alone."""


class Alone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part in a loop, without the others. CPU time is of all threads."""

    wall_ms: Percentiles
    cpu_ms: float


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bench's result. maximum: None for a camera, which has its own rate."""

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
    engine: EngineFacts | None = None
    """None where no engine was built for this machine."""
    conditions: Conditions | None = None


def figure(repeats: Sequence[float], unit: str) -> Figure:
    """A figure from the values of at least one repeat."""
    rounded = tuple(round(value, 4) for value in repeats)
    return Figure(round(statistics.median(rounded), 4), min(rounded), max(rounded), unit, rounded)


def settings_facts(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, except for the model, which has its own facts."""
    facts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))  # as read from a file
    del facts["model"]
    return facts


def to_json(card: Card) -> bytes:
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def read_card(path: Path) -> Card:
    """Raises BenchError when the file cannot be read, or is not a card that this version reads."""
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise BenchError(f"{path}: larger than {MAX_CARD_BYTES // 1024**2} MiB, so not a card", NAME_A_CARD)
        text = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror or error})", NAME_A_CARD) from error
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BenchError(f"{path}: not valid JSON ({error})", NAME_A_CARD) from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found is None or "fixed" not in raw or "maximum" not in raw:
        raise BenchError(f"{path}: not a card of run.py bench", NAME_A_CARD)
    if found != FORMAT:
        raise BenchError(f"{path}: a card of format {found}, but this version reads {FORMAT}", "Make the baseline again")
    try:
        return msgspec.convert(raw, Card)
    except msgspec.ValidationError as error:
        raise BenchError(f"{path}: a damaged card ({error})", "Make the baseline again") from error
