"""YOLO segmentation: boxes, mask coefficients and prototype masks.

Outputs by role: `prototypes` (1, K, Hp, Wp), and one of
    `predictions` (1, 4 + C + K, N): YOLOv8 and 11. Centre, width, height in network px, C scores (sigmoid done), K coefficients
    `detections`  (1, N, 6 + K): YOLO26, end to end. Corners in network px, score, class id, K coefficients; no NMS needed
    `candidates`  (1, N, 10 + K): predictions after `engines.fuse`, the best N. Centre, width, height in whole network px, what is
                  left of these four (so that they are exact in half precision too), score, class id, K coefficients
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from engines.card import ModelCard
from engines.detections import (
    Detections,
    Limits,
    as_class_ids,
    check_finite,
    check_scores,
    floats,
    from_class_scores,
    from_finished,
)
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.fit import Fit
from engines.postprocess import centre_to_corners, mix_masks, nms, paint_masks
from engines.types import F32, I32, U8, Instances, Outputs, Segmentation

Rows = tuple[Detections, F32]
"""N objects, and their (N, K) mask coefficients."""


@dataclass(frozen=True, slots=True)
class Objects:
    """N objects and what their masks are mixed of. magnify: map pixels to a network pixel."""

    boxes_px: F32
    scores: F32
    class_ids: I32
    coefficients: F32
    prototypes: F32
    magnify: int


class Family:
    def __init__(self, card: ModelCard) -> None:
        kinds = [role for role in ("predictions", "detections", "candidates") if role in card.outputs]
        if "prototypes" not in card.outputs or len(kinds) != 1:
            raise CardError(
                f"{card.name}: a yolo_seg card needs outputs.prototypes and one of outputs.predictions, outputs.detections and "
                f"outputs.candidates, it has {dict(card.outputs)}"
            )
        self._read = {
            "predictions": self._from_predictions,
            "detections": self._from_detections,
            "candidates": self._from_candidates,
        }[kinds[0]]
        self._rows = card.outputs[kinds[0]]
        self._prototypes = card.outputs["prototypes"]
        self._class_count = len(card.classes)

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        found = self._objects(outputs, geometry, settings)
        label_map = paint_masks(found.coefficients, found.prototypes, found.boxes_px, geometry, found.magnify)
        return Segmentation(Instances(found.boxes_px, found.scores, found.class_ids, label_map))

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        found = self._objects(outputs, geometry, settings)
        frame = (geometry.frame.width, geometry.frame.height)
        for row in range(len(found.scores)):
            mask = np.zeros((geometry.content.height * found.magnify, geometry.content.width * found.magnify), np.uint8)
            mixed = mix_masks(found.coefficients, found.prototypes, found.boxes_px, geometry, found.magnify, (row,))
            for _, part, (x, y, w, h) in mixed:  # one, or none where the box covers no pixel
                mask[y : y + h, x : x + w] = part
            yield np.asarray(cv2.resize(mask, frame, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)

    def _objects(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Objects:
        prototypes = floats(outputs[self._prototypes], self._prototypes, 4)
        rows = floats(outputs[self._rows], self._rows, 3)
        limits = Limits(settings.score_threshold, settings.iou_threshold, settings.max_objects)
        found, coefficients = self._read(rows, len(prototypes), limits)
        check_finite(found.corners_net, coefficients)
        boxes_px = geometry.to_frame(found.corners_net)
        visible = np.flatnonzero((boxes_px[:, 2] - boxes_px[:, 0] >= 1) & (boxes_px[:, 3] - boxes_px[:, 1] >= 1))
        boxes_px = boxes_px[visible]
        wanted = geometry.frame.fitted_to_width(settings.map_width_px)
        # At least as fine as it will be seen, in whole steps; the little less forgives a letterbox that is rounded to pixels.
        magnify = max(1, math.ceil(wanted.width / geometry.content.width - 0.02))
        return Objects(boxes_px, found.scores[visible], found.class_ids[visible], coefficients[visible], prototypes, magnify)

    def _from_predictions(self, rows: F32, mask_count: int, limits: Limits) -> Rows:
        if len(rows) != 4 + self._class_count + mask_count:
            described = f"4 + {self._class_count} classes + {mask_count} coefficients"
            raise InferenceError(f"output {self._rows} has {len(rows)} channels, its card says {described}")
        found = from_class_scores(rows[:4], rows[4 : 4 + self._class_count], limits)
        return found, np.ascontiguousarray(rows[4 + self._class_count :, found.rows].T)

    def _from_detections(self, rows: F32, mask_count: int, limits: Limits) -> Rows:
        if rows.shape[1] != 6 + mask_count:
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, not 6 + {mask_count} coefficients")
        found = from_finished(rows, self._class_count, limits, self._rows)
        return found, np.ascontiguousarray(rows[found.rows, 6:])

    def _from_candidates(self, rows: F32, mask_count: int, limits: Limits) -> Rows:
        if rows.shape[1] != 10 + mask_count:
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, not 10 + {mask_count} coefficients")
        check_scores(rows[:, 8])
        chosen = np.flatnonzero(rows[:, 8] >= limits.score)
        rows = rows[chosen]
        corners = centre_to_corners(rows[:, :4] + rows[:, 4:8])
        check_finite(corners)
        scores, class_ids = rows[:, 8], as_class_ids(rows[:, 9], self._class_count, self._rows)
        kept = nms(corners, scores, class_ids, limits.iou, limits.count)
        return Detections(corners[kept], scores[kept], class_ids[kept], chosen[kept]), rows[kept, 10:]
