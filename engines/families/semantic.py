"""Semantic segmentation: a class for every pixel. Thing classes are cut into objects by connected components.

Outputs by role: `logits` (1, C, H, W) float; or `labels` (1, H, W), (H, W), (1, 1, H, W) or (1, H, W, 1) integers, the argmax in
the graph; and optionally `confidence` (1, h, w) uint8, 255 x the largest softmax probability, at any resolution, `surface`
(1, any, any) uint8, 0 nothing, 1 drivable, 2 lane line, and `logit_mean` (1,) float, finite just when all the logits were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.maps import byte_map, fine_enough, labels_of, not_finite, one_map, surface_map
from engines.decoding.postprocess import Rectangle, argmax_channels, as_instances, components
from engines.decoding.upsampling import upsampled_labels
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, U8, VOID_CLASS, Instances, Outputs, Segmentation, Size

MIN_OBJECT_SHARE = 2e-4
"""Smaller components, as a share of the map, are specks: 49 pixels of 640x384."""

SCORE_SAMPLES = 256
"""Pixels of an object that its score is averaged over, when it must be computed from logits."""

Score = Callable[[int, U8, Rectangle], float]
"""class id, mask over a rectangle of the class map, the rectangle (x, y, w, h) → score in [0, 1]."""


class Family:
    def __init__(self, card: ModelCard) -> None:
        if ("logits" in card.outputs) == ("labels" in card.outputs):
            has = ", ".join(card.outputs) or "none"
            raise CardError(f"{card.name}: a semantic card needs one of outputs.logits and outputs.labels; it has {has}")
        if len(card.classes) > VOID_CLASS:
            raise CardError(f"{card.name}: {len(card.classes)} classes do not fit a class map; at most {VOID_CLASS} do")
        self._class_count = len(card.classes)
        self._logits = card.outputs.get("logits")
        self._labels = card.outputs.get("labels", "")
        self._confidence = card.outputs.get("confidence")
        self._mean = card.outputs.get("logit_mean")
        self._surface = card.outputs.get("surface")
        self._things = tuple(dict.fromkeys(card.classes.index(name) for name in card.things))
        self._to_class = np.full(256, VOID_CLASS, np.uint8)
        for class_id, name in enumerate(card.classes):
            if name not in card.void:
                self._to_class[class_id] = class_id

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        if self._logits:
            logits = self._checked_logits(outputs[self._logits], geometry)
            class_map: U8 = argmax_channels(logits)
            picture = geometry.frame.fitted_to_width(settings.map_width_px)
            shown_map = self._smooth(class_map, logits, picture) if settings.fine_class_maps else class_map
            score: Score = _LogitScore(logits)
        else:
            if self._mean and not np.isfinite(np.asarray(outputs[self._mean], np.float32)).all():
                raise not_finite(self._mean)
            class_map = shown_map = self._checked_labels(outputs[self._labels], geometry)
            if self._confidence:
                score = _MapScore(self._checked_confidence(outputs[self._confidence], geometry), class_map.shape)
            else:
                score = _no_score
        objects = self._objects(cv2.LUT(class_map, self._to_class), geometry, settings, score)
        surface = surface_map(outputs, self._surface, geometry)
        return Segmentation(objects, cv2.LUT(shown_map, self._to_class), surface=surface)

    def _smooth(self, class_map: U8, logits: F32, picture: Size) -> U8:
        """The class map at the picture's resolution where the network's is coarser: objects are found on the latter still."""
        here = Size.of(class_map)
        is_coarser = picture.width >= here.width and picture.height >= here.height and picture != here
        return upsampled_labels(class_map, logits, picture) if is_coarser else class_map

    def _checked_logits(self, output: npt.NDArray[np.generic], geometry: Fit) -> F32:
        if output.ndim != 4 or output.shape[:2] != (1, self._class_count):
            raise InferenceError(f"output {self._logits} is {output.shape}, not logits (1, {self._class_count}, H, W)")
        logits = np.asarray(output[0], np.float32)
        finer = geometry.cells_per_edge(Size.of(logits[0]))
        if finer > 1:
            logits = np.stack([cv2.resize(plane, None, fx=finer, fy=finer, interpolation=cv2.INTER_LINEAR) for plane in logits])
        logits = np.ascontiguousarray(geometry.cut(logits))
        # One value that is not finite poisons the sum: one cheap pass, and a look at each value only then.
        with np.errstate(invalid="ignore", over="ignore"):
            total = logits.sum()
        if not np.isfinite(total) and not np.isfinite(logits).all():
            raise not_finite(self._logits or "")
        return logits

    def _checked_labels(self, output: npt.NDArray[np.generic], geometry: Fit) -> U8:
        return labels_of(geometry.cut(fine_enough(one_map(output, self._labels), geometry)), self._labels)

    def _checked_confidence(self, output: npt.NDArray[np.generic], geometry: Fit) -> U8:
        confidence = byte_map(output, self._confidence or "", "255 x the probability")
        return cast(U8, geometry.cut(confidence))

    def _objects(self, class_map: U8, geometry: Fit, settings: DecodeSettings, score: Score) -> Instances:
        height, width = class_map.shape
        min_area = max(16, round(MIN_OBJECT_SHARE * height * width))
        found = []
        for class_id, mask, rectangle in components(class_map, self._things, min_area):
            value = score(class_id, mask, rectangle)
            if value >= settings.score_threshold:
                found.append((value, class_id, mask, rectangle))
        return as_instances(found, Size(width, height), geometry.frame, settings.max_objects)


class _LogitScore:
    """Mean softmax probability of the object's class over a sample of its pixels."""

    def __init__(self, logits: F32) -> None:
        self._logits = logits

    def __call__(self, class_id: int, mask: U8, rectangle: Rectangle) -> float:
        x, y, _, _ = rectangle
        rows, columns = _sample(mask)
        pixels = self._logits[:, y + rows, x + columns]
        exponentials = np.exp(pixels - pixels.max(axis=0))
        return float((exponentials[class_id] / exponentials.sum(axis=0)).mean())


class _MapScore:
    """Mean of a confidence map over the object; the map may be coarser than the class map."""

    def __init__(self, confidence: U8, class_map_shape: tuple[int, ...]) -> None:
        height, width = class_map_shape
        self._map: U8 = confidence
        self._is_fine = confidence.shape == (height, width)
        if not self._is_fine:
            self._map = cv2.resize(np.ascontiguousarray(confidence), (width, height), interpolation=cv2.INTER_NEAREST)

    def __call__(self, class_id: int, mask: U8, rectangle: Rectangle) -> float:
        x, y, w, h = rectangle
        if self._is_fine:  # a fused network's: the same pixels as of its logits, so the same score
            rows, columns = _sample(mask)
            return float(self._map[y + rows, x + columns].mean()) / 255
        return float(cv2.mean(self._map[y : y + h, x : x + w], mask)[0]) / 255


def _sample(mask: U8) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of SCORE_SAMPLES pixels of an object and up to twice as many, evenly spread."""
    pixels = np.flatnonzero(mask)
    return np.divmod(pixels[:: max(1, len(pixels) // SCORE_SAMPLES)], mask.shape[1])


def _no_score(class_id: int, mask: U8, rectangle: Rectangle) -> float:
    """A network that gives labels only is never unsure."""
    return 1.0
