"""Losses of the tasks beside the classes: the road's surface, and objects' centres and offsets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from engines.types import VOID_CLASS

SURFACE_WEIGHTS = (1.0, 1.0, 4.0)
"""Nothing, drivable, lane line: lines are about a hundredth of the pixels."""


class InstanceLoss(NamedTuple):
    """Two scalars: of the heat map, and of the offsets."""

    centre: Tensor
    offset: Tensor


def surface_loss(logits: Tensor, surface: Tensor) -> Tensor:
    """Weighted cross-entropy; 0 where all is unknown. logits: (N, 3, h, w) float32. surface: (N, h, w) uint8, 255 unknown."""
    known = surface != VOID_CLASS
    if not known.any():
        return logits.sum() * 0
    weights = torch.tensor(SURFACE_WEIGHTS, device=logits.device)
    return functional.cross_entropy(logits, surface.long(), weights, ignore_index=VOID_CLASS)


def instance_loss(maps: Tensor, targets: Tensor) -> InstanceLoss:
    """maps: (N, 3, h, w) float32, centre logit, dx, dy. targets: (N, 5, h, w) as in `Batch.instances`.

    The heat map's is the focal loss of CenterNet (Zhou et al., 2019, equation 1) a known object: hard cells count, and cells near
    a centre are hardly to blame for looking like one. The offsets' is the mean absolute error over the cells of objects.
    """
    heat, offsets, is_sure, is_object = targets[:, 0], targets[:, 1:3], targets[:, 3], targets[:, 4]
    found = torch.sigmoid(maps[:, 0])
    is_centre = (heat == 1).float() * is_sure
    hit = -functional.logsigmoid(maps[:, 0]) * (1 - found) ** 2 * is_centre
    false = -functional.logsigmoid(-maps[:, 0]) * found**2 * (1 - heat) ** 4 * is_sure * (1 - is_centre)
    centre = (hit + false).sum() / is_centre.sum().clamp(min=1)
    distance = (maps[:, 1:3] - offsets).abs() * is_object[:, None]
    return InstanceLoss(centre, distance.sum() / (2 * is_object.sum()).clamp(min=1))
