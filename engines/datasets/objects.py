"""Single objects of a labelled image, as outlines or from a map of ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from engines.datasets.folder import UNSURE_OBJECT
from engines.types import U8, VOID_CLASS

Outline: TypeAlias = U8 | Sequence[Sequence[float]] | Mapping[str, Any]
"""(H, W) uint8 mask of 0 and 1; or polygons, each x0, y0, x1, y1, ... in pixels; or COCO's run lengths {"size", "counts"}."""


@dataclass(frozen=True, slots=True)
class TrueObject:
    """A labelled object. is_crowd: a region that counts neither as found nor as missed."""

    class_id: int
    outline: Outline
    is_crowd: bool = False


def objects_of(instances: U8, label: U8, thing_ids: Sequence[int]) -> Iterator[TrueObject]:
    """The objects in a map of ids; each has the class of most of its pixels.

    instances: (H, W) uint8, 0 no object, 1..254 one object each, 255 unsure. label: (H, W) uint8 class of each pixel, 255 void.
    thing_ids: the classes with objects. Unsure pixels are a crowd of their class, or of every class where that is void.
    """
    for object_id in np.unique(instances).tolist():
        if object_id == 0:
            continue
        mask = instances == object_id
        counts = np.bincount(label[mask], minlength=256)
        if object_id == UNSURE_OBJECT:
            yield from _crowds(mask, label, thing_ids)
        elif counts[:VOID_CLASS].any():
            yield TrueObject(int(counts[:VOID_CLASS].argmax()), mask.view(np.uint8))
        else:
            yield from (TrueObject(class_id, mask.view(np.uint8), is_crowd=True) for class_id in thing_ids)


def _crowds(mask: Any, label: U8, thing_ids: Sequence[int]) -> Iterator[TrueObject]:
    void = mask & (label == VOID_CLASS)
    for class_id in thing_ids:
        region = void | (mask & (label == class_id))
        if region.any():
            yield TrueObject(class_id, region.view(np.uint8), is_crowd=True)
