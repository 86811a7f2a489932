"""RF-DETR's segmentation: so many queries, each with a box, a class and a mask of its own; no NMS.

Outputs by role, all of them as the network gives them, before any sigmoid:
    `boxes`        (1, Q, 4): centre, width, height as shares of the input's width and height
    `class_logits` (1, Q, C), each class by itself: C is the number of the card's classes, or one more, the last being "nothing"
    `mask_logits`  (1, Q, Hm, Wm) over the whole input
Source: RF-DETR (Robinson et al., 2025); what its exporter writes is described in its documentation, "ONNX Inference".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engines.decoding.detections import check_finite, floats
from engines.decoding.postprocess import Masks, centre_to_corners, magnification, sigmoid
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, I32, U8, Instances, Outputs, Segmentation, Size

ROLES = ("boxes", "class_logits", "mask_logits")


FAR = np.float32(1e6)
"""In sides of the frame."""


class Family:
    def __init__(self, card: ModelCard) -> None:
        if any(role not in card.outputs for role in ROLES):
            wanted = ", ".join(f"outputs.{role}" for role in ROLES)
            raise CardError(f"{card.name}: an rfdetr_seg card needs {wanted}; it has {', '.join(card.outputs) or 'none'}")
        self._boxes, self._class_logits, self._mask_logits = (card.outputs[role] for role in ROLES)
        self._class_count = len(card.classes)
        self._seen = np.array([class_id for class_id, name in enumerate(card.classes) if name not in card.void], np.int32)
        if not len(self._seen):
            raise CardError(f"{card.name}: all of its classes are void, so it can see nothing")

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        scores, class_ids, masks = self._found(outputs, geometry, settings)
        return Segmentation(Instances(masks.boxes_px, scores, class_ids, masks.painted()))

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        return self._found(outputs, geometry, settings)[2].whole()

    def _found(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> tuple[F32, I32, Masks]:
        boxes, class_logits, mask_logits = self._read(outputs)
        # Of a query the best class alone: a second one would have the same mask, which can be seen once only.
        class_ids = self._seen[class_logits[:, self._seen].argmax(axis=1)]
        scores = sigmoid(class_logits[np.arange(len(boxes)), class_ids])
        chosen = np.argsort(-scores, kind="stable")
        chosen = chosen[scores[chosen] >= settings.score_threshold][: settings.max_objects]
        check_finite(boxes[chosen])
        net = np.array((geometry.net.width, geometry.net.height) * 2, np.float32)
        # Of a network gone wrong; what is so far off is cut at the frame's edge all the same, and no number overflows on the way.
        corners = centre_to_corners(np.clip(boxes[chosen], -FAR, FAR))
        boxes_px = geometry.to_frame(corners * net)
        seen = np.flatnonzero((boxes_px[:, 2] - boxes_px[:, 0] >= 1) & (boxes_px[:, 3] - boxes_px[:, 1] >= 1))
        boxes_px, chosen = boxes_px[seen], chosen[seen]

        def logits_of(row: int, cells_y: slice, cells_x: slice) -> F32:
            return np.asarray(mask_logits[chosen[row], cells_y, cells_x], np.float32)

        cells, magnify = Size.of(mask_logits[0]), magnification(geometry, settings.map_width_px)
        return scores[chosen], class_ids[chosen], Masks(logits_of, cells, boxes_px, geometry, magnify)

    def _read(self, outputs: Outputs) -> tuple[F32, F32, npt.NDArray[np.generic]]:
        """Boxes (Q, 4), class logits (Q, C), all finite, and mask logits (Q, Hm, Wm) in the type they came in."""
        boxes = floats(outputs[self._boxes], self._boxes, 3)
        class_logits = floats(outputs[self._class_logits], self._class_logits, 3)
        masks = outputs[self._mask_logits]
        if boxes.shape[1] != 4:
            raise InferenceError(f"output {self._boxes} is {outputs[self._boxes].shape}, not boxes (1, Q, 4)")
        if class_logits.shape[1] not in (self._class_count, self._class_count + 1):
            raise InferenceError(
                f"output {self._class_logits} has {class_logits.shape[1]} classes, its card {self._class_count}; "
                "name all of them in their order, with or without a last one for nothing"
            )
        if masks.ndim != 4 or masks.shape[0] != 1 or masks.dtype.kind != "f" or masks.size == 0:
            raise InferenceError(f"output {self._mask_logits} is {masks.shape} {masks.dtype}, not mask logits (1, Q, h, w)")
        if not len(boxes) == len(class_logits) == masks.shape[1]:
            counts = f"{len(boxes)} boxes, {len(class_logits)} rows of classes and {masks.shape[1]} masks"
            raise InferenceError(f"the network gave {counts}; each of its queries has one of each")
        check_finite(class_logits)
        return boxes, class_logits, masks[0]
