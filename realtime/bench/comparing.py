"""Is a card worse than one from before? A rule that knows the noise, and a refusal to compare what cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # `run.py --help` prints the rule below, and loads nothing for it
    from realtime.bench.card import Card, Figure, Mode

HIGHER, LOWER = 1, -1

TOLERANCE_PERCENT = 5.0


class Judged(NamedTuple):
    """A figure that is judged. better: HIGHER or LOWER. least: the smallest difference, in its own unit, that anybody would care
    about. by_clock: other programs on the same cores make it worse."""

    name: str
    better: int
    least: float
    by_clock: bool = False


JUDGED = (
    Judged("fps", HIGHER, 0.0, by_clock=True),
    Judged("shown_fps", HIGHER, 0.0, by_clock=True),
    Judged("age_p50", LOWER, 1.0, by_clock=True),
    Judged("age_p95", LOWER, 2.0, by_clock=True),
    Judged("mask_age_p50", LOWER, 1.0, by_clock=True),
    Judged("mask_age_p95", LOWER, 2.0, by_clock=True),
    Judged("dropped_share", LOWER, 2.0, by_clock=True),
    Judged("cpu_per_frame", LOWER, 0.2),
    Judged("memory_peak", LOWER, 20.0),
    Judged("memory_slope", LOWER, 20.0),
    Judged("gpu_memory", LOWER, 20.0),
    Judged("energy_per_frame", LOWER, 0.0, by_clock=True),
    Judged("cpu_energy_per_frame", LOWER, 0.0, by_clock=True),
)

LOAD_CORES, LOAD_SHARE = 0.2, 0.05
"""Other programs' load is another one when it differs by more than so many cores, and by more than so much of all there are..."""

FULL_SHARE = 0.9
"""... or, where all together use more than this of the cores, by `LOAD_SHARE` of what is left to us: we get what others leave."""

RULE = """\
A figure is worse than the baseline's when all of this holds: every repeat now is worse than every repeat then (the
difference is beyond the noise that both runs measured in themselves), the medians are more than {tolerance:g} % apart,
and by more than a smallest amount that matters (1 ms of age, 0.2 ms of CPU, 2 points of drops, 20 MB). Judged are, in both
modes: frames per second through the model and onto the screen, age p50 and p95 (of masks too), share of drops, CPU per
frame, peak memory (of as many repeats) and its slope, GPU memory, energy per frame. Stage times are told, not judged: they
shift when threads wait for each other. Where other programs were busier than then, what looks worse by the clock is called
"worse?", and the exit code is 3 unless something is surely worse: run it again when the machine is quiet. Where they were
quieter, what looks better is called "better?"."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that both cards have. verdict: "worse", "better", "same"; or "worse?", "better?": other programs' load
    may be why."""

    mode: str
    name: str
    before: Figure
    now: Figure
    verdict: str

    @property
    def text(self) -> str:
        """The difference of the medians: in per cent of what it was, or in points of what is in per cent itself."""
        difference = self.now.median - self.before.median
        if self.now.unit == "%":
            return f"{difference:+.1f} points"
        return f"{100 * difference / abs(self.before.median):+.1f} %" if self.before.median else f"{difference:+.4g}"


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
        "settings": (_settled(card.settings), _settled(baseline.settings)),
        "rate": (card.method.get("rate_hz"), baseline.method.get("rate_hz")),
        "encoding": (card.method.get("encoded"), baseline.method.get("encoded")),
    }
    return [f"{name} {_differing(now, then)}" for name, (now, then) in pairs.items() if now != then]


def _settled(settings: dict[str, Any]) -> dict[str, Any]:
    """With the usual value of whatever a card from before that setting does not name: else no new version could be compared."""
    from realtime.bench.making import settings_facts
    from realtime.settings import Settings

    usual = settings_facts(Settings())
    tables = {
        key: {**usual[key], **one} for key, one in settings.items() if isinstance(one, dict) and isinstance(usual.get(key), dict)
    }
    return {**usual, **settings, **tables}


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
        now, then = _figures(card, mode), _figures(baseline, mode)
        busier = _busier(card, now, then)
        for judged in JUDGED:
            if judged.name in now and judged.name in then and _is_alike(judged.name, now, then):
                verdict = _verdict(judged, then[judged.name], now[judged.name], tolerance_percent, busier)
                changes.append(Change(mode, judged.name, then[judged.name], now[judged.name], verdict))
    return changes


def _figures(card: Card, name: str) -> dict[str, Figure]:
    mode: Mode | None = getattr(card, name)
    return mode.figures if mode is not None else {}


def _is_alike(name: str, now: dict[str, Figure], then: dict[str, Figure]) -> bool:
    """Memory is the one figure that repeats change: the process keeps some of what earlier ones have freed."""
    return name != "memory_peak" or len(now[name].repeats) == len(then[name].repeats)


def _busier(card: Card, now: dict[str, Figure], then: dict[str, Figure]) -> int:
    """1 where other programs used clearly more of the machine than then, -1 where less, 0 where as much, or nobody knows."""
    if "others_cores" not in now or "others_cores" not in then:
        return 0
    told = card.machine.get("cores", "")
    cores = int(told) if told.isdigit() else 1
    ours = [figures["cpu_cores"].median for figures in (now, then)]
    is_full = (
        max(own + figures["others_cores"].median for own, figures in zip(ours, (now, then), strict=True)) > FULL_SHARE * cores
    )
    margin = LOAD_SHARE * min(ours) if is_full else max(LOAD_CORES, LOAD_SHARE * cores)
    difference = now["others_cores"].median - then["others_cores"].median
    return 0 if abs(difference) <= margin else 1 if difference > 0 else -1


def _verdict(judged: Judged, then: Figure, now: Figure, tolerance_percent: float, busier: int) -> str:
    difference = now.median - then.median
    is_large = abs(difference) > max(judged.least, tolerance_percent / 100 * abs(then.median))
    is_apart = now.low > then.high or now.high < then.low
    if not (is_large and is_apart):
        return "same"
    is_better = difference * judged.better > 0
    # More load makes worse, less makes better: only what goes the other way is the program's own for sure.
    doubt = "?" if judged.by_clock and busier == (-1 if is_better else 1) else ""
    return f"{'better' if is_better else 'worse'}{doubt}"
