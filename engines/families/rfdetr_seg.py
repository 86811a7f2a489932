"""RF-DETR's segmentation: so many queries, each with a box, a class and a mask of its own; no NMS.

Outputs by role, all of them as the network gives them, before any sigmoid:
    `boxes`        (1, Q, 4): centre, width, height as shares of the input's width and height
    `class_logits` (1, Q, C), each class by itself: C is the number of the card's classes, or one more, the last being "nothing"
    `mask_logits`  (1, Q, Hm, Wm) over the whole input
Source: RF-DETR (Robinson et al., 2025); what its exporter writes is described in its documentation, "ONNX Inference".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from engines.decoding.detections import check_finite, floats
from engines.decoding.masks import Grids, Masks, chosen_masks, grids_of, magnification
from engines.decoding.postprocess import centre_to_corners, sigmoid, visible_rows
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.families.common.ranges import SHARES_END, Look, is_flat
from engines.families.common.recognising import Network, Recognised
from engines.models.card import ModelCard
from engines.models.coco import COCO_IDS
from engines.models.fit import Fit
from engines.types import F32, I32, U8, Instances, Outputs, Segmentation

ROLES = ("boxes", "class_logits", "mask_logits")

FAR = np.float32(1e6)
"""In sides of the frame."""


EXPORTED = {"boxes": "dets", "class_logits": "labels", "mask_logits": "masks"}
"""Role → the name that its exporter gives the output."""

METADATA = "rfdetr_inference"
"""JSON that its exporter embeds since 2026: class names by place, means and standard deviations of a 0..1 image."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of a 0..1 image, RGB: its input where the file does not say other. Source: its documentation, "ONNX Inference"."""


class Family:
    def __init__(self, card: ModelCard) -> None:
        if any(role not in card.outputs for role in ROLES):
            needed, has = ", ".join(f"outputs.{role}" for role in ROLES), ", ".join(card.outputs) or "none"
            raise CardError(f"{card.name}: an rfdetr_seg card needs {needed}; it has {has}", "Correct `outputs`")
        self._boxes, self._class_logits, self._mask_logits = (card.outputs[role] for role in ROLES)
        self._class_count = len(card.classes)
        self._seen = np.array([class_id for class_id, name in enumerate(card.classes) if name not in card.void], np.int32)
        if not len(self._seen):
            raise CardError(f"{card.name}: all of its classes are void", "Correct `void`")

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        grids = grids_of(outputs, self._mask_logits)
        scores, class_ids, masks, cut_off = self._found(outputs, grids, geometry, settings)
        return Segmentation(Instances(masks.boxes_px, scores, class_ids, masks.painted(), cut_off))

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        return self._found(outputs, outputs[self._mask_logits], geometry, settings)[2].whole()

    def _found(self, outputs: Outputs, grids: Grids, geometry: Fit, settings: DecodeSettings) -> tuple[F32, I32, Masks, int]:
        boxes, class_logits = self._read(outputs, grids)
        mask_logits = grids[0] if isinstance(grids, np.ndarray) else grids
        # Of a query the best class alone: a second one would have the same mask, which can be seen once only.
        class_ids = self._seen[class_logits[:, self._seen].argmax(axis=1)]
        scores = sigmoid(class_logits[np.arange(len(boxes)), class_ids])
        chosen = np.argsort(-scores, kind="stable")
        sure = chosen[scores[chosen] >= settings.score_threshold]
        chosen = sure[: settings.max_objects]
        cut_off = len(sure) - len(chosen)
        check_finite(boxes[chosen])
        net = np.array((geometry.net.width, geometry.net.height) * 2, np.float32)
        # Of a network gone wrong: clipped, no number overflows, and what is so far off is cut at the frame's edge anyway.
        corners = centre_to_corners(np.clip(boxes[chosen], -FAR, FAR))
        boxes_px = geometry.to_frame(corners * net)
        seen = visible_rows(boxes_px)
        boxes_px, chosen = boxes_px[seen], chosen[seen]
        masks = chosen_masks(mask_logits, chosen, boxes_px, geometry, magnification(geometry, settings.map_width_px))
        return scores[chosen], class_ids[chosen], masks, cut_off

    def _read(self, outputs: Outputs, masks: Grids) -> tuple[F32, F32]:
        """Boxes (Q, 4) and class logits (Q, C), all finite. Raises InferenceError, also for masks that do not belong to them."""
        boxes = floats(outputs[self._boxes], self._boxes, 3)
        class_logits = floats(outputs[self._class_logits], self._class_logits, 3)
        if boxes.shape[1] != 4:
            raise InferenceError(f"output {self._boxes} is {outputs[self._boxes].shape}, not boxes (1, Q, 4)")
        if class_logits.shape[1] not in (self._class_count, self._class_count + 1):
            raise InferenceError(
                f"output {self._class_logits} has {class_logits.shape[1]} classes, its card {self._class_count}",
                "Name all of them in their order, with or without a last one for nothing",
            )
        if len(masks.shape) != 4 or masks.shape[0] != 1 or masks.dtype.kind != "f" or 0 in masks.shape:
            raise InferenceError(f"output {self._mask_logits} is {masks.shape} {masks.dtype}, not mask logits (1, Q, h, w)")
        if not len(boxes) == len(class_logits) == masks.shape[1]:
            counts = f"{len(boxes)} boxes, {len(class_logits)} rows of classes and {masks.shape[1]} masks"
            raise InferenceError(f"the network gave {counts}; each of its queries has one of each")
        check_finite(class_logits)
        return boxes, class_logits


def recognise(network: Network) -> Recognised | None:
    """By its exporter's names. Others use them too, but give five numbers to a box, or labels in integers."""
    by_name = {tensor.name: tensor for tensor in network.facts.outputs}
    if not set(EXPORTED.values()) <= set(by_name):
        return None
    tensors = [by_name[name] for name in EXPORTED.values()]
    is_float = all(tensor.dtype.startswith("float") for tensor in tensors)
    ranks = [len(tensor.shape) for tensor in tensors]
    is_ours = is_float and ranks == [3, 3, 4] and tensors[0].shape[2] in (4, None)
    return Recognised(EXPORTED, is_named=True) if is_ours else None


def examine(card: ModelCard, outputs: Outputs) -> Look:
    """Outputs after their sigmoid, and boxes in pixels."""
    names = [card.outputs[role] for role in ROLES]
    boxes, logits, masks = (np.asarray(outputs[name]) for name in names)
    if not all(array.dtype.kind == "f" and array.size and np.isfinite(array).all() for array in (boxes, logits)):
        return Look()
    for name, array in ((names[1], logits), (names[2], masks[:, :1])):
        if not is_flat(array) and array.min() >= 0 and array.max() <= 1 and array.max() - array.min() > 0.1:
            what = f"{card.name}: output {name} goes from {array.min():.3g} to {array.max():.3g}: its sigmoid is inside already"
            raise CardError(what, "Export it without, as RF-DETR's own exporter does")
    if boxes.max() > 2 * SHARES_END:
        what = f"{card.name}: the boxes in output {names[0]} go to {boxes.max():.4g}: they are pixels, not shares of the picture"
        raise CardError(what, "Export it as RF-DETR's own exporter does")
    flat = {name: float(array.flat[0]) for name, array in zip(names, (boxes, logits, masks), strict=True) if is_flat(array)}
    return Look(best=float(sigmoid(logits.max(keepdims=True).astype(np.float32)).max()), flat=flat)


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"classes": names} if names or "classes" in written else _embedded_classes(network)
    keys["things"] = [name for name in keys.get("classes", ()) if name not in keys.get("void", ())]
    return keys | ({} if network.image.dtype == "uint8" else {"input": _embedded_input(network)})


def class_count(card: ModelCard, shapes: Mapping[str, tuple[int | None, ...]]) -> int | None:
    shape = shapes[card.outputs["class_logits"]] if "class_logits" in card.outputs else ()
    count = shape[-1] if shape else None
    # A last place may stand for nothing, and need no name.
    return count - 1 if count and count - 1 == len(card.classes) else count


def _embedded_input(network: Network) -> dict[str, Any]:
    """How the picture is fitted and normalised."""
    said = _embedded(network)
    mean, std = said.get("means"), said.get("stds")
    if not all(isinstance(numbers, list) and len(numbers) == 3 for numbers in (mean, std)):
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
    try:
        scaled = [[round(255 * float(number), 4) for number in numbers] for numbers in (mean or [], std or [])]
    except (TypeError, ValueError):
        scaled = [[255 * number for number in numbers] for numbers in (IMAGENET_MEAN, IMAGENET_STD)]
    return {"fit": "stretch", "mean": scaled[0], "std": scaled[1]}


def _embedded_classes(network: Network) -> dict[str, Any]:
    """`classes`, and as `void` the places that stand for none; empty where the file names no classes."""
    count = next((tensor.shape[2] for tensor in network.facts.outputs if tensor.name == EXPORTED["class_logits"]), None)
    table = _embedded(network).get("class_id_to_name")
    try:
        names = {int(place): str(name) for place, name in table.items()} if isinstance(table, dict) else {}
    except ValueError:
        names = {}
    if not names or min(names) < 0 or max(names) >= (count or COCO_IDS):
        return {}
    # A last place without a name is the one for nothing, which the family knows of.
    classes = [names.get(place, f"unused {place}") for place in range(max(names) + 1)]
    void = [name for place, name in enumerate(classes) if place not in names]
    return {"classes": classes, "void": void} if count in (None, len(classes), len(classes) + 1) else {}


def _embedded(network: Network) -> dict[str, Any]:
    """The exporter's own metadata; empty where there is none that can be read."""
    try:
        said = json.loads(network.facts.metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
