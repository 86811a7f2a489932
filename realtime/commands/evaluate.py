"""`run.py evaluate`: how good a model is, measured on labelled images; or how good tracks are, measured on true ones."""

from __future__ import annotations

from typing import Any

from engines.backends.common.options import EngineOptions, declared
from realtime.commands.common.options import MODEL, MODEL_HELP, add_backend, add_engine_options, engine_facts, one_of, positive

NAME = "evaluate"

DESCRIPTION = """\
Score a model on labelled images: mIoU, accuracy and outlines of classes, average precision of single objects, drivable area and
lane lines: what the set has labels for and the model gives. Any model on any backend; classes of other names are mapped, and it
says how. Or score tracks, with --tracks and --mot: HOTA, IDF1, MOTA and id switches, by MOTChallenge's own evaluator."""

OF_IMAGES = (
    "data",
    "split",
    "limit",
    "means",
    "threshold",
    "sheets",
    "backend",
    *declared(),
)
OF_TRACKS = ("mot", "classes", "skip_gaps")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(NAME, help="score a model on labelled images, or tracks on true ones", description=DESCRIPTION)
    parser.add_argument("model", metavar=MODEL, nargs="?", help=f"{MODEL_HELP}; with --tracks, the one that names the classes")
    _add_images(parser.add_argument_group("a model, on labelled images"))
    tracks = parser.add_argument_group("tracks, on true ones")
    tracks.add_argument(
        "--tracks", metavar="GT", action="append", help="true tracks: MOTChallenge's gt.txt or its clip's folder; may be repeated"
    )
    tracks.add_argument(
        "--mot", metavar="FILE", action="append", help="the tracks to score, as process --mot wrote them: one for each --tracks"
    )
    tracks.add_argument(
        "--classes",
        metavar="LIST",
        help="what counts: person, 1,3 or TRUE=FOUND such as pedestrian=12 (default: what is scored in GT; people)",
    )
    tracks.add_argument(
        "--skip-gaps",
        action="store_true",
        help="score only frames that the result has lines for: what a live run dropped is not held against it, "
        "nor a frame where it saw nothing",
    )
    engine = parser.add_argument_group("with --backend trt, which of the model's engines (see run.py build)")
    add_engine_options(engine, without=("inflight",))


def _add_images(images: Any) -> None:
    images.add_argument(
        "--data",
        metavar="DIR",
        action="append",
        help="a folder with dataset.toml (see run.py data check), such a file, COCO's JSON, YOLO's outlines; may be repeated",
    )
    images.add_argument(
        "--split",
        metavar="NAME",
        type=one_of(("held_out", "all")),
        help="held_out or all (default: what is held out, if anything is)",
    )
    images.add_argument("--limit", metavar="N", type=positive, help="at most so many images of a set, evenly spread")
    images.add_argument(
        "--means",
        metavar="MAP",
        action="append",
        default=[],
        help="'pedestrian=person,rider': set class=model classes; parted by ;",
    )
    images.add_argument(
        "--threshold", metavar="0..1", type=float, help="lowest score of an object that counts (default: the model's)"
    )
    images.add_argument("--json", metavar="FILE.json", help="write all figures there (of tracks too)")
    images.add_argument("--sheets", metavar="DIR", help="where pictures go: confusion, worst images (default: out)")
    add_backend(images)


def run(options: dict[str, Any]) -> int:
    """Score the model on each set, or each pair of track files."""
    _check_job(options)
    if options["tracks"]:
        from realtime.commands.common.judging import judge

        return judge(
            options["tracks"],
            options["mot"],
            model=options["model"],
            classes=options["classes"],
            skip_gaps=options["skip_gaps"],
            json_path=options["json"],
        )
    from realtime.commands.common.evaluating import evaluate

    return evaluate(
        options["model"],
        options["data"],
        split=options["split"],
        limit=options["limit"],
        means=options["means"],
        threshold=options["threshold"],
        backend=options["backend"] or "auto",
        engine=_engine_options(options),
        json_path=options["json"],
        sheets=options["sheets"],
    )


def _engine_options(options: dict[str, Any]) -> EngineOptions:
    from engines.backends import check_options

    given = engine_facts(options)
    check_options(options["backend"] or "auto", given)
    return EngineOptions(**given)


def _check_job(options: dict[str, Any]) -> None:
    """One of the two jobs, with all that it needs and nothing of the other. Raises SettingsError."""
    from realtime.errors import SettingsError

    if options["tracks"]:
        foreign = _given(options, OF_IMAGES)
        if foreign:
            raise SettingsError(f"{foreign}: for a model on images; --tracks scores tracks: two jobs, two runs")
        pairs = len(options["tracks"]), len(options["mot"] or ())
        if pairs[0] != pairs[1]:
            raise SettingsError(f"{pairs[0]} --tracks and {pairs[1]} --mot: they go in pairs, GT and then the result for it")
        return
    foreign = _given(options, OF_TRACKS)
    if foreign:
        raise SettingsError(f"{foreign}: for tracks; name the true ones with --tracks GT")
    if not options["model"] and not options["data"]:
        raise SettingsError(
            "what is to be scored? A model: evaluate MODEL --data DIR. Tracks: evaluate --tracks GT --mot FILE.txt"
        )
    if not options["data"]:
        raise SettingsError(f"on which images? evaluate {options['model']} --data DIR, a folder that run.py data check likes")
    if not options["model"]:
        raise SettingsError("which model? evaluate MODEL --data DIR; run.py models lists them")


def _given(options: dict[str, Any], names: tuple[str, ...]) -> str:
    """Those of the options that were given, as they are typed."""
    flags = {name: option.flag for name, (_, option) in declared().items()}
    given = (name for name in names if options.get(name) not in (None, [], False))
    return ", ".join(flags.get(name) or f"--{name.replace('_', '-')}" for name in given)
