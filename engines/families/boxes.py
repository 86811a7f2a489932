"""Detectors: boxes and classes without masks. What they see is framed, labelled and tracked.

Outputs by role, one of
    `predictions` (1, 4 + C, N): YOLOv8 and 11. Centre, width, height in network px, C scores (sigmoid done)
    `rows`        (1, N, 5 + C): YOLOv5, and YOLOX with its boxes worked out. The same, with an objectness before the C scores
    `detections`  (1, N, 6): YOLO26 and YOLOv10, end to end. Corners in network px, score, class id; no NMS needed
    `queries`     (1, N, 4 + C): RT-DETR. Centre, width, height as shares of the picture, C scores (sigmoid done); no NMS needed
    `cells`       (1, N, 5 + C): YOLOX before its boxes are worked out. Offset of the centre and logarithm of the size, both in
                  cells of 8, 16 and 32 pixels, one grid after the other; objectness, C scores (sigmoid done)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engines.decoding.detections import Detections, Limits, check_finite, check_scores, floats, from_class_scores, read_rows
from engines.decoding.postprocess import centre_to_corners, visible_rows
from engines.errors import InferenceError
from engines.families import DecodeSettings
from engines.families.common.ranges import Look, examine_rows
from engines.families.common.recognising import (
    YOLOX_INPUT,
    YOLOX_STRIDES,
    Network,
    Proposal,
    Recognised,
    detected_keys,
    one_role,
    yolo_class_count,
)
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, VOID_CLASS, Instances, Outputs, Segmentation, Size

ROLES = ("predictions", "rows", "detections", "cells", "queries")

SUPPORTED = "boxes of detectors that Ultralytics exports, [1,4+classes,N] or [1,N,6], and YOLOX, [1,N,5+classes]"


class Family:
    def __init__(self, card: ModelCard) -> None:
        self._role = one_role(card, ROLES)
        self._output = card.outputs[self._role]
        self._class_count = len(card.classes)
        self._centres_px, self._strides_px = _grids(card.input.size)

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        limits = Limits(settings.score_threshold, settings.iou_threshold, settings.max_objects)
        rows = floats(outputs[self._output], self._output, 3)
        if self._role == "cells":
            found = self._from_cells(rows, limits)
        elif self._role == "queries":
            found = self._from_queries(rows, limits, geometry.net)
        else:
            found, _ = read_rows(self._role, rows, self._class_count, 0, limits, self._output)
        check_finite(found.corners_net)
        boxes_px = geometry.to_frame(found.corners_net)
        visible = visible_rows(boxes_px)
        no_masks = np.zeros((geometry.content.height, geometry.content.width), np.uint8)
        return Segmentation(
            Instances(boxes_px[visible], found.scores[visible], found.class_ids[visible], no_masks, found.cut_off)
        )

    def _from_cells(self, rows: F32, limits: Limits) -> Detections:
        expected = (len(self._strides_px), 5 + self._class_count)
        if rows.shape != expected:
            raise InferenceError(f"output {self._output} is {rows.shape}, not {expected}, as its card says", "Correct the card")
        strides = self._strides_px[:, None]
        with np.errstate(over="ignore"):  # check_finite reports it
            boxes = np.concatenate((rows[:, :2] * strides + self._centres_px, np.exp(rows[:, 2:4]) * strides), axis=1)
        scores = rows[:, 5:] * rows[:, 4:5]
        return from_class_scores(boxes.T, np.ascontiguousarray(scores.T), limits)

    def _from_queries(self, rows: F32, limits: Limits, net: Size) -> Detections:
        if rows.shape[1] != 4 + self._class_count:
            what = f"output {self._output} has {rows.shape[1]} numbers per box, not 4 + {self._class_count} classes"
            raise InferenceError(what, "Correct `classes` in its card")
        best = rows[:, 4:].max(axis=1)
        check_scores(best)
        order = np.argsort(-best, kind="stable")
        order = order[best[order] >= limits.score][: limits.count]
        class_ids = rows[order, 4:].argmax(axis=1).astype(np.int32)
        corners = centre_to_corners(rows[order, :4] * np.array((net.width, net.height) * 2, np.float32))
        return Detections(corners, best[order], class_ids, order)


def _grids(net: Size) -> tuple[F32, F32]:
    """The corner (N, 2) and the width (N,) of every cell of the three grids, in network px."""
    corners, strides = [], []
    for stride in YOLOX_STRIDES:
        rows, columns = np.indices((net.height // stride, net.width // stride), np.float32).reshape(2, -1)
        corners.append(np.stack((columns, rows), axis=1) * stride)
        strides.append(np.full(len(rows), stride, np.float32))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides)


class_count = yolo_class_count


def recognise(network: Network) -> Recognised | None:
    """A YOLO that was exported to detect: one output of rows. YOLOv5 by its number of rows, YOLOX by that and its layers."""
    outputs = network.facts.outputs
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    (output,) = outputs
    _, channels, count = output.shape
    if network.facts.metadata.get("task") == "detect":
        if count and count > 4 and _is_rtdetr(network):
            return Recognised({"queries": output.name}, count - 4, is_named=True)
        if count == 6:
            return Recognised({"detections": output.name}, is_named=True)
        if channels and 4 < channels < (count or VOID_CLASS**2):
            return Recognised({"predictions": output.name}, channels - 4, is_named=True)
    if output.dtype.startswith("float") and count and count > 5 and network.is_yolov5(output):
        return Recognised({"rows": output.name}, count - 5)
    if output.dtype.startswith("float") and count and count > 5 and network.is_yolox(output):
        return Recognised({_yolox_role(network): output.name}, count - 5, is_named=True)
    return None


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    given = written.get("outputs")
    roles = {*outputs, *(given if isinstance(given, dict) else ())}
    if "queries" in roles:  # its predictor stretches pictures
        keys = detected_keys(network, names, is_letterboxed=True)
        return keys | {"input": keys["input"] | {"fit": "stretch"}}
    if "cells" in roles or any(len(rows.shape) == 3 and network.is_yolox(rows) for rows in network.facts.outputs):
        keys = detected_keys(network, names, is_letterboxed=False)
        return keys | {"input": keys["input"] | YOLOX_INPUT}
    return detected_keys(network, names, is_letterboxed="task" in network.facts.metadata or "rows" in outputs)


def examine(card: ModelCard, outputs: Outputs) -> Look:
    role = one_role(card, ROLES)
    return examine_rows(card, role, outputs[card.outputs[role]])


def _yolox_role(network: Network) -> str:
    """Boxes are worked out inside where the graph has an exponential: nothing else in a YOLOX needs one."""
    return "rows" if "Exp" in network.facts.operators else "cells"


def propose(network: Network) -> Proposal | None:
    """For one output of rows that may be a detector's."""
    rows = network.float_outputs(3)
    if len(network.facts.outputs) != 1 or not rows or not (rows[0].shape[2] or 0) > 5:
        return None
    count = rows[0].shape[2] or 0
    return Proposal("boxes", {"rows": rows[0].name}, "boxes, an objectness and scores", count - 5)


def _is_rtdetr(network: Network) -> bool:
    """Ultralytics exports it as any other detector, but for the name of the model."""
    return "rtdetr" in network.facts.metadata.get("description", "").lower().replace("-", "")
