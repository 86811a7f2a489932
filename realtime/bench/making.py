"""Makes a card of repeats: medians and ranges of figures, percentiles over all repeats' times, reasons for missing figures."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engines.files import sha256_of
from engines.models.card import ModelCard
from engines.models.model import Model
from realtime.bench.card import Alone, Card, Counts, Figure, Mode, ModelFacts, Percentiles, figure
from realtime.bench.comparing import KINDS
from realtime.bench.measuring import Repeat

PRECISION = re.compile(r"\b(fp32|fp16|bf16|int8[\w-]*|f32|f16)\b")
BUSY_CORES = 0.2
"""Used by other programs: more than an idle desktop needs."""

STEADY_MB_PER_MINUTE = 10.0
"""In the first seconds caches still grow in a run without leaks (measured: up to 3; 6 on a very busy machine)."""

LEAST_REPEATS = 3
"""With fewer, growth may be hidden by chance."""

LEFT_OVER = 1.05
"""A larger rise of the peak from the first repeat to later ones is mentioned."""

NOT_LINUX = "known on Linux only"

ORDER = ("read", "preprocess", "inference", "decode", "smooth", "track", "observe", "carry", "draw", "write")
"""Of stages, as a frame passes them."""

LIVE_ONLY = ("shown_fps", "age_p50", "age_p95", "mask_age_p50", "mask_age_p95", "dropped_share")
"""A recording at the maximum waits for its reader: frames have no age, and none is dropped."""


def mode_of(repeats: Sequence[Repeat], how: str, *, is_live: bool) -> Mode:
    """The card's part for one mode, from at least one repeat."""
    figures: dict[str, Figure] = {}
    for name, kind in KINDS.items():
        values = [kind.of(repeat) for repeat in repeats]
        known = [one for one in values if one is not None]
        if len(known) == len(values) and (is_live or name not in LIVE_ONLY):
            figures[name] = figure(known, kind.unit)
    found = dict.fromkeys(name for repeat in repeats for name in repeat.samples_ms)
    names = sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    stages = {name: _percentiles([repeat.samples_ms.get(name, np.zeros(0)) for repeat in repeats]) for name in names}
    age, mask_age = stages.pop("age", None), stages.pop("mask age", None)
    return Mode(
        how=how,
        figures=figures,
        stages=stages,
        age=age if is_live else None,
        mask_age=mask_age if "mask_age_p50" in figures else None,
        doors=Counts(*(sum(getattr(repeat.counts, name) for repeat in repeats) for name in Counts.__struct_fields__)),
        unreadable=_unreadable(repeats, figures),
    )


def alone(wall_ms: Sequence[float], cpu_ms: float) -> Alone:
    return Alone(_percentiles([np.asarray(wall_ms)]), round(cpu_ms, 3))


def model_facts(model: Model, card: ModelCard, backend: str, runs_on: str, input_reason: str) -> ModelFacts:
    """card: of the opened engine, whose input may differ from the file's. runs_on: the engine's description."""
    precision = PRECISION.findall(runs_on.lower())
    return ModelFacts(
        name=card.name,
        sha256=sha256_of(model.path),
        input=str(card.input.size),
        licence=card.licence,
        backend=backend,
        runs_on=runs_on,
        precision=precision[-1] if precision else "unknown",
        input_reason=input_reason,
    )


def notes_on(card: Card) -> tuple[str, ...]:
    """Remarks for comparing the figures with others."""
    notes = []
    others = [mode.figures["others_cores"] for mode in (card.fixed, card.maximum) if mode and "others_cores" in mode.figures]
    most = max((one.median for one in others), default=0.0)
    if most > BUSY_CORES:
        notes.append(
            f"Other programs used {most:.1f} of {card.machine.get('cores', '?')} cores during the bench: on a quiet machine, "
            "frames per second and ages would be better, and CPU per frame slightly lower."
        )
    if card.conditions is not None and card.conditions.throttled:
        notes.append(
            f"Clocks were lowered meanwhile ({'; '.join(card.conditions.throttled)}): a machine that is cooler, or has a better "
            "power supply, is faster."
        )
    missed = card.fixed.doors.missed_by_the_feed if card.fixed else 0
    if missed:
        notes.append(f"fixed: the feed was too late for {missed} frames, which a camera would have captured.")
    if card.source_alone is not None:
        own_ms = f"{card.source_alone.cpu_ms:.1f} ms of CPU per frame"
        notes.append(f"The source's own work (decoding or drawing), {own_ms}, is part of the process's CPU time.")
    return (*notes, *_notes_on_memory([mode.figures for mode in (card.fixed, card.maximum) if mode is not None]))


def _notes_on_memory(modes: Sequence[dict[str, Figure]]) -> Iterator[str]:
    """The chance that a true median slope is above the steepest of n repeats is 1 in 2^n: 3 % for five."""
    slopes = [figures["memory_slope"] for figures in modes if "memory_slope" in figures]
    steepest = max((one.high for one in slopes), default=0.0)
    if any(one.low > STEADY_MB_PER_MINUTE for one in slopes):
        yield f"Memory grew in every repeat, by up to {steepest:.0f} MB a minute: a leak, or caches that fill. Try --seconds 60."
    elif slopes and min(len(one.repeats) for one in slopes) >= LEAST_REPEATS:
        yield f"Memory: no steady growth; any above {max(0.1, steepest):.1f} MB a minute would have been noticed."
    peaks = [figures["memory_peak"] for figures in modes if "memory_peak" in figures]
    if peaks and peaks[0].high > LEFT_OVER * peaks[0].repeats[0]:
        yield (
            f"A single run takes {peaks[0].repeats[0]:.0f} MB at its peak, as the first repeat did: later ones include "
            "memory that the process keeps from earlier ones."
        )


def _percentiles(parts: Sequence[Any]) -> Percentiles:
    """Over the times of all repeats; the meter keeps the latest `WINDOW` of each, more than a usual repeat has."""
    times_ms = np.concatenate(parts)
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(times_ms, (50, 95, 99)))
    return Percentiles(p50, p95, p99, len(times_ms))


def _unreadable(repeats: Sequence[Repeat], figures: dict[str, Figure]) -> dict[str, str]:
    """The figures that this machine does not provide, and why."""
    reasons = {
        "others_cores": NOT_LINUX,
        "memory_peak": NOT_LINUX,
        "memory_slope": "measured for too short a time" if "memory_peak" in figures else NOT_LINUX,
        "gpu_load": "no GPU that reports it",
        "gpu_memory": "no graphics card with its own memory that reports it",
        "power": repeats[-1].no_power,
        "cpu_energy_per_frame": repeats[-1].no_cpu_joules,
    }
    return {name: reason for name, reason in reasons.items() if name not in figures}
