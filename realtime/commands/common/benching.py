"""The work of `run.py bench`: measures, prints and writes the card, compares it with a baseline."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from engines.files import publish
from engines.models import zoo
from engines.models.model import Model
from engines.types import Image
from realtime.bench.benching import Plan, Say, bench
from realtime.bench.card import Card, EngineFacts, read_card, to_json
from realtime.bench.chart import chart
from realtime.bench.comparing import TOLERANCE_PERCENT, Change, compare, differences, title
from realtime.bench.engine import engine_for
from realtime.bench.measuring import Job
from realtime.bench.report import condition_rows, engine_text, markdown
from realtime.commands.common.running import settings_of
from realtime.errors import BenchError, SettingsError, SinkError
from realtime.process.tuning import prepare
from realtime.sources import open_source

if TYPE_CHECKING:
    from realtime.commands.bench import Options

SECONDS, QUICK_SECONDS = 6.0, 1.0
WARM_UP_S, QUICK_WARM_UP_S = 1.0, 0.3
REPEATS, QUICK_REPEATS = 5, 3

log = logging.getLogger(__name__)

FILES = ("card.json", "card.md", "card.png")


def run_bench(options: Options) -> int:
    """Measure, print, write the card. The process's exit code: 1 for a regression, 3 for what may be one."""
    if options.modes:
        from realtime.commands.common.bench_modes import bench_in_modes

        _check_folder(Path(options.out).expanduser())
        return bench_in_modes(options)
    settings = settings_of(options.running, options.source, options.overlay)
    quick, baseline, folder = options.quick, options.baseline, Path(options.out).expanduser()
    repeats = options.repeats or (QUICK_REPEATS if quick else REPEATS)
    before = _baseline(baseline, folder, repeats)
    job = Job(
        settings,
        zoo.find(settings.model),
        lambda: open_source(options.source, decode=settings.decode),
        options.rate,
        options.seconds or (QUICK_SECONDS if quick else SECONDS),
        warm_up_s=QUICK_WARM_UP_S if quick else WARM_UP_S,
    )
    _check_folder(folder)
    prepare()

    def ready(model: Model, image: Image, say: Say) -> EngineFacts | None:
        return engine_for(model, settings, image, say, builds=not options.no_build)

    def check(card: Card) -> None:
        if baseline is not None and before is not None:
            _refuse(card, before, baseline, force=options.force)

    card = bench(Plan(job, repeats, options.encode, ready), log.info, check)
    tolerance_percent = TOLERANCE_PERCENT if options.tolerance is None else options.tolerance
    changes = compare(card, before, tolerance_percent) if before is not None else []
    _print_card(card)  # before anything is written: a full disk must not cost the figures
    _write(folder, card, changes, baseline)
    return _print_verdict(changes, baseline) if baseline is not None else 0


def _baseline(path: str | None, folder: Path, repeats: int) -> Card | None:
    """The card to compare with."""
    if path is None:
        return None
    if repeats < 2:
        raise SettingsError("--repeats 1 with --baseline: one repeat does not show the noise", "Use --repeats 2 or more")
    given = Path(path).expanduser()
    card = read_card(given)
    if given.resolve() == (folder / FILES[0]).resolve():
        raise SettingsError(f"--baseline {path}: the new card would overwrite it", "Name another folder with --out")
    if card.fixed is None and card.maximum is None:
        raise BenchError(f"{path}: has no figures", "Make the baseline again")
    if any(len(one.repeats) < 2 for mode in (card.fixed, card.maximum) if mode for one in mode.figures.values()):
        raise BenchError(f"{path}: made with one repeat, which does not show the noise", "Make it again with --repeats 2 or more")
    return card


def _check_folder(folder: Path) -> None:
    """Raises SinkError, before the measurement, where the card cannot be written."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryDirectory(prefix=".card-", dir=existing).cleanup()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> SinkError:
    return SinkError(f"{folder}: the card cannot be written ({error.strerror or error})", "Name another folder with --out")


def _write(folder: Path, card: Card, changes: Sequence[Change], baseline: str | None) -> None:
    """Write all three files, or none."""
    encoded, png = cv2.imencode(".png", chart(card, changes))
    assert encoded, "any BGR picture is a PNG"
    contents = (to_json(card), markdown(card, changes, baseline or "").encode(), png.tobytes())
    try:
        publish({folder / name: content for name, content in zip(FILES, contents, strict=True)})
    except OSError as error:
        raise _unwritable(folder, error) from error
    for name in FILES:
        print(f"written  {folder / name}")


def _print_card(card: Card) -> None:
    for name, mode in (("fixed", card.fixed), ("maximum", card.maximum)):
        if mode is None:
            continue
        print(f"{name}: {mode.how}")
        for key, one in mode.figures.items():
            print(f"  {title(key):<36}{one.median:9.4g} {one.unit:<9} {one.low:.4g} to {one.high:.4g}")
        for key, reason in mode.unreadable.items():
            print(f"  {title(key):<36} not readable: {reason}")
    facts = [
        *([("engine", engine_text(card.engine))] if card.engine else []),
        *(condition_rows(card.conditions) if card.conditions else []),
    ]
    if facts:
        print("machine: while it was measured")
    for name, text in facts:
        print(f"  {name:<36} {text}")
    for note in card.notes:
        print(f"note     {note}")


def _refuse(card: Card, baseline: Card, path: str, *, force: bool) -> None:
    """Raises BenchError when the two cards are of different things and the comparison is not forced."""
    differing = "; ".join(differences(card, baseline))
    if differing and not force:
        raise BenchError(f"{path}: a card of something else, so not compared: {differing}", "Compare all the same with --force")
    if differing:
        log.warning("compared although different: %s", differing)


def _print_verdict(changes: Sequence[Change], baseline: str) -> int:
    """Print what differs beyond the noise; 1 where something got worse, 3 where something may have."""
    for one in changes:
        if one.verdict != "same":
            was, now = f"{one.before.median:.4g}", f"{one.now.median:.4g} {one.now.unit}"
            print(f"{one.verdict:<8} {one.mode}, {one.title}: {was} -> {now} ({one.text})")
    worse, unsure = (sum(one.verdict == verdict for one in changes) for verdict in ("worse", "worse?"))
    if unsure:
        print(f"{unsure} of {len(changes)} figures look worse, but other programs were busier: run it again without them")
    if worse:
        print(f"{worse} of {len(changes)} figures are worse than in {baseline} beyond the noise")
        return 1
    if unsure:
        return 3
    print(f"no regression: none of {len(changes)} figures is worse than in {baseline} beyond the noise")
    return 0
