"""Measure this machine: one card of speed, age, drops, CPU, memory, energy.

Measure the whole pipeline without a window: source, model, tracks, drawing. Two modes take turns: a feed of fixed rate, like a
camera's (drops are counted, and the age of pictures when they are shown), and the maximum, every frame of a recording.
Writes a card: card.json, card.md and card.png. Warm-up frames are left out. A figure is the median of the repeats; percentiles
are of the frames of all repeats. Figures that this machine does not report are marked as not readable.
Where a GPU is seen, its engine is built first, once; the first line says what is measured, and why not the GPU.
Takes about two minutes, with --quick about fifteen seconds, with --modes that long for each power mode of a Jetson.
"""

from typing import NamedTuple

from realtime.commands.common.options import Command, Running, argument, group, option, switch
from realtime.commands.common.values import number, positive

DEFAULT_SOURCE = "synthetic://street?objects=20"

BASELINE = """\
with --baseline, exit code 1 means a regression, 2 that the cards are of different machines, models, sources or settings,
3 that figures look worse, perhaps because other programs were busier.
"""


def _rule() -> str:
    from realtime.bench.comparing import RULE, TOLERANCE_PERCENT

    return BASELINE + RULE.format(tolerance=TOLERANCE_PERCENT)


class Options(NamedTuple):
    source: str = argument("source", f"repeated as needed (default: {DEFAULT_SOURCE})", nargs="?", default=DEFAULT_SOURCE)
    rate: float = option("HZ", "of the fixed feed (default: 30)", number(1, 1000), 30.0)
    seconds: float | None = option("N", "measured in each repeat of each mode (default: 6; quick: 1)", number(0.2, 3600))
    repeats: int | None = option("N", "of each mode; their spread is the noise (default: 5; quick: 3)", positive)
    quick: bool = switch("takes seconds, for smoke tests; noisy")
    modes: bool = switch("on a Jetson: in each power mode, with a table of all; needs sudo, and sets the present mode again")
    no_build: bool = switch("where a GPU has no engine of this model yet, measure without one (default: build it first)")
    encode: bool = switch("encode a video at the same time, as process does, and discard it")
    overlay: str | None = option("locked|live", "at the fixed rate, as view does: live shows the newest frame (default: locked)")
    out: str = option("DIR", "folder for the card (default: out/bench)", default="out/bench")
    baseline: str | None = option("CARD.json", "an older card to compare with")
    tolerance: float | None = option("%", "see below", number(0, 100))
    force: bool = switch("compare cards of different machines, models, sources or settings, too")
    running: Running = group(Running)


def run(options: Options) -> int:
    """Measure, write the card, compare."""
    from realtime.commands.common.benching import run_bench

    return run_bench(options)


COMMAND = Command(
    "bench",
    Options,
    run,
    __doc__,
    epilog=_rule,
    example=("run.py bench", "one card of this machine's speed, age of frames, drops, clocks, heat, energy"),
    rank=80,
)
