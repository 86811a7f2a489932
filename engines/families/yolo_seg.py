"""YOLO segmentation: boxes, mask coefficients and prototype masks.

Outputs by role: `prototypes` (1, K, Hp, Wp), and one of
    `predictions` (1, 4 + C + K, N): YOLOv8 and 11. Centre, width, height in network px, C scores (sigmoid done), K coefficients
    `rows`        (1, N, 5 + C + K): YOLOv5. The same, with an objectness before the C scores
    `detections`  (1, N, 6 + K): YOLO26, end to end. Corners in network px, score, class id, K coefficients; no NMS needed
    `candidates`  (1, N, 10 + K): fused predictions, the best N. Centre, width, height in whole network px, what is
                  left of these four (so that they are exact in half precision too), score, class id, K coefficients
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engines.decoding.detections import (
    Detections,
    Limits,
    as_class_ids,
    check_finite,
    check_scores,
    floats,
    only_entry,
    read_rows,
)
from engines.decoding.masks import Grids, Masks, grids_of, magnification, mixed_masks
from engines.decoding.postprocess import centre_to_corners, nms, visible_rows
from engines.errors import InferenceError
from engines.families import DecodeSettings
from engines.families.common.ranges import Look, examine_rows
from engines.families.common.recognising import Network, Recognised, detected_keys, one_role, yolo_class_count
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.onnx_graph.editing import GraphEditor, tensor_facts
from engines.onnx_graph.reducing import PREFIX, batch_of, best_columns, checked, joined, parts_of, with_nan
from engines.types import F32, U8, VOID_CLASS, Instances, Outputs, Segmentation

ROLES = ("predictions", "rows", "detections", "candidates")


SUPPORTED = "YOLO's segmentation, [1,4+classes+K,N], [1,N,5+classes+K] or [1,N,6+K] with prototypes [1,K,h,w]"

TOP_K = 1000
"""As many as the family looks at, so no answer changes. In eight real clips up to 148 anchors passed a score of 0.1, and 300
would have done; in nine crowds put into one picture 516, and 300 lost 138 of 493 objects (13 of 364 at a score of 0.25). 168 KB
come down instead of 3.9 MB; 300 anchors would be 50 KB, beside 3.3 MB of prototypes either way."""


class Family:
    def __init__(self, card: ModelCard) -> None:
        self._role = one_role(card, ROLES, also=("prototypes",))
        self._rows = card.outputs[self._role]
        self._prototypes = card.outputs["prototypes"]
        self._class_count = len(card.classes)

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        found, masks = self._found(outputs, grids_of(outputs, self._prototypes), geometry, settings)
        return Segmentation(Instances(masks.boxes_px, found.scores, found.class_ids, masks.painted(), found.cut_off))

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        return self._found(outputs, outputs[self._prototypes], geometry, settings)[1].whole()

    def _found(self, outputs: Outputs, grids: Grids, geometry: Fit, settings: DecodeSettings) -> tuple[Detections, Masks]:
        prototypes = only_entry(grids, self._prototypes, 4) if isinstance(grids, np.ndarray) else grids
        mask_count = prototypes.shape[-3]
        rows = floats(outputs[self._rows], self._rows, 3)
        limits = Limits(settings.score_threshold, settings.iou_threshold, settings.max_objects)
        if self._role == "candidates":
            found, coefficients = self._from_candidates(rows, mask_count, limits)
        else:
            found, coefficients = read_rows(self._role, rows, self._class_count, mask_count, limits, self._rows)
        check_finite(found.corners_net, coefficients)
        boxes_px = geometry.to_frame(found.corners_net)
        seen = visible_rows(boxes_px)
        magnify = magnification(geometry, settings.map_width_px)
        masks = mixed_masks(coefficients[seen], prototypes, boxes_px[seen], geometry, magnify)
        return replace(
            found,
            corners_net=found.corners_net[seen],
            scores=found.scores[seen],
            class_ids=found.class_ids[seen],
            rows=found.rows[seen],
        ), masks

    def _from_candidates(self, rows: F32, mask_count: int, limits: Limits) -> tuple[Detections, F32]:
        if rows.shape[1] != 10 + mask_count:
            raise InferenceError(f"output {self._rows} has {rows.shape[1]} columns, not 10 + {mask_count} coefficients")
        check_scores(rows[:, 8])
        chosen = np.flatnonzero(rows[:, 8] >= limits.score)
        rows = rows[chosen]
        corners = centre_to_corners(rows[:, :4] + rows[:, 4:8])
        check_finite(corners)
        scores, class_ids = rows[:, 8], as_class_ids(rows[:, 9], self._class_count, self._rows)
        kept, cut_off = nms(corners, scores, class_ids, limits.iou, limits.count)
        return Detections(corners[kept], scores[kept], class_ids[kept], chosen[kept], cut_off), rows[kept, 10:]


class_count = yolo_class_count


def recognise(network: Network) -> Recognised | None:
    """One output of rows and one of prototypes; or `candidates`, which `fuse` made."""
    found = network.facts.outputs
    others = [tensor for tensor in found if tensor.name != "candidates" and len(tensor.shape) == 4]
    columns = [10 + tensor.shape[1] for tensor in others if tensor.shape[1]]
    candidates = next((tensor for tensor in found if tensor.name == "candidates"), None)
    if candidates is not None and len(others) == 1 and columns == list(candidates.shape[2:]):
        return Recognised({"candidates": "candidates", "prototypes": others[0].name}, is_named=True)
    all_prototypes, all_rows = network.float_outputs(4), network.float_outputs(3)
    if len(all_prototypes) != 1 or len(all_rows) != 1:
        return None
    (prototypes,), (rows,) = all_prototypes, all_rows
    mask_count = prototypes.shape[1]
    _, channels, count = rows.shape
    if not mask_count:
        return None
    if count and count > 5 + mask_count and network.is_yolov5(rows):
        return Recognised({"rows": rows.name, "prototypes": prototypes.name}, count - 5 - mask_count)
    if count == 6 + mask_count:
        return Recognised({"detections": rows.name, "prototypes": prototypes.name})
    # More channels than boxes is the same array transposed, whose axes mean something else.
    if channels and 4 + mask_count < channels < (count or VOID_CLASS**2):
        return Recognised({"predictions": rows.name, "prototypes": prototypes.name}, channels - 4 - mask_count)
    return None


def examine(card: ModelCard, outputs: Outputs) -> Look:
    return examine_rows(card, one_role(card, ROLES, also=("prototypes",)), outputs[card.outputs[one_role(card, ROLES)]])


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    return detected_keys(network, names, is_letterboxed=True)


def fuse(model: Any, card: ModelCard, top_k: int = TOP_K) -> tuple[Any, ModelCard]:
    """predictions (N, 4 + C + K, A) ▶ candidates (N, k, 10 + K): the `top_k` best anchors. ValueError for less than one."""
    if top_k < 1:
        raise ValueError(f"top_k {top_k} must be 1 or more")
    if not {"predictions", "prototypes"} <= set(card.outputs):
        return model, card
    predictions, prototypes = card.outputs["predictions"], card.outputs["prototypes"]
    edit = GraphEditor(model, PREFIX)
    parts = joined(edit, predictions)
    facts = tensor_facts(model, card.input, [predictions, *parts])
    elem_type, shape = facts[predictions]
    if len(shape) != 3 or shape[1] is None or shape[2] is None:
        return model, card
    classes = len(card.classes)
    mask_count = shape[1] - 4 - classes
    if mask_count < 1:
        return model, card  # the family reports what its card has wrong
    counts = (4, classes, mask_count)
    # Without the join nothing copies all anchors' numbers, and a cast to FP16 can leave the boxes as they are.
    is_joined_so = [facts[part][1][1] if part in facts else None for part in parts] == list(counts)
    boxes, scores, coefficients = parts if is_joined_so else parts_of(edit, predictions, counts)
    count = min(top_k, shape[2])
    best = edit.reduce("ReduceMax", scores, [1], "best", keepdims=True)
    anchors = best_columns(edit, best, count)

    def gather(rows: str, row_count: int, name: str) -> str:
        """The columns of the best anchors: Gather would take one list of them for the whole batch."""
        spread = edit.add("Expand", [anchors, edit.integers(f"{name}/shape", [1, row_count, 1])], f"{name}/anchors")
        return edit.add("GatherElements", [rows, spread], name, axis=2)

    box = gather(boxes, 4, "boxes")
    # Whole pixels and what is left of them: as halves, the two together are exact to 1/4096 of a pixel, one number to 1/2.
    whole = edit.add("Round", [box], "boxes/whole")
    left = edit.add("Sub", [box, whole], "boxes/left")
    class_id = edit.add("ArgMax", [gather(scores, classes, "scores")], "class_id/argmax", axis=1, keepdims=1)
    class_id = edit.add("Cast", [class_id], "class_id", to=elem_type)
    score = with_nan(edit, gather(best, 1, "score"), scores)
    numbers = [whole, left, score, class_id, gather(coefficients, mask_count, "coefficients")]
    columns = edit.add("Concat", numbers, "candidates/columns", axis=1)
    candidates = edit.add("Transpose", [columns], "candidates", output="candidates", perm=[0, 2, 1])
    dims = (batch_of(model, card), count, 10 + mask_count)
    edit.set_outputs([(candidates, elem_type, dims)], kept=[prototypes])
    edit.pin_size(card.input)
    return checked(edit, card, {"candidates": candidates, "prototypes": prototypes})
