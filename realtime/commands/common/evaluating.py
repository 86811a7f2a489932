"""The work of `evaluate`: scores a model on sets, prints, draws and writes the scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.backends import EngineOptions, check_backend, check_options
from engines.datasets.truth import TruthSet, open_truth
from engines.errors import EvaluationError
from engines.evaluation.mapping import map_classes, parse_means
from engines.evaluation.scores import Case, SetFigures
from engines.evaluation.scoring import score_set
from engines.models import zoo
from engines.plans.passport import TRUST_WARNING
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS
from realtime.commands.common.checking import PROGRESS_DELAY_S, legend_of, write_file, write_png
from realtime.commands.common.scores import described, report
from realtime.errors import SettingsError
from realtime.process.progress import Progress
from realtime.process.tuning import prepare
from realtime.reports.sheets import Row, blend, check_charts, confusion_chart, sheet

if TYPE_CHECKING:
    from realtime.commands.evaluate import Images

PICTURES = "out"

log = logging.getLogger(__name__)


def evaluate(model: str, images: Images, engine_facts: Mapping[str, Any], json_path: str | None) -> int:
    """Score a model on each set of labelled images. Prints, draws, and writes JSON where `json_path` is given."""
    backend, threshold, sheets = images.backend or "auto", images.threshold, images.sheets
    check_options(backend, engine_facts)
    engine = EngineOptions(**engine_facts)
    given: dict[str, tuple[str, ...]] = {}
    for text in images.means:
        given |= parse_means(text)
    check_backend(backend)
    if threshold is not None and not 0 <= threshold <= 1:
        raise SettingsError(f"--threshold {threshold:g}: not between 0 and 1")
    if engine.trust:
        log.warning(TRUST_WARNING)
    check_json(json_path)
    if sheets is not None:
        check_charts()
    prepare()
    found = zoo.find(model)
    sets = [open_truth(Path(text).expanduser(), images.split) for text in images.data]
    sets = [truths.limited(images.limit) if images.limit else truths for truths in sets]
    mappings = [map_classes(truths.settings, found.card.classes, found.card.void, given) for truths in sets]
    threshold = found.card.threshold if threshold is None else threshold
    scored = []
    with Segmenter(found, backend, engine) as segmenter:
        for truths, mapping in zip(sets, mappings, strict=True):
            with Progress(f"{found.card.name} on {truths.settings.name}", "images", delay_s=PROGRESS_DELAY_S) as progress:
                figures = score_set(segmenter, truths, mapping, threshold, progress.show)
            scored.append((truths, figures))
            print("\n".join(described(segmenter, truths, figures)), end="\n\n")
            _draw(segmenter.card.name, truths, figures, sheets)
        facts = report(found, segmenter, scored)
    if json_path:
        write_json(Path(json_path), facts)
    return 0


def check_json(path: str | None) -> None:
    """Raises SettingsError, before the work, where no JSON file can be written."""
    if path and Path(path).is_dir():
        raise SettingsError(f"--json {path}: is a folder", "Name a file")


def _draw(model: str, truths: TruthSet, figures: SetFigures, folder: str | None) -> None:
    """Draw the confusion matrix and the worst images. folder: None for the default; without matplotlib there is no chart then."""
    base = Path(folder or PICTURES) / f"{model}-{truths.settings.name}"
    drawn = []
    if figures.pixels is not None:
        try:
            chart = confusion_chart(figures.pixels.counts, truths.settings.classes, f"{model} on {truths.settings.name}")
        except EvaluationError as error:
            print(f"no chart    of the confusion matrix: {error}")
        else:
            drawn.append(base.with_name(f"{base.name}-confusion.png"))
            write_png(drawn[-1], chart)
    if figures.worst:
        drawn.append(base.with_name(f"{base.name}-worst.png"))
        write_png(drawn[-1], worst_sheet(model, truths, figures))
    if drawn:
        print(f"pictures    {', '.join(map(str, drawn))}")


def worst_sheet(model: str, truths: TruthSet, figures: SetFigures) -> Any:
    """The worst images, with their labels and predictions."""
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
    write_file(path, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"json        {path}")
