"""Guessing by the names of outputs: the project's own networks, and RF-DETR's, whose exporter always calls them so."""

from __future__ import annotations

import json
from typing import Any

from engines.models.coco import COCO_IDS, names_by_id
from engines.onnx_graph.reading import NetworkFacts, TensorFacts

Guess = tuple[str, dict[str, str], int | None]
"""Family, role → tensor, and the number of classes where the shapes tell it."""

RFDETR = {"boxes": "dets", "class_logits": "labels", "mask_logits": "masks"}
RFDETR_METADATA = "rfdetr_inference"
"""JSON that its exporter embeds since 2026: class names by place, means and standard deviations of a 0..1 image."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of a 0..1 image, RGB: what RF-DETR wants where its file does not say other. Source: its documentation, "ONNX Inference"."""


def named_outputs(facts: NetworkFacts) -> Guess | None:
    """Of a panoptic network of ours, whose outputs are named after their roles, or of RF-DETR's segmentation."""
    by_name = {tensor.name: tensor for tensor in facts.outputs}
    maps = {"labels", "alpha"} & set(by_name)
    if len(maps) == 1 and {"peaks", "offsets"} <= set(by_name) <= {*maps, "peaks", "offsets", "confidence", "surface"}:
        return "panoptic", {name: name for name in by_name}, None
    return ("rfdetr_seg", dict(RFDETR), None) if _is_rfdetr(by_name) else None


def _is_rfdetr(by_name: dict[str, TensorFacts]) -> bool:
    """Others call their outputs so too, but give five numbers to a box, or labels in integers."""
    if not set(RFDETR.values()) <= set(by_name):
        return False
    dets, labels, masks = (by_name[name] for name in RFDETR.values())
    is_float = all(tensor.dtype.startswith("float") for tensor in (dets, labels, masks))
    ranks = [len(tensor.shape) for tensor in (dets, labels, masks)]
    return is_float and ranks == [3, 3, 4] and dets.shape[2] in (4, None)


def rfdetr_input(facts: NetworkFacts) -> dict[str, Any]:
    """How RF-DETR's picture is fitted and normalised."""
    said = _said(facts)
    mean, std = said.get("means"), said.get("stds")
    if not all(isinstance(numbers, list) and len(numbers) == 3 for numbers in (mean, std)):
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
    try:
        scaled = [[round(255 * float(number), 4) for number in numbers] for numbers in (mean or [], std or [])]
    except (TypeError, ValueError):
        scaled = [[255 * number for number in numbers] for numbers in (IMAGENET_MEAN, IMAGENET_STD)]
    return {"fit": "stretch", "mean": scaled[0], "std": scaled[1]}


def rfdetr_classes(facts: NetworkFacts) -> dict[str, Any]:
    """`classes`, and as `void` those places that stand for none; nothing where the file does not tell.

    Trained on COCO, a network has each class at the place of COCO's own number.
    """
    count = next((tensor.shape[2] for tensor in facts.outputs if tensor.name == RFDETR["class_logits"]), None)
    table = _said(facts).get("class_id_to_name")
    try:
        names = {int(place): str(name) for place, name in table.items()} if isinstance(table, dict) else {}
    except ValueError:
        names = {}
    if not names and count == COCO_IDS:
        names = names_by_id()
    if not names or min(names) < 0 or max(names) >= (count or COCO_IDS):
        return {}
    # A last place without a name is the one for nothing, which the family knows of.
    classes = [names.get(place, f"unused {place}") for place in range(max(names) + 1)]
    void = [name for place, name in enumerate(classes) if place not in names]
    return {"classes": classes, "void": void} if count in (None, len(classes), len(classes) + 1) else {}


def _said(facts: NetworkFacts) -> dict[str, Any]:
    """RF-DETR's own metadata; empty where there is none that can be read."""
    try:
        said = json.loads(facts.metadata.get(RFDETR_METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
