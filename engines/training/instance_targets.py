"""Targets of the head `instances`: a heat map of objects' centres, and offsets from each cell of an object to its centre.

Source: Panoptic-DeepLab (Cheng et al., CVPR 2020); the exact peak and its loss: CenterNet (Zhou et al., 2019).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engines.datasets.folder import UNSURE_OBJECT
from engines.types import F32, U8, Bools

CELL_PX = 4
"""The heads' maps are a quarter of the input's size."""
OFFSET_SCALE_PX = 32.0
"""Offsets are learned in this unit, so that they are about 1."""
SIGMA_SHARE, SIGMA_CELLS = 0.12, (0.7, 6.0)
"""Spread of the heat as a share of the object's mean side, and its bounds: a lorry's centre is vaguer than a child's."""


class InstanceTargets(NamedTuple):
    """heat: (h, w) float32 0..1, 1 exactly at a centre's cell. offsets: (2, h, w) float32 in units of OFFSET_SCALE_PX.
    is_sure: (h, w) bool, where the heat is known. is_object: (h, w) bool, where the offsets are. All at a quarter of the size."""

    heat: F32
    offsets: F32
    is_sure: Bools
    is_object: Bools


def instance_targets(instances: U8 | None, is_thing: Bools) -> InstanceTargets:
    """Targets of one crop. instances: (H, W) uint8 object ids, None if not labelled. is_thing: (H, W) bool.

    Ids count only on pixels of a countable class; pixels of a countable class without an id are unsure.
    """
    height, width = (side // CELL_PX for side in is_thing.shape)
    heat, offsets = np.zeros((height, width), np.float32), np.zeros((2, height, width), np.float32)
    if instances is None:
        nowhere = np.zeros((height, width), bool)
        return InstanceTargets(heat, offsets, nowhere, nowhere.copy())
    middle = slice(CELL_PX // 2, None, CELL_PX)
    ids = np.where(is_thing, instances, 0)
    cell_ids, cell_things = ids[middle, middle], is_thing[middle, middle]
    is_sure = (instances[middle, middle] != UNSURE_OBJECT) & ~(cell_things & (cell_ids == 0))
    is_object = (cell_ids > 0) & (cell_ids != UNSURE_OBJECT)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for object_id in np.unique(ids):
        if object_id in (0, UNSURE_OBJECT):
            continue
        own_rows, own_columns = np.nonzero(ids == object_id)
        x, y = (own_columns.mean() + 0.5) / CELL_PX - 0.5, (own_rows.mean() + 0.5) / CELL_PX - 0.5  # in cells
        sides = np.array((np.ptp(own_columns) + 1, np.ptp(own_rows) + 1)) / CELL_PX
        sigma = np.clip(SIGMA_SHARE * np.sqrt(sides.prod()), *SIGMA_CELLS)
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        spot[min(height - 1, max(0, round(y))), min(width - 1, max(0, round(x)))] = 1
        np.maximum(heat, spot, out=heat)
        own = cell_ids == object_id
        offsets[0][own] = (x - columns[own]) * (CELL_PX / OFFSET_SCALE_PX)
        offsets[1][own] = (y - rows[own]) * (CELL_PX / OFFSET_SCALE_PX)
    return InstanceTargets(heat, offsets, is_sure, is_object)
