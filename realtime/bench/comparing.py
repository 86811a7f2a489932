"""Is a card worse than one from before? A rule that knows the noise, and a refusal to compare what cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `run.py --help` prints the rule below, and loads nothing for it
    from realtime.bench.card import Card, Figure, Mode

HIGHER, LOWER = 1, -1

TOLERANCE_PERCENT = 5.0

JUDGED: tuple[tuple[str, int, float], ...] = (
    ("fps", HIGHER, 0.0),
    ("shown_fps", HIGHER, 0.0),
    ("age_p50", LOWER, 1.0),
    ("age_p95", LOWER, 2.0),
    ("mask_age_p50", LOWER, 1.0),
    ("mask_age_p95", LOWER, 2.0),
    ("dropped_share", LOWER, 2.0),
    ("cpu_per_frame", LOWER, 0.2),
    ("memory_peak", LOWER, 20.0),
    ("gpu_memory", LOWER, 20.0),
    ("energy_per_frame", LOWER, 0.0),
    ("cpu_energy_per_frame", LOWER, 0.0),
)
"""Figure, which way is better, and the smallest difference, in its own unit, that anybody would care about."""

RULE = """\
A figure is worse than the baseline's when all of this holds: every repeat now is worse than every repeat then (the
difference is beyond the noise that both runs measured in themselves), the medians are more than {tolerance:g} % apart,
and by more than a smallest amount that matters (1 ms of age, 0.2 ms of CPU, 2 points of drops, 20 MB). Judged are, in both
modes: frames per second through the model and onto the screen, age p50 and p95 (of masks too), share of drops, CPU per
frame, peak memory, GPU memory, energy per frame. Stage times are told, not judged: they shift when threads wait for each
other."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that both cards have. percent: of the medians, + is more. verdict: "worse", "better" or "same"."""

    mode: str
    name: str
    before: Figure
    now: Figure
    percent: float
    verdict: str


def differences(card: Card, baseline: Card) -> list[str]:
    """Why these two cards are not of the same thing, one clause each; empty where they may be compared."""
    pairs = {
        "machine": (card.machine, baseline.machine),
        "model": ((card.model.name, card.model.sha256[:12]), (baseline.model.name, baseline.model.sha256[:12])),
        "input": (card.model.input, baseline.model.input),
        "backend": (card.model.backend, baseline.model.backend),
        "precision": (card.model.precision, baseline.model.precision),
        "source": (card.source.name, baseline.source.name),
        "picture": (card.source.size, baseline.source.size),
        "settings": (card.settings, baseline.settings),
        "rate": (card.method.get("rate_hz"), baseline.method.get("rate_hz")),
        "encoding": (card.method.get("encoded"), baseline.method.get("encoded")),
    }
    return [f"{name} {_differing(now, then)}" for name, (now, then) in pairs.items() if now != then]


def _differing(now: object, then: object) -> str:
    """Both values; of tables only the entries that differ."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = [key for key in (now | then) if now.get(key) != then.get(key)]
        return ", ".join(f"{key} {_word(now.get(key))} (was {_word(then.get(key))})" for key in keys)
    return f"{_word(now)} (was {_word(then)})"


def _word(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)


def compare(card: Card, baseline: Card, tolerance_percent: float = TOLERANCE_PERCENT) -> list[Change]:
    """Every judged figure that both cards have, in the order of `JUDGED`, mode by mode."""
    changes = []
    for mode in ("fixed", "maximum"):
        now, then = _mode(card, mode), _mode(baseline, mode)
        for name, better, least in JUDGED:
            if name in now and name in then:
                changes.append(_change(mode, name, then[name], now[name], better, least, tolerance_percent))
    return changes


def _mode(card: Card, name: str) -> dict[str, Figure]:
    mode: Mode | None = getattr(card, name)
    return mode.figures if mode is not None else {}


def _change(mode: str, name: str, then: Figure, now: Figure, better: int, least: float, tolerance_percent: float) -> Change:
    difference = now.median - then.median
    percent = 100 * difference / abs(then.median) if then.median else 0.0 if not difference else 100.0
    is_large = abs(difference) > max(least, tolerance_percent / 100 * abs(then.median))
    is_apart = now.low > then.high or now.high < then.low
    verdict = "same" if not (is_large and is_apart) else "better" if difference * better > 0 else "worse"
    return Change(mode, name, then, now, percent, verdict)
