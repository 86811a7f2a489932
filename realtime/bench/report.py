"""The card as Markdown, to read or to paste into an issue."""

from collections.abc import Sequence

from realtime.bench.card import Card, ClockRange, Conditions, EngineFacts, Figure, Mode, Percentiles, Temperature
from realtime.bench.comparing import Change, title


def markdown(card: Card, changes: Sequence[Change] = (), compared_with: str = "") -> str:
    """The whole card, and the comparison if there is one."""
    facts = [
        ("model", f"{card.model.name}, input {card.model.input}{_because(card.model.input_reason)}, {card.model.precision}"),
        ("runs on", card.model.runs_on),
        *([("engine", engine_text(card.engine))] if card.engine else []),
        (
            "source",
            f"{card.source.name}, {card.source.size}{f', decoded by {card.source.decoder}' if card.source.decoder else ''}",
        ),
        ("machine", ", ".join(f"{key} {value}" for key, value in card.machine.items())),
        ("program", f"{card.program['version']}, commit {card.program['commit']}, {card.date}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in card.versions.items())),
        ("method", _method(card)),
        ("settings", ", ".join(f"{key} {_plain(value)}" for key, value in card.settings.items() if value not in ({}, [], None))),
        ("model's SHA-256", card.model.sha256),
    ]
    lines = [f"# Bench: {card.model.name} on {card.source.name}", "", *_table(("", ""), facts), ""]
    for name, mode in (("Fixed rate" if card.method.get("rate_hz") else "Live", card.fixed), ("Maximum", card.maximum)):
        if mode is not None:
            lines += _mode(name, mode)
    lines += _alone(card)
    lines += _conditions(card.conditions) if card.conditions else []
    if changes:
        lines += [f"## Compared with {compared_with}", "", *_changes(changes), ""]
    lines += [*(f"- {note}" for note in card.notes), ""] if card.notes else []
    return "\n".join(lines)


def _method(card: Card) -> str:
    facts = card.method
    words = [f"{facts['repeats']} repeats of {facts['seconds']:g} s in each mode", facts["warm_up"], facts.get("shown", "")]
    return "; ".join(filter(None, words))


def _mode(name: str, mode: Mode) -> list[str]:
    rows = [(title(key), _value(one), f"{one.low:.4g} to {one.high:.4g}") for key, one in mode.figures.items()]
    rows += [(title(key), "not readable", reason) for key, reason in mode.unreadable.items()]
    stages = {**mode.stages, **({"**age when shown**": mode.age} if mode.age else {})}
    stages |= {"**age of its masks**": mode.mask_age} if mode.mask_age else {}
    counts = mode.doors
    return [
        f"## {name}: {mode.how}",
        "",
        *_table(("figure", "median of the repeats", "range"), rows),
        "",
        *_table(("stage, wall time", "p50 ms", "p95 ms", "p99 ms", "count"), [_stage(key, one) for key, one in stages.items()]),
        "",
        f"Frames: {counts.captured} captured = {counts.processed} processed + {counts.dropped_before_model} dropped before the "
        f"model + {counts.in_flight} more in flight at the end; {_shown(mode)}.",
        "",
    ]


def _shown(mode: Mode) -> str:
    """Frames after the model; without a screen they are only drawn."""
    counts = mode.doors
    if mode.age is None:
        return f"{counts.shown} drawn"
    return (
        f"{counts.shown} shown, {counts.dropped_before_screen} dropped before the screen; "
        f"{counts.missed_by_the_feed} missed by the feed itself"
    )


def _alone(card: Card) -> list[str]:
    parts = {"model (fitting and inference)": card.model_alone, "source (decoding or drawing)": card.source_alone}
    rows = [
        (name, f"{one.wall_ms.p50_ms:.2f}", f"{one.wall_ms.p95_ms:.2f}", f"{one.cpu_ms:.2f}", str(one.wall_ms.count))
        for name, one in parts.items()
        if one is not None
    ]
    head = ("part", "wall p50 ms", "wall p95 ms", "CPU ms", "count")
    return ["## Parts alone: in a loop, without the others", "", *_table(head, rows), ""]


def _because(reason: str) -> str:
    return f" (width x height; {reason})" if reason else ""


def engine_text(engine: EngineFacts) -> str:
    wall = f", {engine.wall_s:.0f} s with all checks, before this measurement" if engine.wall_s is not None else ""
    return f"built in {engine.build_s:.0f} s on {engine.built_at[:10]}{wall}"


def _conditions(conditions: Conditions) -> list[str]:
    return ["## Conditions: the machine meanwhile", "", *_table(("what", "value"), condition_rows(conditions)), ""]


def condition_rows(conditions: Conditions) -> list[tuple[str, str]]:
    """What the machine was like, as pairs of a name and a value."""
    rows = [(f"clock of {name}", _clock(one)) for name, one in conditions.clocks.items()]
    rows += [(name, _temperature(one)) for name, one in conditions.temperatures.items()]
    if conditions.power_source:
        rows.append(("power and energy", f"by {conditions.power_source}"))
    if conditions.throttled is not None:
        rows.append(("throttling", "; ".join(conditions.throttled) or "none"))
    return rows + [(name, f"not readable: {reason}") for name, reason in conditions.unreadable.items()]


def _clock(clock: ClockRange) -> str:
    """ "1020 MHz (306 to 1020, limit 1020)"."""
    limit = f", limit {clock.limit_mhz:.0f}" if clock.limit_mhz is not None else ""
    return f"{clock.median_mhz:.0f} MHz ({clock.low_mhz:.0f} to {clock.high_mhz:.0f}{limit})"


def _temperature(one: Temperature) -> str:
    before, after = ("?" if value is None else f"{value:.0f}" for value in (one.before_c, one.after_c))
    return f"{before} °C before, {after} after, {one.highest_c:.0f} at most"


def _changes(changes: Sequence[Change]) -> list[str]:
    rows = [(one.mode, one.title, _value(one.before), _value(one.now), one.text, one.verdict) for one in changes]
    return _table(("mode", "figure", "baseline", "now", "change", "verdict"), rows)


def _stage(name: str, one: Percentiles) -> tuple[str, ...]:
    return name, f"{one.p50_ms:.2f}", f"{one.p95_ms:.2f}", f"{one.p99_ms:.2f}", str(one.count)


def _value(one: Figure) -> str:
    return f"{one.median:.4g} {one.unit}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {one}" for key, one in value.items() if one not in (None, "")) + ")"
    return str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" if len(head) > 2 else "---" for _ in head[1:])]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *rows)]
