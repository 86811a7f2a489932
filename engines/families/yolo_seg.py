"""YOLO segmentation: boxes, mask coefficients and prototype masks.

Outputs by role: `prototypes` (1, K, Hp, Wp), and one of
    `predictions` (1, 4 + C + K, N): YOLOv8 and 11. Centre, width, height in network px, C scores (sigmoid done), K coefficients
    `rows`        (1, N, 5 + C + K): YOLOv5. The same, with an objectness before the C scores
    `detections`  (1, N, 6 + K): YOLO26, end to end. Corners in network px, score, class id, K coefficients; no NMS needed
    `candidates`  (1, N, 10 + K): fused predictions, the best N. Centre, width, height in whole network px, what is
                  left of these four (so that they are exact in half precision too), score, class id, K coefficients
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engines.decoding.detections import (
    Detections,
    Limits,
    as_class_ids,
    check_finite,
    check_scores,
    floats,
    from_class_scores,
    from_finished,
    from_objectness,
)
from engines.decoding.postprocess import Masks, centre_to_corners, magnification, mixed_masks, nms
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, U8, Instances, Outputs, Segmentation

ROLES = ("predictions", "rows", "detections", "candidates")

Rows = tuple[Detections, F32]
"""N objects, and their (N, K) mask coefficients."""


class Family:
    def __init__(self, card: ModelCard) -> None:
        kinds = [role for role in ROLES if role in card.outputs]
        if "prototypes" not in card.outputs or len(kinds) != 1:
            wanted = ", ".join(f"outputs.{role}" for role in ROLES)
            raise CardError(
                f"{card.name}: a yolo_seg card needs outputs.prototypes and one of {wanted}; it has {dict(card.outputs)}"
            )
        self._read = {
            "predictions": self._from_predictions,
            "rows": self._from_rows,
            "detections": self._from_detections,
            "candidates": self._from_candidates,
        }[kinds[0]]
        self._rows = card.outputs[kinds[0]]
        self._prototypes = card.outputs["prototypes"]
        self._class_count = len(card.classes)

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        found, masks = self._found(outputs, geometry, settings)
        return Segmentation(Instances(masks.boxes_px, found.scores, found.class_ids, masks.painted()))

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        return self._found(outputs, geometry, settings)[1].whole()

    def _found(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> tuple[Detections, Masks]:
        prototypes = floats(outputs[self._prototypes], self._prototypes, 4)
        rows = floats(outputs[self._rows], self._rows, 3)
        limits = Limits(settings.score_threshold, settings.iou_threshold, settings.max_objects)
        found, coefficients = self._read(rows, len(prototypes), limits)
        check_finite(found.corners_net, coefficients)
        boxes_px = geometry.to_frame(found.corners_net)
        seen = np.flatnonzero((boxes_px[:, 2] - boxes_px[:, 0] >= 1) & (boxes_px[:, 3] - boxes_px[:, 1] >= 1))
        magnify = magnification(geometry, settings.map_width_px)
        masks = mixed_masks(coefficients[seen], prototypes, boxes_px[seen], geometry, magnify)
        return Detections(found.corners_net[seen], found.scores[seen], found.class_ids[seen], found.rows[seen]), masks

    def _from_predictions(self, rows: F32, mask_count: int, limits: Limits) -> Rows:
        if len(rows) != 4 + self._class_count + mask_count:
            described = f"4 + {self._class_count} classes + {mask_count} coefficients"
            raise InferenceError(f"output {self._rows} has {len(rows)} channels, its card says {described}")
        found = from_class_scores(rows[:4], rows[4 : 4 + self._class_count], limits)
        return found, np.ascontiguousarray(rows[4 + self._class_count :, found.rows].T)

    def _from_rows(self, rows: F32, mask_count: int, limits: Limits) -> Rows:
        if rows.shape[1] != 5 + self._class_count + mask_count:
            described = f"5 + {self._class_count} classes + {mask_count} coefficients"
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, its card says {described}")
        found = from_objectness(rows, self._class_count, limits)
        return found, np.ascontiguousarray(rows[found.rows, 5 + self._class_count :])

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
