"""YOLO segmentation: boxes, mask coefficients and prototype masks.

Outputs by role: `prototypes` (1, K, Hp, Wp), and one of
    `predictions` (1, 4 + C + K, N): YOLOv8 and 11. Centre, width, height in network px, C scores (sigmoid done), K coefficients
    `detections`  (1, N, 6 + K): YOLO26, end to end. Corners in network px, score, class id, K coefficients; no NMS needed
    `candidates`  (1, N, 10 + K): predictions after `engines.fuse`, the best N. Centre, width, height in whole network px, what is
                  left of these four (so that they are exact in half precision too), score, class id, K coefficients
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engines.card import ModelCard
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.fit import Fit
from engines.postprocess import centre_to_corners, nms, paint_masks
from engines.types import F32, I32, Instances, Outputs, Segmentation

MAX_CANDIDATES = 1000
"""Boxes that enter NMS, best first. A picture with more is noise, and NMS grows with their square."""

Rows = tuple[F32, F32, I32, F32]
"""(N, 4) corners in network pixels, (N,) scores, (N,) class ids, (N, K) coefficients; scores falling."""


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
        prototypes = _floats(outputs[self._prototypes], self._prototypes, 4)
        rows = _floats(outputs[self._rows], self._rows, 3)
        boxes_net, scores, class_ids, coefficients = self._read(rows, len(prototypes), settings)
        _check_finite(boxes_net, coefficients)
        boxes_px = geometry.to_frame(boxes_net)
        visible = np.flatnonzero((boxes_px[:, 2] - boxes_px[:, 0] >= 1) & (boxes_px[:, 3] - boxes_px[:, 1] >= 1))
        boxes_px = boxes_px[visible]
        wanted = geometry.frame.fitted_to_width(settings.map_width_px)
        # At least as fine as it will be seen, in whole steps; the little less forgives a letterbox that is rounded to pixels.
        magnify = max(1, math.ceil(wanted.width / geometry.content.width - 0.02))
        label_map = paint_masks(coefficients[visible], prototypes, boxes_px, geometry, magnify)
        return Segmentation(Instances(boxes_px, scores[visible], class_ids[visible], label_map))

    def _from_predictions(self, rows: F32, mask_count: int, settings: DecodeSettings) -> Rows:
        if len(rows) != 4 + self._class_count + mask_count:
            described = f"4 + {self._class_count} classes + {mask_count} coefficients"
            raise InferenceError(f"output {self._rows} has {len(rows)} channels, its card says {described}")
        class_scores = rows[4 : 4 + self._class_count]
        best = class_scores.max(axis=0)
        _check_scores(best)
        candidates = np.flatnonzero(best >= settings.score_threshold)
        if len(candidates) > MAX_CANDIDATES:
            candidates = candidates[np.argpartition(-best[candidates], MAX_CANDIDATES)[:MAX_CANDIDATES]]
        scores = best[candidates]
        class_ids = class_scores[:, candidates].argmax(axis=0).astype(np.int32)
        corners = centre_to_corners(rows[:4, candidates].T)
        _check_finite(corners)
        kept = nms(corners, scores, class_ids, settings.iou_threshold, settings.max_objects)
        coefficients = rows[4 + self._class_count :, candidates[kept]].T
        return corners[kept], scores[kept], class_ids[kept], np.ascontiguousarray(coefficients)

    def _from_detections(self, rows: F32, mask_count: int, settings: DecodeSettings) -> Rows:
        if rows.shape[1] != 6 + mask_count:
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, not 6 + {mask_count} coefficients")
        _check_scores(rows[:, 4])
        rows = rows[rows[:, 4] >= settings.score_threshold]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")][: settings.max_objects]
        return (
            np.ascontiguousarray(rows[:, :4]),
            np.ascontiguousarray(rows[:, 4]),
            self._class_ids(rows[:, 5]),
            np.ascontiguousarray(rows[:, 6:]),
        )

    def _from_candidates(self, rows: F32, mask_count: int, settings: DecodeSettings) -> Rows:
        if rows.shape[1] != 10 + mask_count:
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, not 10 + {mask_count} coefficients")
        _check_scores(rows[:, 8])
        rows = rows[rows[:, 8] >= settings.score_threshold]
        corners = centre_to_corners(rows[:, :4] + rows[:, 4:8])
        _check_finite(corners)
        scores, class_ids = rows[:, 8], self._class_ids(rows[:, 9])
        kept = nms(corners, scores, class_ids, settings.iou_threshold, settings.max_objects)
        return corners[kept], scores[kept], class_ids[kept], rows[kept, 10:]

    def _class_ids(self, numbers: F32) -> I32:
        """As integers. Raises InferenceError for one that the card has no name for."""
        strange = numbers[~((numbers >= 0) & (numbers < self._class_count))]
        if len(strange):
            raise InferenceError(f"output {self._rows} has class id {strange[0]:g}, its card {self._class_count} classes")
        return numbers.astype(np.int32)


def _check_scores(scores: F32) -> None:
    """Every score, not only those above the threshold: a NaN compares false, and would leave unseen. Raises InferenceError."""
    _check_finite(scores)
    if len(scores) and scores.max() > 1.01:  # half precision rounds; more is no rounding
        raise InferenceError(f"the network gave the score {scores.max():g}, above 1; export it with the sigmoid inside")


def _check_finite(*arrays: F32) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise InferenceError("the network gave NaN or infinite numbers; try --backend ort, or another precision")


def _floats(output: npt.NDArray[np.generic], name: str, axes: int) -> F32:
    """The first (only) batch entry as float32. Raises InferenceError for another number of axes or a bigger batch."""
    if output.ndim != axes or output.shape[0] != 1:
        raise InferenceError(f"output {name} is {output.shape}, not a batch of one with {axes} axes")
    return np.asarray(output[0], np.float32)
