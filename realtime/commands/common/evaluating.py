"""The work of `evaluate`: scores a model on sets, prints, draws and writes the scores."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.backends import EngineOptions, check_backend, check_options
from engines.datasets.truth import TruthSet, open_truth
from engines.errors import EvaluationError, printable
from engines.evaluation.mapping import map_classes, parse_means
from engines.evaluation.objects import MAX_OBJECTS, ObjectFigures
from engines.evaluation.scores import Case, PixelFigures, SetFigures
from engines.evaluation.scoring import score_set
from engines.files import is_stream
from engines.models import zoo
from engines.models.model import Model
from engines.plans.passport import TRUST_WARNING
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS
from realtime.commands.common.checking import PROGRESS_DELAY_S, legend_of, write_file, write_png
from realtime.commands.common.tables import bar, counted, plain, show, table
from realtime.errors import SettingsError
from realtime.process.progress import Progress
from realtime.process.tuning import prepare
from realtime.process.version import installed, version
from realtime.reports.sheets import Row, blend, check_charts, confusion_chart, sheet

if TYPE_CHECKING:
    from realtime.commands.evaluate import Images

PICTURES = "out"

CLASSES_PER_LINE = 7

SHOWN_LEFT_OUT = 8

PACKAGES = ("numpy", "opencv-python", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "pycuda", "pycocotools")

log = logging.getLogger(__name__)

MOST_SCORES_BYTES = 16 * 2**20
"""More than any file of scores has."""


def evaluate(model: str, images: Images, engine_facts: Mapping[str, Any], json_path: str | None) -> int:
    """Score a model on each set of labelled images. Prints, draws, and writes JSON where `json_path` is given."""
    backend, threshold, sheets = images.backend or "auto", images.threshold, images.sheets
    check_options(backend, engine_facts)
    if engine_facts.get("input_px") == "auto":
        raise SettingsError("--size auto: the pictures of a set have many shapes", "Give none for the model's own, or HxW")
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
            print(printable("\n".join(described(segmenter, truths, figures)), "\n"), end="\n\n")
            _draw(segmenter.card.name, truths, figures, sheets)
        facts = report(found, segmenter, scored)
    if json_path:
        write_json(Path(json_path), facts)
    return 0


def check_json(path: str | None) -> None:
    """Raises SettingsError, before the work, where no JSON file can be written, or one would replace more than earlier scores."""
    if path and Path(path).is_dir():
        raise SettingsError(f"--json {path}: is a folder", "Name a file")
    if not path or is_stream(Path(path)) or not Path(path).exists():
        return
    try:
        with Path(path).open("rb") as file:
            start = file.read(MOST_SCORES_BYTES)
    except OSError as error:
        raise SettingsError(
            f"--json {path}: exists and cannot be read ({error.strerror or error})", "Name another file"
        ) from error
    if start and b'"versions": {' not in start:
        raise SettingsError(f"--json {path}: exists, and has no scores of an earlier run", "Name another file")


def _draw(model: str, truths: TruthSet, figures: SetFigures, folder: str | None) -> None:
    """Draw the confusion matrix and the worst images. folder: None for the default; without matplotlib there is no chart then."""
    base = Path(folder or PICTURES) / f"{model}-{truths.settings.name}".replace("/", "_").replace("\\", "_")
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


def described(segmenter: Segmenter, truths: TruthSet, figures: SetFigures) -> list[str]:
    """All scores, in lines."""
    times = ", ".join(f"{stage} {ms:.1f}" for stage, ms in figures.latency_ms.items())
    lines = [
        f"{segmenter.card.name} on {truths.settings.name}: {truths.described}",
        f"backend     {segmenter.choice.engine.description}, input {segmenter.card.input.size}",
        f"latency     {sum(figures.latency_ms.values()):.1f} ms per image: {times} (medians)",
    ]
    mapped = figures.mapping.described(truths.settings.classes)
    lines += [f"{'classes' if index == 0 else '':<11} {line}" for index, line in enumerate(mapped)]
    lines += left_out_lines(truths.left_out)
    if figures.pixels is not None:
        lines += ["", *_pixel_lines(figures.pixels, truths.settings.classes)]
    if figures.objects is not None:
        lines += ["", *_object_lines(figures.objects, truths.settings.classes)]
    if figures.surface is not None:
        surface = figures.surface
        lines += ["", f"surface     drivable IoU {show(surface.drivable_iou)}, lane lines IoU {show(surface.lane_iou)}"]
    return lines


def left_out_lines(left_out: Sequence[str]) -> list[str]:
    """What of the truth was not scored, and why."""
    if not left_out:
        return []
    more = [f"{'':<11} ... and {len(left_out) - SHOWN_LEFT_OUT} more; --json has all"] if len(left_out) > SHOWN_LEFT_OUT else []
    first, *others = left_out[:SHOWN_LEFT_OUT]
    return [f"left out    {first}", *(f"{'':<11} {line}" for line in others), *more]


def _pixel_lines(figures: PixelFigures, names: Sequence[str]) -> list[str]:
    known, occurring = int((~np.isnan(figures.iou)).sum()), int((figures.counts.sum(axis=1) > 0).sum())
    partly = f" over the {known} classes it knows ({show(figures.miou_all)} over all {occurring})" if known < occurring else ""
    head = (
        f"mIoU {show(figures.miou)}{partly}   pixel accuracy {show(figures.pixel_accuracy)}   "
        f"class accuracy {show(figures.class_accuracy)}   boundary F1 {show(figures.boundary_f1)} "
        f"(within {figures.tolerance_px:.1f} px)"
    )
    total = max(1, int(figures.counts.sum()))
    rows = [
        (name, show(iou), bar(float(iou)), show(accuracy), show(boundary), f"{100 * count / total:.1f} %")
        for name, iou, accuracy, boundary, count in zip(
            names, figures.iou, figures.accuracy, figures.boundary, figures.counts.sum(axis=1), strict=True
        )
    ]
    return [head, "", *table(("class", "IoU", "", "accuracy", "boundary F1", "of pixels"), rows, "lrlrrr")]


def _object_lines(figures: ObjectFigures, names: Sequence[str]) -> list[str]:
    lines = [
        f"objects     {figures.by} AP {show(figures.ap)}, AP50 {show(figures.ap50)}, AP75 {show(figures.ap75)} (COCO's)",
        f"            at threshold {figures.threshold:g} and IoU 0.5: precision {show(figures.precision)}, recall "
        f"{show(figures.recall)}, F1 {show(figures.f1)} ({figures.hits} of {figures.found} detections are right, "
        f"{figures.truths} true objects)",
    ]
    if figures.crowded:
        lines.append(
            f"            {counted(figures.crowded, 'image')} with {MAX_OBJECTS} objects or more: of each image only the best "
            f"{MAX_OBJECTS} detections count, as COCO has it"
        )
    of_class = [f"{name} {show(ap)}" for name, ap in zip(names, figures.ap_of, strict=True) if not math.isnan(ap)]
    lines += [
        f"{'' if start else '            AP of':<18}{', '.join(of_class[start : start + CLASSES_PER_LINE])}"
        for start in range(0, len(of_class), CLASSES_PER_LINE)
    ]
    return lines


def report(model: Model, segmenter: Segmenter, scored: Sequence[tuple[TruthSet, SetFigures]]) -> dict[str, Any]:
    """All scores, and the facts to reproduce them. Shares are 0..1; null where undefined."""
    card = segmenter.card
    facts = {
        "model": {
            "name": card.name,
            "file": model.path.name,
            "sha256": model.card.sha256,
            "family": card.family,
            "weights": model.precision,
            "input_px": list(card.input.size_px),
            "licence": card.licence,
        },
        "backend": {"name": segmenter.choice.backend, "description": segmenter.choice.engine.description},
        "versions": {"realtime-segmentation": version(), "python": platform.python_version(), **installed(PACKAGES)},
        "sets": [_set_facts(truths, figures) for truths, figures in scored],
    }
    in_json: dict[str, Any] = plain(facts)
    return in_json


def _set_facts(truths: TruthSet, figures: SetFigures) -> dict[str, Any]:
    names = truths.settings.classes
    mapping = {name: [model_class for model_class, _ in figures.mapping.parts.get(name, ())] for name in names}
    facts: dict[str, Any] = {
        "name": truths.settings.name,
        "images": figures.images,
        "which": truths.described,
        "classes": list(names),
        "mapping": mapping,
        "latency_p50_ms": dict(figures.latency_ms),
        "left_out": list(truths.left_out),
        "worst": {case.image.name: case.figure for case in figures.worst},
    }
    if figures.pixels is not None:
        pixels = figures.pixels
        facts["pixels"] = {
            "miou": pixels.miou,
            "miou_all_classes": pixels.miou_all,
            "pixel_accuracy": pixels.pixel_accuracy,
            "class_accuracy": pixels.class_accuracy,
            "boundary_f1": pixels.boundary_f1,
            "boundary_tolerance_px": pixels.tolerance_px,
            "iou_of": dict(zip(names, pixels.iou.tolist(), strict=True)),
            "accuracy_of": dict(zip(names, pixels.accuracy.tolist(), strict=True)),
            "boundary_f1_of": dict(zip(names, pixels.boundary.tolist(), strict=True)),
            "confusion": {"rows": "truth", "columns": [*names, "none"], "pixels": pixels.counts.tolist()},
        }
    if figures.objects is not None:
        objects = asdict(figures.objects)
        facts["objects"] = {**objects, "ap_of": dict(zip(names, objects["ap_of"], strict=True))}
    if figures.surface is not None:
        facts["surface"] = asdict(figures.surface)
    return facts
