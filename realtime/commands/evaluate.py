"""`run.py evaluate`: how good a model is, measured on labelled images."""

from __future__ import annotations

from typing import Any

from realtime.commands._options import MODEL, MODEL_HELP, add_engine_choice, one_of, positive

NAME = "evaluate"

DESCRIPTION = """\
Score a model on labelled images: mIoU, accuracy and outlines of classes, average precision of single objects, drivable area and
lane lines: what the set has labels for and the model gives. Any model on any backend; classes of other names are mapped, and it
says how."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(NAME, help="score a model on labelled images", description=DESCRIPTION)
    parser.add_argument("model", metavar=MODEL, help=MODEL_HELP)
    parser.add_argument(
        "--data",
        metavar="DIR",
        action="append",
        required=True,
        help="a folder with dataset.toml (see run.py data check), such a file, COCO's JSON, YOLO's outlines; may be repeated",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        type=one_of(("held_out", "all")),
        help="held_out or all (default: what is held out, if anything is)",
    )
    parser.add_argument("--limit", metavar="N", type=positive, help="at most so many images of a set, evenly spread")
    parser.add_argument(
        "--means",
        metavar="MAP",
        action="append",
        default=[],
        help="'pedestrian=person,rider': set class=model classes; parted by ;",
    )
    parser.add_argument(
        "--threshold", metavar="0..1", type=float, help="lowest score of an object that counts (default: the model's)"
    )
    parser.add_argument("--json", metavar="FILE.json", help="write all figures there")
    parser.add_argument("--sheets", metavar="DIR", help="where pictures go: confusion, worst images (default: out)")
    parser.add_argument(
        "--backend", metavar="NAME", help="auto, trt, ort-cuda, openvino or ort (default: auto, the fastest that works)"
    )
    engine = parser.add_argument_group("with --backend trt, which of the model's engines (see run.py build)")
    add_engine_choice(engine)
    engine.add_argument("--trust-engine", metavar="FILE", help="run an engine that this machine did not build: it is native code")


def run(options: dict[str, Any]) -> int:
    """Score the model on each set."""
    from realtime.commands._evaluating import evaluate

    return evaluate(options)
