"""`run.py bench --modes`: the same bench in every power mode of a Jetson, each in a process of its own, and a table of them all.

A process of its own, since a mode may take cores and parts of the GPU away from one that uses them.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.files import write_whole
from engines.system.unfinished import unfinished
from realtime.bench.card import Card, Mode, read_card
from realtime.bench.power_modes import Switcher
from realtime.commands.common.tables import table
from realtime.commands.common.words import words_of
from realtime.errors import BenchError, SettingsError
from realtime.process.ending import Ending, orderly
from realtime.process.jetson import ROOT

if TYPE_CHECKING:
    from realtime.commands.bench import Options

log = logging.getLogger(__name__)

BOOTSTRAP = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from realtime.cli import program; program()"
"""The child uses the import path of this process."""

ENDING_S = 90.0
"""For setting the first mode again after a signal: three times what nvpmodel may take."""

TABLE_FILE = "modes.md"
HEAD = ("mode", "GPU MHz", "EMC MHz", "CPU MHz", "frames/s", "at {:g} Hz", "age p50 ms", "W", "J/frame", "hottest C", "notes")
SIDES = "lrrrrrrrrrl"
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one mode. card: None where it was not measured; reason: why not; has_failed: the bench itself."""

    mode: str
    card: Card | None
    reason: str = ""
    has_failed: bool = False


def bench_in_modes(options: Options, root: Path = ROOT) -> int:
    """Measure in every mode, print and write the table. The exit code: 1 where the bench failed in a mode."""
    if options.baseline:
        raise SettingsError("--baseline with --modes: a baseline is of one power mode", "Leave out one of them")
    folder, switcher = Path(options.out).expanduser(), Switcher(root)
    _announce(switcher)
    rows: list[Row] = []
    children: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        for child in children:
            child.terminate()

    try:
        with orderly(stop, is_writing=lambda: switcher.is_changed, limit_s=ENDING_S) as ending, switcher:
            for mode in switcher.modes:
                reason = "" if mode == switcher.present else switcher.set(mode)
                log.info("power mode %s%s", mode, f" left out: {reason}" if reason else "")
                row = Row(mode.name, None, reason) if reason else _measured(options, mode.name, folder, children, ending)
                if ending.requested:
                    break
                if not rows and row.card is None:
                    raise BenchError(f"the bench failed in the present power mode, {mode}", "The line above says why")
                rows.append(row)
    finally:  # also where the mode of before could not be set again
        if rows:
            _report(rows, options.rate, folder)
    return ending.code or int(any(row.has_failed for row in rows))


def _announce(switcher: Switcher) -> None:
    others = ", ".join(map(str, switcher.modes[1:])) or "no other"
    log.info("measures in the present power mode, %s, and then sets, with nvpmodel: %s", switcher.present, others)
    log.info("Modes that need a restart are left out. At the end, and after Ctrl-C, %s is set again", switcher.present)
    if switcher.has_locked_clocks():
        log.warning(
            "the GPU's clock is locked, as by jetson_clocks, and may stay so in other modes: sudo jetson_clocks --restore"
        )


def _report(rows: Sequence[Row], rate_hz: float, folder: Path) -> None:
    """Print the table, and write it."""
    head = tuple(word.format(rate_hz) for word in HEAD)
    print("\n".join(table(head, [_cells(row) for row in rows], SIDES)))
    try:
        write_whole(folder / TABLE_FILE, _markdown(rows, head))
    except OSError as error:
        raise BenchError(
            f"{folder / TABLE_FILE}: cannot be written ({error.strerror})", "Name another folder with --out"
        ) from error
    print(f"written  {folder / TABLE_FILE}, and each mode's card in a folder beside it")


def _measured(options: Options, name: str, folder: Path, children: list[subprocess.Popen[bytes]], ending: Ending) -> Row:
    """Run the bench in a child process."""
    own = folder / re.sub(r"[^\w.-]", "_", name)
    is_first = not children
    words = words_of(options._replace(modes=False, out=str(own), no_build=options.no_build or not is_first))
    path = json.dumps([str(Path(entry).absolute()) for entry in sys.path if entry])  # "" is the working folder
    command = [sys.executable, "-c", BOOTSTRAP, path, "bench", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child, unfinished(child.kill):
        children.append(child)
        if ending.requested:
            child.terminate()
        code = child.wait()
    if code:
        return Row(name, None, f"the bench failed, with exit code {code}", has_failed=True)
    return Row(name, read_card(own / "card.json"))


def _cells(row: Row) -> tuple[str, ...]:
    card = row.card
    if card is None:
        return (row.mode, *[""] * (len(HEAD) - 2), f"left out: {row.reason}")
    conditions, fastest = card.conditions, card.maximum or card.fixed
    clocks = conditions.clocks if conditions else {}
    heats = [one.highest_c for one in conditions.temperatures.values()] if conditions else []
    throttled = conditions.throttled if conditions else None
    lowered = "throttling unknown" if throttled is None else f"clocks lowered: {'; '.join(throttled)}" if throttled else ""
    return (
        row.mode,
        *(f"{clocks[name].median_mhz:.0f}" if name in clocks else UNKNOWN for name in ("GPU", "EMC", "CPU")),
        _figure(card.maximum, "fps"),
        _figure(card.fixed, "fps"),
        _figure(card.fixed, "age_p50"),
        _figure(fastest, "power"),
        _figure(fastest, "energy_per_frame", 3),
        f"{max(heats):.0f}" if heats else UNKNOWN,
        lowered,
    )


def _figure(mode: Mode | None, name: str, digits: int = 1) -> str:
    found = mode.figures.get(name) if mode is not None else None
    return f"{found.median:.{digits}f}" if found is not None else UNKNOWN


def _markdown(rows: Sequence[Row], head: tuple[str, ...]) -> str:
    card = next(row.card for row in rows if row.card is not None)
    machine = ", ".join(f"{key} {value}" for key, value in card.machine.items() if key != "power mode")
    lines = [
        f"# Power modes: {card.model.name} on {card.source.name}",
        "",
        f"{card.model.runs_on}, input {card.model.input}; {machine}; {card.date}, commit {card.program['commit']}.",
        "frames/s, W and J/frame are at the maximum, ages at the fixed rate. Medians of the repeats.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *map(_cells, rows))),
    ]
    return "\n".join(lines) + "\n"
