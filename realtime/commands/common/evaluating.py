"""What `evaluate` does: opens the model and the sets, scores, prints, draws and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engines.backends import EngineOptions, check_backend
from engines.datasets.truth import TruthSet, open_truth
from engines.errors import EvaluationError
from engines.evaluation.figures import Case, SetFigures
from engines.evaluation.mapping import map_classes, parse_means
from engines.evaluation.scoring import score_set
from engines.models import zoo
from engines.plans.store import TRUST_WARNING
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS, Size
from realtime.commands.common.checking import Progress, legend_of, write_png
from realtime.commands.common.options import given_for_trt
from realtime.commands.common.scores import described, report
from realtime.errors import SettingsError, SinkError
from realtime.process.tuning import prepare
from realtime.reports.charts import check_charts, confusion_chart
from realtime.reports.sheets import Row, blend, sheet

PICTURES = "out"


def evaluate(options: dict[str, Any]) -> int:
    """Score one model on each set of the command line."""
    given: dict[str, tuple[str, ...]] = {}
    for text in options["means"]:
        given |= parse_means(text)
    engine_options = _engine_options(options)
    _check_outputs(options)
    prepare()
    model = zoo.find(options["model"])
    sets = [open_truth(Path(text).expanduser(), options["split"]) for text in options["data"]]
    sets = [truths.limited(options["limit"]) if options["limit"] else truths for truths in sets]
    mappings = [map_classes(truths.settings, model.card.classes, model.card.void, given) for truths in sets]
    threshold = model.card.threshold if options["threshold"] is None else options["threshold"]
    scored = []
    with Segmenter(model, options["backend"] or "auto", engine_options) as segmenter:
        for truths, mapping in zip(sets, mappings, strict=True):
            with Progress(f"{model.card.name} on {truths.settings.name}") as progress:
                figures = score_set(segmenter, truths, mapping, threshold, progress.show)
            scored.append((truths, figures))
            print("\n".join(described(segmenter, truths, figures)), end="\n\n")
            _draw(segmenter.card.name, truths, figures, options["sheets"])
        facts = report(model, segmenter, scored)
    if options["json"]:
        write_json(Path(options["json"]), facts)
        print(f"json        {options['json']}")
    return 0


def _engine_options(options: dict[str, Any]) -> EngineOptions:
    backend = options["backend"] or "auto"
    check_backend(backend)
    of_trt = given_for_trt(options)
    if of_trt and backend != "trt":
        raise SettingsError(f"{of_trt}: for TensorRT engines only: add --backend trt")
    if options["threshold"] is not None and not 0 <= options["threshold"] <= 1:
        raise SettingsError(f"--threshold {options['threshold']:g} must lie between 0 and 1")
    if options["trust_engine"]:
        print(f"warning: {TRUST_WARNING}", file=sys.stderr)
    size = options["size"]
    return EngineOptions(
        precision=options["precision"] or EngineOptions().precision,
        size=Size(size[1], size[0]) if size else None,
        runtime=options["runtime"],
        dla_core=options["dla"],
        trusted_plan=Path(options["trust_engine"]) if options["trust_engine"] else None,
    )


def _check_outputs(options: dict[str, Any]) -> None:
    """Before the work, not after it."""
    if options["json"] and Path(options["json"]).is_dir():
        raise SettingsError(f"--json {options['json']}: is a folder; name a file")
    if options["sheets"] is not None:
        check_charts()


def _draw(model: str, truths: TruthSet, figures: SetFigures, folder: str | None) -> None:
    """Confusion and worst images. Without a folder that was asked for, a chart that cannot be drawn is only told of."""
    base = Path(folder or PICTURES) / f"{model}-{truths.settings.name}"
    drawn = []
    if figures.pixels is not None:
        try:
            chart = confusion_chart(figures.pixels.counts, truths.settings.classes, f"{model} on {truths.settings.name}")
        except EvaluationError as error:
            print(f"no picture  of what was taken for what: {error}")
        else:
            drawn.append(base.with_name(f"{base.name}-confusion.png"))
            write_png(drawn[-1], chart)
    if figures.worst:
        drawn.append(base.with_name(f"{base.name}-worst.png"))
        write_png(drawn[-1], worst_sheet(model, truths, figures))
    if drawn:
        print(f"pictures    {', '.join(map(str, drawn))}")


def worst_sheet(model: str, truths: TruthSet, figures: SetFigures) -> Any:
    """The worst images: as they are, what is true, what the model said."""
    names = truths.settings.classes
    legend = legend_of(names)
    of_objects = figures.pixels is None
    rows, seen = [], set()
    for case in figures.worst:
        seen |= {int(value) for map_ in (case.truth, case.predicted) for value in set(map_.ravel().tolist())}
        tiles = [blend(case.image.image, map_, legend, void_is_plain=of_objects) for map_ in (case.truth, case.predicted)]
        rows.append(Row(_title(case, names), (case.image.image, *tiles)))
    heading = f"{model} on {truths.settings.name}: the worst {len(rows)} of {figures.images} images; image, truth, prediction"
    shown = [index for index in range(len(names)) if index in seen]
    return sheet(heading, rows, legend, shown=shown, with_void=not of_objects and VOID_CLASS in seen)


def _title(case: Case, names: tuple[str, ...]) -> str:
    if not len(case.iou):
        return f"{case.image.name}: F1 {100 * case.figure:.0f}"
    worst = sorted((float(value), names[index]) for index, value in enumerate(case.iou) if value == value)[:3]
    return f"{case.image.name}: mIoU {100 * case.figure:.0f} ({', '.join(f'{name} {100 * value:.0f}' for value, name in worst)})"


def write_json(path: Path, facts: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror or error})") from error
