"""Runs a model over a set and scores it: pixels, outlines, single objects, the road's surface, latency."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from engines.backends import RecurrentEngine
from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, TrueObject
from engines.datasets.truth import Truth, TruthSet
from engines.errors import EvaluationError
from engines.evaluation.mapping import ClassMapping, check_readable, read_classes, read_surface
from engines.evaluation.objects import MAX_OBJECTS, ObjectScorer
from engines.evaluation.scores import (
    Case,
    PixelFigures,
    SetFigures,
    SurfaceFigures,
    boundary_f1,
    class_accuracy,
    class_iou,
    confusion,
    mean_of,
    pixel_accuracy,
    tolerance_px,
)
from engines.families import DecodeSettings
from engines.segmenter import Segmenter
from engines.types import F64, I64, U8, VOID_CLASS, Segmentation, Size

LOWEST_SCORE = 0.001
"""Average precision needs the whole curve, with detections of low scores; COCO's usual minimum."""

WORST = 8
"""Number of cases kept for pictures."""

MORE_IMAGES = "Score on more images, or on a set with outlines"

STAGES = ("preprocess", "inference", "decode")

Progress = Callable[[int, int], None]


def score_set(
    segmenter: Segmenter, truths: TruthSet, mapping: ClassMapping, threshold: float, on_progress: Progress | None = None
) -> SetFigures:
    """Run `segmenter` over all images of a set and score its predictions.

    threshold: lowest score of an object for everything but average precision. Raises EvaluationError, DataError and
    InferenceError.
    """
    run = _Run(segmenter, truths, mapping, threshold)
    for done, name in enumerate(truths.names, 1):
        run.add(truths.read(name))
        if on_progress:
            on_progress(done, len(truths.names))
    return run.figures()


@dataclass
class PixelScorer:
    """Scores pixels and outlines, image by image."""

    mapping: ClassMapping
    class_count: int
    counts: I64 = field(init=False)
    _boundaries: list[F64] = field(default_factory=list)
    _tolerances_px: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.class_count, self.class_count + 1), np.int64)
        self._void = np.arange(256).astype(np.uint8)
        self._void[: self.class_count][np.array(self.mapping.is_void, bool)] = VOID_CLASS
        self._known = np.array(self.mapping.is_known, bool)

    def add(self, truth: U8, predicted: U8) -> F64:
        """Add one image, both maps (H, W) uint8. Its IoU by class; NaN for classes unknown to the model or absent."""
        truth = self._void[truth]
        counts = confusion(truth, predicted, self.class_count)
        self.counts += counts
        self._boundaries.append(boundary_f1(truth, predicted, self.class_count))
        self._tolerances_px.append(tolerance_px(*truth.shape))
        return self._of_known(class_iou(counts))

    def figures(self) -> PixelFigures:
        """The scores over all images; at least one must have been added."""
        iou, accuracy = class_iou(self.counts), class_accuracy(self.counts)
        boundaries = np.array(self._boundaries)
        there = ~np.isnan(boundaries)
        sums, times = np.where(there, boundaries, 0).sum(axis=0), there.sum(axis=0)
        boundary: F64 = np.divide(sums, times, out=np.full(self.class_count, np.nan), where=times > 0)
        known_counts = self.counts * self._known[:, None]
        return PixelFigures(
            self.counts,
            self._of_known(iou),
            self._of_known(accuracy),
            self._of_known(boundary),
            miou=mean_of(self._of_known(iou)),
            miou_all=mean_of(iou),
            pixel_accuracy=pixel_accuracy(known_counts),
            class_accuracy=mean_of(self._of_known(accuracy)),
            boundary_f1=mean_of(self._of_known(boundary)),
            tolerance_px=float(np.median(self._tolerances_px)),
        )

    def _of_known(self, values: F64) -> F64:
        return np.where(self._known, values, np.nan)


@dataclass
class _Run:
    """One model over one set, image by image."""

    segmenter: Segmenter
    truths: TruthSet
    mapping: ClassMapping
    threshold: float

    def __post_init__(self) -> None:
        class_count = len(self.truths.settings.classes)
        self._card = self.segmenter.card
        self._settings = DecodeSettings(self.threshold, max_objects=MAX_OBJECTS)
        self._pixels = PixelScorer(self.mapping, class_count)
        self._objects: ObjectScorer | None = None
        self._surface = np.zeros((2, 2), np.int64)  # (drivable, lane line) by (hits, union)
        self._surface_images = self._pixel_images = 0
        self._stage_ms: list[list[float]] = []
        self._worst: list[Case] = []

    def add(self, truth: Truth) -> None:
        size = Size.of(truth.image)
        engine = self.segmenter.choice.engine
        if isinstance(engine, RecurrentEngine):
            engine.reset()  # the images of a set are not a video
        if not self._stage_ms:
            self.segmenter.warm_up(size)
        segmentation = self.segmenter(truth.image, replace(self._settings, map_width_px=size.width))
        self._stage_ms.append([segmentation.stage_ms[stage] for stage in STAGES])
        if truth.objects is not None and self._card.things:
            self._add_objects(truth, truth.objects, size)
        if truth.label is not None and self._card.family != "boxes":
            self._add_pixels(truth, truth.label, segmentation, size)
        elif truth.objects is None:
            check_readable(self._card)
        if truth.surface is not None:
            self._add_surface(truth.surface, segmentation, size)

    def _add_pixels(self, truth: Truth, label: U8, segmentation: Segmentation, size: Size) -> None:
        predicted = read_classes(segmentation, self._card, self.mapping, size)
        iou = self._pixels.add(label, predicted)
        self._pixel_images += 1
        self._keep_if_bad(Case(truth, label, predicted, mean_of(iou), iou))

    def _keep_if_bad(self, case: Case) -> None:
        if not np.isnan(case.figure):
            self._worst = sorted([*self._worst, case], key=lambda case: case.figure)[:WORST]

    def _add_objects(self, truth: Truth, objects: tuple[TrueObject, ...], size: Size) -> None:
        by_box = self._card.family == "boxes"
        if self._objects is None:
            self._objects = ObjectScorer(len(self.truths.settings.classes), self.threshold, "box" if by_box else "mask")
        scorer = self._objects
        scorer.add_image(size, objects)
        settings = replace(self._settings, score_threshold=min(LOWEST_SCORE, self.threshold), map_width_px=size.width)
        instances, masks = self.segmenter.objects(settings)
        filler: Iterator[U8 | None] = iter([None] * len(instances)) if by_box else iter(masks)
        for row, mask in enumerate(filler):
            class_id, score = int(self.mapping.set_of[instances.class_ids[row]]), float(instances.scores[row])
            if class_id == self.mapping.unnamed:
                continue  # the set has no such class, so the detection is neither right nor wrong
            if mask is None:
                scorer.add_box(class_id, score, instances.boxes_px[row])
            else:
                scorer.add_mask(class_id, score, mask)
        if truth.label is None and not by_box:
            review = scorer.review(size)
            self._keep_if_bad(Case(truth, review.truth, review.found, review.f1, np.full(0, np.nan)))

    def _add_surface(self, truth: U8, segmentation: Segmentation, size: Size) -> None:
        found = read_surface(segmentation, size)
        if found is None:
            return
        self._surface_images += 1
        # A lane line is on drivable area, whether or not the set labels its pixels as both.
        there = ((truth & (DRIVABLE_BIT | LANE_BIT)) > 0, (truth & LANE_BIT) > 0)
        for row, (true, predicted) in enumerate(zip(there, found, strict=True)):
            self._surface[row] += ((true & (predicted > 0)).sum(), (true | (predicted > 0)).sum())

    def figures(self) -> SetFigures:
        """The scores over all images; at least one must have been added."""
        if not (self._pixel_images or self._objects or self._surface_images):
            name = self.truths.settings.name
            raise EvaluationError(f"{self._card.name} finds no single objects, and {name} has no other labels")
        if self._objects and not (self._objects.has_truths or self._pixel_images or self._surface_images):
            name, count = self.truths.settings.name, len(self._stage_ms)
            raise EvaluationError(f"{name}: none of its {count} images has an object, so nothing can be scored", MORE_IMAGES)
        pixels = self._pixels.figures() if self._pixel_images else None
        surface = None
        if self._surface_images:
            drivable, lane = (hits / union if union else float("nan") for hits, union in self._surface.tolist())
            surface = SurfaceFigures(drivable, lane, self._surface_images)
        return SetFigures(
            self.mapping,
            len(self._stage_ms),
            dict(zip(STAGES, np.median(self._stage_ms, axis=0).tolist(), strict=True)),
            pixels,
            self._objects.figures() if self._objects else None,
            surface,
            tuple(self._worst),
        )
