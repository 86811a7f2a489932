"""From repeats to a card: medians and ranges of figures, percentiles over all repeats' times, and words for what is missing."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from engines.models.card import ModelCard
from engines.models.model import Model
from realtime.bench.card import Alone, Card, Doors, Figure, Mode, ModelFacts, Percentiles, figure
from realtime.bench.measuring import Repeat
from realtime.settings import Settings

PRECISION = re.compile(r"\b(fp32|fp16|bf16|int8[\w-]*|f32|f16)\b")
BUSY_CORES = 0.2
"""Of other programs: more than a desktop needs when nobody touches it."""

STEADY_MB_PER_MINUTE = 10.0
"""Caches still take some of it in the first seconds of a run that leaks nothing (measured: up to 3; 6 on a very busy machine)."""

LEAST_REPEATS = 3
"""With fewer, chance alone may hide a growth."""

LEFT_OVER = 1.05
"""A rise of the peak from repeat to repeat that is worth a word."""

NOT_LINUX = "only Linux tells it"

Value = Callable[[Repeat], "float | None"]

FIGURES: tuple[tuple[str, str, Value], ...] = (
    ("fps", "frames/s", lambda repeat: repeat.fps),
    ("shown_fps", "frames/s", lambda repeat: repeat.counts.shown / repeat.seconds),
    ("age_p50", "ms", lambda repeat: _age(repeat, 50)),
    ("age_p95", "ms", lambda repeat: _age(repeat, 95)),
    ("mask_age_p50", "ms", lambda repeat: _mask_age(repeat, 50)),
    ("mask_age_p95", "ms", lambda repeat: _mask_age(repeat, 95)),
    ("dropped_share", "%", lambda repeat: _dropped_percent(repeat)),
    ("cpu_per_frame", "ms", lambda repeat: repeat.cpu_ms_per_frame),
    ("cpu_cores", "cores", lambda repeat: repeat.cpu_s / repeat.seconds),
    ("others_cores", "cores", lambda repeat: repeat.others_cores),
    ("memory_peak", "MB", lambda repeat: repeat.rss_peak_mb),
    ("memory_slope", "MB/min", lambda repeat: repeat.rss_slope),
    ("gpu_load", "%", lambda repeat: repeat.gpu.mean_percent if repeat.gpu else None),
    ("gpu_memory", "MB", lambda repeat: repeat.gpu.memory_mb if repeat.gpu else None),
    ("power", "W", lambda repeat: repeat.power.mean_w if repeat.power else None),
    ("energy_per_frame", "J", lambda repeat: repeat.power.mean_w / repeat.fps if repeat.power and repeat.fps else None),
    ("cpu_energy_per_frame", "J", lambda repeat: _cpu_joules_per_frame(repeat)),
    ("tracks", "ids", lambda repeat: float(repeat.tracks)),
)
"""Name, unit, and how a repeat tells it. Percentages of drops are of what a camera gave or would have given."""

ORDER = ("read", "preprocess", "inference", "decode", "smooth", "track", "carry", "draw", "write")
"""Of stages, as a frame meets them."""

LIVE_ONLY = ("shown_fps", "age_p50", "age_p95", "mask_age_p50", "mask_age_p95", "dropped_share")
"""Where a recording waits for its reader, its pictures have no age, and none is dropped."""


def mode_of(repeats: Sequence[Repeat], how: str, *, is_live: bool) -> Mode:
    """One way of feeding, from at least one repeat of it."""
    figures: dict[str, Figure] = {}
    for name, unit, value in FIGURES:
        values = [value(repeat) for repeat in repeats]
        told = [one for one in values if one is not None]
        if len(told) == len(values) and (is_live or name not in LIVE_ONLY):
            figures[name] = figure(told, unit)
    found = dict.fromkeys(name for repeat in repeats for name in repeat.samples_ms)
    names = sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    stages = {name: _percentiles([repeat.samples_ms.get(name, np.zeros(0)) for repeat in repeats]) for name in names}
    age, mask_age = stages.pop("age", None), stages.pop("mask age", None)
    if "mask_age_p50" not in figures:
        mask_age = None
    return Mode(
        how=how,
        figures=figures,
        stages=stages,
        age=age if is_live else None,
        mask_age=mask_age,
        doors=_doors(repeats),
        unreadable=_unreadable(repeats, figures),
    )


def alone(wall_ms: Sequence[float], cpu_ms: float) -> Alone:
    return Alone(_percentiles([np.asarray(wall_ms)]), round(cpu_ms, 3))


def model_facts(model: Model, card: ModelCard, backend: str, runs_on: str) -> ModelFacts:
    """card, runs_on: the opened engine's own, and what it says of itself (an engine may take another size than the file).
    backend: its name."""
    precision = PRECISION.findall(runs_on.lower())
    return ModelFacts(
        name=card.name,
        sha256=hashlib.sha256(model.path.read_bytes()).hexdigest(),
        input=str(card.input.size),
        licence=card.licence,
        backend=backend,
        runs_on=runs_on,
        precision=precision[-1] if precision else "not told",
    )


def settings_facts(settings: Settings) -> dict[str, Any]:
    """Everything a run depends on but the model, which has facts of its own, as plain values."""
    facts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))  # as they come back from a file
    del facts["model"]
    return facts


def notes_on(card: Card) -> tuple[str, ...]:
    """What a reader has to know before comparing figures with others."""
    notes = []
    told = [mode.figures["others_cores"] for mode in (card.fixed, card.maximum) if mode and "others_cores" in mode.figures]
    most = max((one.median for one in told), default=0.0)
    if most > BUSY_CORES:
        notes.append(
            f"Other programs used {most:.1f} of {card.machine.get('cores', '?')} cores meanwhile: frames per second and ages "
            "would be better, and CPU per frame a little less, on a quiet machine."
        )
    missed = card.fixed.doors.missed_by_the_feed if card.fixed else 0
    if missed:
        notes.append(f"fixed: the feed itself came too late for {missed} pictures, which a camera would have given.")
    if card.source_alone is not None:
        own_ms = card.source_alone.cpu_ms
        notes.append(f"The source's own work (decoding or drawing), {own_ms:.1f} ms of CPU a frame, is in the process's CPU.")
    return (*notes, *_notes_on_memory([mode.figures for mode in (card.fixed, card.maximum) if mode is not None]))


def _notes_on_memory(modes: Sequence[dict[str, Figure]]) -> Iterator[str]:
    """Of repeats whose true median rises by more than the steepest of n, all n would have to lie below it: 3 % for five."""
    slopes = [figures["memory_slope"] for figures in modes if "memory_slope" in figures]
    steepest = max((one.high for one in slopes), default=0.0)
    if any(one.low > STEADY_MB_PER_MINUTE for one in slopes):
        yield f"Memory grew in every repeat, by up to {steepest:.0f} MB a minute: a leak, or caches that fill; try --seconds 60."
    elif slopes and min(len(one.repeats) for one in slopes) >= LEAST_REPEATS:
        yield f"Memory: no steady growth was seen; one beyond {max(0.1, steepest):.1f} MB a minute would have been."
    peaks = [figures["memory_peak"] for figures in modes if "memory_peak" in figures]
    if peaks and peaks[0].high > LEFT_OVER * peaks[0].repeats[0]:
        yield (
            f"A run of its own takes {peaks[0].repeats[0]:.0f} MB at its peak, as the first repeat did: later ones also hold "
            "what the process keeps of earlier ones."
        )


def _age(repeat: Repeat, percentile: float) -> float | None:
    ages = repeat.samples_ms.get("age")
    return None if ages is None or not len(ages) else float(np.percentile(ages, percentile))


def _mask_age(repeat: Repeat, percentile: float) -> float | None:
    """None where each picture's masks are its own (the overlay "locked")."""
    ages = repeat.samples_ms.get("mask age")
    return None if ages is None or not ages.any() else float(np.percentile(ages, percentile))


def _dropped_percent(repeat: Repeat) -> float | None:
    given = repeat.counts.captured + repeat.counts.missed
    return 100 * (repeat.counts.dropped_before_model + repeat.counts.missed) / given if given else None


def _cpu_joules_per_frame(repeat: Repeat) -> float | None:
    if repeat.cpu_joules is None:
        return None
    return repeat.cpu_joules / repeat.counts.processed


def _percentiles(parts: Sequence[Any]) -> Percentiles:
    """Over the times of all repeats: of each the latest `WINDOW` that the meter keeps, which no usual repeat fills."""
    times_ms = np.concatenate(parts)
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(times_ms, (50, 95, 99)))
    return Percentiles(p50, p95, p99, len(times_ms))


def _doors(repeats: Sequence[Repeat]) -> Doors:
    total = dict.fromkeys((*(one.name for one in dataclasses.fields(repeats[0].counts)), "in_flight"), 0)
    for repeat in repeats:
        for field in total:
            total[field] += getattr(repeat.counts, field)
    return Doors(missed_by_the_feed=total.pop("missed"), **total)


def _unreadable(repeats: Sequence[Repeat], figures: dict[str, Figure]) -> dict[str, str]:
    """What is not among the figures because this machine does not tell it, and why."""
    reasons = {
        "others_cores": NOT_LINUX,
        "memory_peak": NOT_LINUX,
        "memory_slope": "too short a time to tell" if "memory_peak" in figures else NOT_LINUX,
        "gpu_load": "no GPU that tells it",
        "gpu_memory": "no graphics card with memory of its own that tells it",
        "power": repeats[-1].no_power,
        "cpu_energy_per_frame": repeats[-1].no_cpu_joules,
    }
    return {name: reason for name, reason in reasons.items() if name not in figures}
