"""`run.py bench`: one honest card of what this machine does with a model and a source."""

from __future__ import annotations

import argparse
from typing import Any

from realtime.commands.common.options import add_running, number, positive

NAME = "bench"

DEFAULT_SOURCE = "synthetic://street?objects=20"

DESCRIPTION = """\
Measure the real pipeline, without a window: source, model, tracks, drawing. Twice, in turns: with a feed of fixed rate, like a
camera's that waits for nobody (drops are counted, and how old pictures are when shown), and at the maximum, every frame of a
recording. Writes a card: card.json, card.md and card.png. Each repeat's first frames are warming up and in no figure; a figure is
the median of the repeats, percentiles are of all repeats' frames. What this machine does not tell is said to be not readable.
Takes about two minutes, --quick about fifteen seconds."""

BASELINE = """\
with --baseline, exit code 1 tells of a regression, 2 that the cards are of different machines, models, sources or settings,
3 that figures look worse, but maybe because other programs were busier.
"""


def add_parser(commands: Any) -> None:
    from realtime.bench.comparing import RULE, TOLERANCE_PERCENT

    parser = commands.add_parser(
        NAME,
        help="measure this machine: one card of speed, age, drops, CPU, memory, energy",
        description=DESCRIPTION,
        epilog=BASELINE + RULE.format(tolerance=TOLERANCE_PERCENT),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", nargs="?", default=DEFAULT_SOURCE, help=f"what to run over, again and again (default: {DEFAULT_SOURCE})"
    )
    parser.add_argument("--rate", metavar="HZ", type=number(1, 1000), default=30.0, help="of the fixed feed (default: 30)")
    parser.add_argument(
        "--seconds", metavar="N", type=number(0.2, 3600), help="measured in each repeat of each mode (default: 6; quick: 1)"
    )
    parser.add_argument(
        "--repeats", metavar="N", type=positive, help="of each mode; their spread is the noise (default: 5; quick: 3)"
    )
    parser.add_argument("--quick", action="store_true", help="a look that takes seconds, for smoke tests; noisy")
    parser.add_argument("--encode", action="store_true", help="encode a video meanwhile, as process does; it is thrown away")
    parser.add_argument(
        "--overlay", metavar="locked|live", help="at the fixed rate, as view does: live shows the newest frame (default: locked)"
    )
    parser.add_argument("--out", metavar="DIR", default="out/bench", help="where the card goes (default: out/bench)")
    parser.add_argument("--baseline", metavar="CARD.json", help="a card from before to compare with")
    parser.add_argument(
        "--tolerance", metavar="%", type=number(0, 100), default=TOLERANCE_PERCENT, help="see below (default: %(default)g)"
    )
    parser.add_argument("--force", action="store_true", help="compare also what is not of the same machine, model, source ...")
    add_running(parser)


def run(options: dict[str, Any]) -> int:
    """Measure, write the card, compare."""
    from realtime.commands.common.benching import run_bench
    from realtime.commands.common.running import settings_of

    return run_bench(
        settings_of(options, options["source"]),
        options["source"],
        rate_hz=options["rate"],
        seconds=options["seconds"],
        repeats=options["repeats"],
        quick=options["quick"],
        encodes=options["encode"],
        out=options["out"],
        baseline=options["baseline"],
        tolerance_percent=options["tolerance"],
        force=options["force"],
    )
