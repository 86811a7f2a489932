"""A model's prediction for an image, in the classes of a data set and at the size of its label."""

from __future__ import annotations

import cv2
import numpy as np

from engines.errors import EvaluationError
from engines.evaluation.mapping import ClassMapping
from engines.models.card import ModelCard
from engines.types import U8, VOID_CLASS, Segmentation, Size

OPAQUE = 127
"""Alpha above this, one half, is foreground."""

LANE = 2
"""In `Segmentation.surface`."""


def check_readable(card: ModelCard) -> None:
    """Raises EvaluationError for a model that gives no masks."""
    if card.family == "boxes":
        raise EvaluationError(
            f"{card.name}: a detector gives boxes and no masks, so pixels cannot be scored",
            "Use a set with single objects, whose boxes can",
        )


def read_classes(segmentation: Segmentation, card: ModelCard, mapping: ClassMapping, size: Size) -> U8:
    """(H, W) uint8 of the set's classes, 255 for none of them.

    From the class map; or from a matte, where it is more than half opaque; or from the masks of objects, better ones on top.
    """
    target = (size.width, size.height)
    table = mapping.set_of[:256].copy()
    table[VOID_CLASS] = mapping.unnamed
    if segmentation.class_map is not None:
        return np.asarray(table[cv2.resize(segmentation.class_map, target, interpolation=cv2.INTER_NEAREST_EXACT)], np.uint8)
    if segmentation.alpha is not None:
        alpha = np.asarray(cv2.resize(segmentation.alpha, target, interpolation=cv2.INTER_LINEAR))
        foreground = mapping.set_of[foreground_class(card)]
        return np.where(alpha > OPAQUE, foreground, np.uint8(mapping.unnamed)).astype(np.uint8)
    instances = segmentation.instances
    of_row = np.full(256, mapping.unnamed, np.uint8)
    of_row[1 : len(instances) + 1] = mapping.set_of[instances.class_ids]
    return np.asarray(of_row[cv2.resize(instances.label_map, target, interpolation=cv2.INTER_NEAREST_EXACT)], np.uint8)


def foreground_class(card: ModelCard) -> int:
    """The class id of a matte's foreground."""
    return next(index for index, name in enumerate(card.classes) if name != "background" and name not in card.void)


def read_surface(segmentation: Segmentation, size: Size) -> tuple[U8, U8] | None:
    """Drivable area and lane lines, each (H, W) uint8 of 0 and 1; None where the model does not predict them.

    A lane line is painted on drivable area, so it counts as both.
    """
    if segmentation.surface is None:
        return None
    surface = np.asarray(
        cv2.resize(segmentation.surface, (size.width, size.height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
    )
    return (surface > 0).astype(np.uint8), (surface == LANE).astype(np.uint8)
