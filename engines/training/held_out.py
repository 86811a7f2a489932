"""The loss on held-out images: what over-fitting shows first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from engines.models.fit import Fit, InputFiller
from engines.training.data import TrainingSets
from engines.training.losses import SetLoss, merged_loss
from engines.training.model import SegmentationNet, normalised, upsampled
from engines.types import U8, VOID_CLASS

MOST_IMAGES = 40
"""Of each set, evenly spread: enough for a curve."""


def held_out_loss(net: SegmentationNet, data: TrainingSets, losses: Sequence[SetLoss]) -> float:
    """The class loss of `net` on whole frames at its input size; the mean over held-out images, NaN without any."""
    values = []
    device = next(net.parameters()).device
    fill = InputFiller(data.recipe.input)
    for index, data_set in enumerate(data.sets):
        stride = math.ceil(len(data_set.held_out) / MOST_IMAGES) or 1
        for sample in data_set.held_out[::stride]:
            tensor, geometry = fill(sample.image)
            label = in_net(sample.label, geometry, 2)
            with torch.inference_mode():
                logits = net(normalised(torch.from_numpy(np.asarray(tensor, np.uint8)).to(device)))["semantic"]
                labels = torch.from_numpy(label)[None].to(device)
                values.append(float(merged_loss(upsampled(logits.float(), 2), labels, (index,), losses)))
    return float(np.mean(values)) if values else float("nan")


def in_net(label: U8, geometry: Fit, stride: int) -> U8:
    """(H, W) uint8 labels of a frame → where they lie in the network's input, at 1 / stride of its size; padding is void."""
    width, height = geometry.content.width // stride, geometry.content.height // stride
    left, top = geometry.left // stride, geometry.top // stride
    placed = np.full((geometry.net.height // stride, geometry.net.width // stride), VOID_CLASS, np.uint8)
    placed[top : top + height, left : left + width] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    return placed
