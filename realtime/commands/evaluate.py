"""Score a model on labelled images, or tracks on true ones.

Score a model on labelled images: mIoU, accuracy and outlines of classes, average precision of single objects, drivable area and
lane lines, as far as the set has labels and the model gives them. Any model on any backend; classes of other names are mapped,
and the mapping is printed. Or score tracks, with --tracks and --mot: HOTA, IDF1, MOTA and id switches, as MOTChallenge does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from realtime.commands.common.options import (
    BACKENDS,
    MODEL,
    MODEL_HELP,
    Command,
    argument,
    engine_group,
    group,
    option,
    parsed,
    repeated,
    switch,
)
from realtime.commands.common.values import one_of, positive

if TYPE_CHECKING:
    from engines.datasets.truth import SplitName


class Images(NamedTuple):
    data: tuple[str, ...] = repeated(
        "DIR",
        "a folder with dataset.toml (run.py data check), such a file, COCO's JSON, YOLO's outlines or data.yaml; may be repeated",
    )
    split: SplitName | None = option(
        "NAME", "held_out or all (default: what is held out, if anything is)", one_of(("held_out", "all"))
    )
    limit: int | None = option("N", "at most so many images of a set, evenly spread", positive)
    means: tuple[str, ...] = repeated("MAP", "'pedestrian=person,rider': class of the set = classes of the model; separated by ;")
    threshold: float | None = option("0..1", "lowest score of an object that counts (default: the model's)", float)
    sheets: str | None = option("DIR", "folder for pictures: confusion, worst images (default: out)")
    backend: str | None = option("NAME", BACKENDS)


class Tracks(NamedTuple):
    tracks: tuple[str, ...] = repeated("GT", "true tracks: MOTChallenge's gt.txt or its clip's folder; may be repeated")
    mot: tuple[str, ...] = repeated("FILE", "the tracks to score, as process --mot wrote them: one for each --tracks")
    classes: str | None = option(
        "LIST", "what counts: person, 1,3 or TRUE=FOUND such as pedestrian=12 (default: what is scored in GT; people)"
    )
    skip_gaps: bool = switch("score only frames that the result has rows for, not those that a live run dropped")


class Options(NamedTuple):
    model: str | None = argument(MODEL, f"{MODEL_HELP}; with --tracks, the one that names the classes", nargs="?")
    json: str | None = option("FILE.json", "write all figures to this file")
    images: Images = group(Images, "a model, on labelled images")
    tracks: Tracks = group(Tracks, "tracks, on true ones")
    engine: dict[str, Any] = engine_group(
        "with --backend trt, which of the model's engines (see run.py build)",
        without=("inflight", "batch"),
        size=("HxW", "height x width of the network's input, such as 384x640 (default: the model's own)"),
    )


def run(options: Options) -> int:
    """Score the model on each set, or each pair of track files."""
    from realtime.errors import SettingsError

    model, json_path, images, tracks, engine = options
    if tracks.tracks:
        if images != parsed(Images) or engine:
            raise SettingsError("--tracks with options for images or engines", "Score the model on images in a run of its own")
        from realtime.commands.common.judging import judge

        return judge(model, tracks, json_path)
    if tracks != parsed(Tracks):
        raise SettingsError("--mot, --classes and --skip-gaps are for tracks", "Name the true tracks with --tracks GT")
    if not model or not images.data:
        missing = " and ".join(["no model"] * (not model) + ["no labelled images"] * (not images.data))
        raise SettingsError(
            f"{missing} to score", "For a model: evaluate MODEL --data DIR. For tracks: evaluate --tracks GT --mot FILE.txt"
        )
    from realtime.commands.common.evaluating import evaluate

    return evaluate(model, images, engine, json_path)


COMMAND = Command(
    "evaluate",
    Options,
    run,
    __doc__,
    example=("run.py evaluate road --data DIR", "mIoU, average precision and more, on labelled images"),
    rank=70,
)
