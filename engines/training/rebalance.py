"""Take back part of the class weights. A weighted loss makes rare classes more likely than they are, which helps to learn them
and then paints too much of them; the exact bias is known, and a share of it is subtracted from the logits.

Source: Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from engines.training.checkpoint import Checkpoint
from engines.training.data import TrainingSets
from engines.training.losses import SetLoss
from engines.training.model import SEMANTIC_HEAD


def class_weights(data: TrainingSets, losses: Sequence[SetLoss]) -> list[float]:
    """How much each of the model's classes weighs in the loss: by the sets that have just its classes, each by its share.

    1 for a class that never occurs, and for all where no set has the model's own classes: nothing is known of their bias then.
    """
    total, seen = torch.zeros(len(data.recipe.classes)), torch.zeros(len(data.recipe.classes))
    for data_set, loss, share in zip(data.sets, losses, data.shares, strict=True):
        if data_set.settings.classes == data.recipe.classes:
            occurs = loss.weights.cpu() > 0
            total += share * torch.where(occurs, loss.weights.cpu(), 0)
            seen += share * occurs
    return [float(weight) for weight in torch.where(seen > 0, total / seen.clamp(min=1e-9), 1)]


def rebalanced(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint with `recipe.rebalance` (0..1) of the logarithm of its class weights taken off the logits; a new one.

    A share of 1 would give the likelier class at each pixel, which starves the rare ones in mIoU; half is a good start.
    """
    share = checkpoint.recipe.rebalance
    if not share or not checkpoint.class_weights:
        return checkpoint
    bias = share * torch.tensor(checkpoint.class_weights).log()
    name = f"{SEMANTIC_HEAD}bias"
    return dataclasses.replace(checkpoint, ema={**checkpoint.ema, name: checkpoint.ema[name] - bias})
