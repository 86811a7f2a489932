"""Fitting: a model with an input as large as the pictures of a run need it, without the padding that a letterbox adds to them.

A 16:9 picture fills 360 of the 640 rows of a YOLO. The same network at 384x640 sees the same pixels at the same scale, and takes
three fifths of the time. Not every network can: the size may be a constant of its graph, or decide what it finds. So it is tried,
on a picture of the run, against the network at its own size.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.decoding.postprocess import box_ious
from engines.errors import ModelFileError, SegmentationError
from engines.families import DecodeSettings, gives_maps, open_family
from engines.loading import cpu_session
from engines.models.card import InputSpec, ModelCard
from engines.models.fit import InputFiller
from engines.models.model import Model
from engines.models.sizing import COARSEST, STRIDE, saved, tight_size, with_input_size
from engines.onnx_graph.checking import ITERATING
from engines.onnx_graph.context import looks_at_all
from engines.types import Image, Instances, Segmentation, Size, scaled_labels

log = logging.getLogger(__name__)

SURE, SOUGHT, NOISE = 0.3, 0.01, 0.05
"""Scores: objects of the one size from SURE on, or else the best above NOISE, must be among those of the other above SOUGHT."""

MOST_OBJECTS = 20

LEAST_OVERLAP = 0.8
"""Median box IoU of these objects. On 80 frames of five clips, with two detectors, it was 0.94 to 1; and 0 to 0.62 with rows at
another scale."""

LEAST_AGREEMENT, MOST_DIFFERENCE = 0.9, 0.05
"""Of the labels, and of the opacity: 0..1."""


class Fitting:
    """An input size for pictures, and whether the model can have it. Used on one thread.

    sizes: to be tried in this order. refused: why the model keeps its own size; empty as long as nothing speaks against another.
    """

    def __init__(self, spec: InputSpec, content: Size, picture: Image) -> None:
        """content: what pictures fill of the own size (`sizing.content_of`). picture: one of them, to try it on."""
        sizes = (tight_size(spec, content, stride) for stride in (STRIDE, COARSEST))
        self.sizes: tuple[Size, ...] = tuple(dict.fromkeys(size for size in sizes if size != spec.size))
        self.refused = ""
        self._picture: Image | None = picture

    def copy(self, model: Model, folder: Path) -> Model | None:
        """The model at the first size that works, written to `folder`; None, and `refused` says why, where none does."""
        if not self.refused:
            try:
                return self._tried(model, folder)
            except Exception as error:  # of any library, and of the disk: the model can still run as it is
                self.refused = one_line(error)
        self._picture = None
        log.info("%s keeps its input size: %s", model.card.name, self.refused)
        return None

    def _tried(self, model: Model, folder: Path) -> Model:
        """Raises ModelFileError for the last size that does not work, and what libraries raise."""
        import onnx

        name = model.card.name
        if model.operators & ITERATING:
            raise ModelFileError(f"{name}: its graph iterates, which takes any time", "")
        own = onnx.load(model.path)
        if gives_maps(model.card) and (what := looks_at_all(own)):
            raise ModelFileError(f"{name}: each pixel of its result depends on the whole input ({what})", "")
        failure = ModelFileError(f"{name}: no other size is smaller", "")
        for size in self.sizes:
            try:
                network, card = with_input_size(own, model.card, size, 1)
            except ModelFileError as error:
                failure = error
                continue
            picture, reason = self._picture, ""
            if picture is not None:
                reason = differing(_run(own, model.card, picture), _run(network, card, picture))
            if not reason:
                self.sizes, self._picture = (size,), None  # the next time it need not be tried
                return saved(model, network, card, folder)
            failure = ModelFileError(f"{name}: {reason}", "")
        raise failure


def one_line(error: Exception) -> str:
    """Why, without the model's name and the cure."""
    if isinstance(error, SegmentationError):
        return error.what.partition(": ")[2] or error.what
    return " ".join(str(error).split())[:160] or type(error).__name__


def differing(own: Segmentation, other: Segmentation) -> str:
    """How the results of a network at two input sizes differ; empty where they are the same, apart from what padding does."""
    for name, wanted, found in (("classes", own.class_map, other.class_map), ("surface", own.surface, other.surface)):
        if wanted is not None and found is not None:
            share = float((wanted == scaled_labels(found, Size.of(wanted))).mean())
            if share < LEAST_AGREEMENT:
                return f"its {name} would be the same for {share:.0%} of the pixels only"
    if own.alpha is not None and other.alpha is not None:
        same_size = cv2.resize(other.alpha, own.alpha.shape[1::-1])
        difference = float(np.abs(own.alpha.astype(np.float32) - same_size).mean()) / 255
        return f"its matte would differ by {difference:.0%}" if difference > MOST_DIFFERENCE else ""
    if own.class_map is not None:
        return ""  # objects are cut out of it
    overlaps = [*best_overlaps(own.instances, other.instances), *best_overlaps(other.instances, own.instances)]
    if overlaps and float(np.median(overlaps)) < LEAST_OVERLAP:
        return f"its objects would be elsewhere (they overlap by {np.median(overlaps):.2f})"
    return ""


def best_overlaps(wanted: Instances, found: Instances) -> Sequence[float]:
    """For each sure object of `wanted`, or else each of the best, its largest box IoU with an object of `found`."""
    order = np.argsort(-wanted.scores)[:MOST_OBJECTS]
    order = order[wanted.scores[order] >= NOISE]
    sure = order[wanted.scores[order] >= SURE]
    boxes = wanted.boxes_px[sure if len(sure) else order]
    return [float(box_ious(box, found.boxes_px).max(initial=0.0)) for box in boxes]


def _run(network: Any, card: ModelCard, picture: Image) -> Segmentation:
    """What a network sees in the picture, on the CPU."""
    tensor, geometry = InputFiller(card.input)(picture)
    names = list(card.outputs.values())
    arrays = cpu_session(network.SerializeToString()).run(names, {card.input.tensor: tensor})
    settings = DecodeSettings(score_threshold=SOUGHT)
    return open_family(card).decode(dict(zip(names, arrays, strict=True)), geometry, settings)
