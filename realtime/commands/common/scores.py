"""A model's scores on a set: as lines for the terminal, and as values for a JSON file."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engines.datasets.truth import TruthSet
from engines.evaluation.objects import ObjectFigures
from engines.evaluation.scores import PixelFigures, SetFigures
from engines.models.model import Model
from engines.segmenter import Segmenter
from realtime.commands.common.tables import bar, plain, show, table
from realtime.process.version import installed, version

CLASSES_PER_LINE = 7

PACKAGES = ("numpy", "opencv-python", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "pycuda", "pycocotools")


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
    if figures.pixels is not None:
        lines += ["", *_pixel_lines(figures.pixels, truths.settings.classes)]
    if figures.objects is not None:
        lines += ["", *_object_lines(figures.objects, truths.settings.classes)]
    if figures.surface is not None:
        surface = figures.surface
        lines += ["", f"surface     drivable IoU {show(surface.drivable_iou)}, lane lines IoU {show(surface.lane_iou)}"]
    return lines


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
