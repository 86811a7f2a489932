"""Compares a card with a baseline: a rule that accounts for noise, and the differences that forbid a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # `run.py --help` prints the rule below without loading this
    from realtime.bench.card import Card, Figure, Mode
    from realtime.bench.measuring import Repeat

HIGHER, LOWER = 1, -1

TOLERANCE_PERCENT = 5.0


class Kind(NamedTuple):
    """A kind of figure. of: its value in a repeat; None where this machine does not provide it.

    better: HIGHER or LOWER; None for figures that are not compared. least: the smallest difference that matters, in its own unit.
    by_clock: other programs on the same cores make it worse.
    """

    title: str
    unit: str
    of: Callable[[Repeat], float | None]
    better: int | None = None
    least: float = 0.0
    by_clock: bool = False


KINDS = {
    "fps": Kind("frames through the model", "frames/s", lambda one: one.fps, HIGHER, by_clock=True),
    "shown_fps": Kind("frames shown", "frames/s", lambda one: one.counts.shown / one.seconds, HIGHER, by_clock=True),
    "age_p50": Kind("age of a frame when shown, p50", "ms", lambda one: one.percentile("age", 50), LOWER, 1.0, by_clock=True),
    "age_p95": Kind("age of a frame when shown, p95", "ms", lambda one: one.percentile("age", 95), LOWER, 2.0, by_clock=True),
    "mask_age_p50": Kind("age of its masks, p50", "ms", lambda one: one.percentile("mask age", 50), LOWER, 1.0, by_clock=True),
    "mask_age_p95": Kind("age of its masks, p95", "ms", lambda one: one.percentile("mask age", 95), LOWER, 2.0, by_clock=True),
    "dropped_share": Kind("dropped before the model, or missed", "%", lambda one: one.dropped_percent, LOWER, 2.0, by_clock=True),
    "cpu_per_frame": Kind("CPU per frame, whole process", "ms", lambda one: one.cpu_ms_per_frame, LOWER, 0.2),
    "cpu_cores": Kind("cores used", "cores", lambda one: one.cpu_s / one.seconds),
    "others_cores": Kind("cores used by other programs", "cores", lambda one: one.others_cores),
    "memory_peak": Kind("memory, peak", "MB", lambda one: one.rss_peak_mb, LOWER, 20.0),
    "memory_slope": Kind("memory, slope", "MB/min", lambda one: one.rss_slope, LOWER, 20.0),
    "gpu_load": Kind("GPU load", "%", lambda one: one.gpu.mean_percent if one.gpu else None),
    "gpu_memory": Kind("GPU memory in use, whole card", "MB", lambda one: one.gpu.memory_mb if one.gpu else None, LOWER, 20.0),
    "power": Kind("power", "W", lambda one: one.power.mean_w if one.power else None),
    "energy_per_frame": Kind("energy per frame", "J", lambda one: one.joules_per_frame, LOWER, by_clock=True),
    "cpu_energy_per_frame": Kind(
        "energy of the CPU packages per frame", "J", lambda one: one.cpu_joules_per_frame, LOWER, by_clock=True
    ),
    "tracks": Kind("tracks started per repeat", "ids", lambda one: float(one.tracks)),
}
"""Drops are in per cent of the frames of a camera, missed ones included."""

LOAD_CORES, LOAD_SHARE = 0.2, 0.05
"""Other programs' load counts as different when it differs by more than this number of cores, and this share of all cores..."""

FULL_SHARE = 0.9
"""... or, where all programs use more than this share of the cores, by `LOAD_SHARE` of this program's cores."""

RULE = """\
A figure is worse than the baseline's when all of this holds: every repeat now is worse than every repeat then (so the
difference is beyond the noise of both runs), the medians are more than {tolerance:g} % apart,
and by more than a smallest amount that matters (1 ms of age, 0.2 ms of CPU, 2 points of drops, 20 MB). Compared are, in
both modes: frames per second through the model and onto the screen, age p50 and p95 (of masks too), share of drops, CPU
per frame, peak memory (of as many repeats) and its slope, GPU memory, energy per frame. Stage times are shown, but not
compared: they shift when threads wait for each other. Where other programs were busier than in the baseline, figures that
look worse by the clock are "worse?", and the exit code is 3 unless another figure is worse: run it again on a quiet
machine. Where they were less busy, figures that look better are "better?"."""


def title(name: str) -> str:
    """Of a figure; its name where this version does not know it."""
    return KINDS[name].title if name in KINDS else name


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of both cards. verdict: "worse", "better", "same"; or "worse?", "better?" where other programs' load may be the
    cause."""

    mode: str
    name: str
    before: Figure
    now: Figure
    verdict: str

    @property
    def title(self) -> str:
        return title(self.name)

    @property
    def text(self) -> str:
        """The difference of the medians: in per cent of the baseline, or in points for figures in per cent."""
        difference = self.now.median - self.before.median
        if self.now.unit == "%":
            return f"{difference:+.1f} points"
        return f"{100 * difference / abs(self.before.median):+.1f} %" if self.before.median else f"{difference:+.4g}"


def differences(card: Card, baseline: Card) -> list[str]:
    """The differences that forbid a comparison of two cards, one clause each."""
    pairs = {
        "machine": (card.machine, baseline.machine),
        "model": ((card.model.name, card.model.sha256[:12]), (baseline.model.name, baseline.model.sha256[:12])),
        "input": (card.model.input, baseline.model.input),
        "backend": (card.model.backend, baseline.model.backend),
        "precision": (card.model.precision, baseline.model.precision),
        "source": (card.source.name, baseline.source.name),
        "picture": (card.source.size, baseline.source.size),
        "settings": (_with_defaults(card), _with_defaults(baseline)),
        "rate": (card.method.get("rate_hz"), baseline.method.get("rate_hz")),
        "encoding": (card.method.get("encoded"), baseline.method.get("encoded")),
    }
    return [f"{name} {_differing(now, then)}" for name, (now, then) in pairs.items() if now != then]


def _with_defaults(card: Card) -> dict[str, Any]:
    """The settings, with defaults for those that did not exist when the card was made."""
    from realtime.bench.card import settings_facts
    from realtime.settings import Settings

    settings, defaults = card.settings, settings_facts(Settings())
    tables = {
        key: {**defaults[key], **one}
        for key, one in settings.items()
        if isinstance(one, dict) and isinstance(defaults.get(key), dict)
    }
    engine = tables.get("engine", {})
    if engine.get("inflight") == 1 and card.model.backend != "trt":
        engine["inflight"] = None  # as earlier versions wrote what no other backend uses
    return {**defaults, **settings, **tables}


def _differing(now: object, then: object) -> str:
    """Both values; of tables, only the entries that differ."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = [key for key in (now | then) if now.get(key) != then.get(key)]
        return ", ".join(f"{key} {_word(now.get(key))} (was {_word(then.get(key))})" for key in keys)
    return f"{_word(now)} (was {_word(then)})"


def _word(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)


def compare(card: Card, baseline: Card, tolerance_percent: float = TOLERANCE_PERCENT) -> list[Change]:
    """The changes of all comparable figures that both cards have, mode by mode."""
    changes = []
    for mode in ("fixed", "maximum"):
        now, then = _figures(card, mode), _figures(baseline, mode)
        busier = _busier(card, now, then)
        for name, kind in KINDS.items():
            # Peak memory depends on the number of repeats: the process keeps some memory that earlier ones freed.
            repeats = [len(figures[name].repeats) for figures in (now, then) if name in figures]
            if kind.better and len(repeats) == 2 and (name != "memory_peak" or repeats[0] == repeats[1]):
                verdict = _verdict(kind, then[name], now[name], tolerance_percent, busier)
                changes.append(Change(mode, name, then[name], now[name], verdict))
    return changes


def _figures(card: Card, name: str) -> dict[str, Figure]:
    mode: Mode | None = getattr(card, name)
    return mode.figures if mode is not None else {}


def _busier(card: Card, now: dict[str, Figure], then: dict[str, Figure]) -> int:
    """1 where other programs used clearly more of the machine than in the baseline, -1 where less, else 0."""
    if "others_cores" not in now or "others_cores" not in then:
        return 0
    known = card.machine.get("cores", "")
    cores = int(known) if known.isdigit() else 1
    ours = [figures["cpu_cores"].median for figures in (now, then)]
    is_full = (
        max(own + figures["others_cores"].median for own, figures in zip(ours, (now, then), strict=True)) > FULL_SHARE * cores
    )
    margin = LOAD_SHARE * min(ours) if is_full else max(LOAD_CORES, LOAD_SHARE * cores)
    difference = now["others_cores"].median - then["others_cores"].median
    return 0 if abs(difference) <= margin else 1 if difference > 0 else -1


def _verdict(kind: Kind, then: Figure, now: Figure, tolerance_percent: float, busier: int) -> str:
    difference = now.median - then.median
    is_large = abs(difference) > max(kind.least, tolerance_percent / 100 * abs(then.median))
    is_apart = now.low > then.high or now.high < then.low
    if not (is_large and is_apart):
        return "same"
    is_better = difference * (kind.better or 0) > 0
    # More load makes figures worse: only a change in the other direction is certainly the program's own.
    doubt = "?" if kind.by_clock and busier == (-1 if is_better else 1) else ""
    return f"{'better' if is_better else 'worse'}{doubt}"
