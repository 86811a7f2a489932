"""Take back part of the class weights. A weighted loss makes rare classes more likely than they are, which helps to learn them
and then paints too much of them; the exact bias is known, and a share of it is subtracted from the logits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from engines.training.checkpoint import load_checkpoint, save_checkpoint
from engines.training.data import DataSet
from engines.training.errors import TrainingError
from engines.training.losses import set_loss
from engines.training.model import HEAD_BIAS


def rebalance(checkpoint: Path, data_set: DataSet, share: float, out: Path) -> None:
    """Write to `out` the `checkpoint` with `share` (0..1) of the logarithm of its class weights taken off the logits.

    data_set: one that the checkpoint was trained on and that has the model's own classes: its pixels made the weights.
    A share of 1 would give the likelier class at each pixel, which starves the rare ones in mIoU; half is a good start.
    Raises TrainingError when the set has other classes. Source: Menon et al., "Long-tail learning via logit adjustment" (2021).
    """
    state = load_checkpoint(checkpoint)
    if data_set.settings.classes != state.recipe.classes:
        raise TrainingError(f'the set "{data_set.settings.name}" has other classes than the model; name one that has the same')
    weights = set_loss(data_set.settings, data_set.pixel_shares(), state.recipe).weights
    # A class that never occurs has weight 0, and nothing is known of its bias.
    bias = share * torch.where(weights > 0, weights, torch.ones_like(weights)).log()
    moved = [{**tensors, HEAD_BIAS: tensors[HEAD_BIAS] - bias} for tensors in (state.weights, state.ema)]
    save_checkpoint(out, replace(state, weights=moved[0], ema=moved[1], optimizer={}))
