"""Checkpoints that describe themselves: the recipe, the step, the weights and the curve so far, in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.training.errors import TrainingError
from engines.training.model import SegmentationNet
from engines.training.recipe import Recipe, recipe_from_dict, recipe_to_dict

FORMAT = 2


@dataclass
class Checkpoint:
    """A run between two steps.

    step:      optimiser steps done.
    weights:   the net as it trains; `ema`: its running mean, which is what is evaluated and exported.
    optimizer: AdamW's state, empty in a checkpoint that only serves to export.
    scaler:    of the gradients' scale, empty except in fp16.
    loss:      running mean of the training loss.
    curve:     one row per evaluation: column name -> number.
    class_weights: how much each class weighed in the loss; see `rebalance`.
    """

    recipe: Recipe
    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    loss: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    class_weights: list[float] = field(default_factory=list)

    def net(self) -> SegmentationNet:
        """The averaged net, on the CPU, in evaluation mode."""
        net = new_net(self.recipe)
        net.load_state_dict(self.ema)
        net.eval()
        return net


def new_net(recipe: Recipe) -> SegmentationNet:
    """The net that the recipe describes, with random weights (seed it first)."""
    return SegmentationNet(recipe.net, len(recipe.classes), recipe.heads)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all: a kill half-way leaves the checkpoint before."""
    part = path.with_name(path.name + ".part")
    torch.save({"format": FORMAT, **vars(checkpoint), "recipe": recipe_to_dict(checkpoint.recipe)}, part)
    part.replace(path)


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Only what another run can begin with: the averaged weights, the large ones in half precision. Whole or not at all."""
    halved = {name: value.half() if value.ndim > 1 else value for name, value in checkpoint.ema.items()}
    save_checkpoint(path, Checkpoint(checkpoint.recipe, checkpoint.step, {}, halved, class_weights=checkpoint.class_weights))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what was saved; nothing in the file is executed. All weights come in float32. Raises TrainingError that names it."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; train one first: run.py train --help")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise TrainingError(f"{path}: written by another version of this program; train again")
        content["recipe"] = recipe_from_dict(content["recipe"], str(path))
        checkpoint = Checkpoint(**content)
    except TrainingError:
        raise
    except Exception as error:  # torch.load raises whatever pickle and zip do
        raise TrainingError(
            f"{path}: is no checkpoint of this program ({type(error).__name__}); name a .pt file of a run"
        ) from error
    checkpoint.ema = {name: value.float() if value.is_floating_point() else value for name, value in checkpoint.ema.items()}
    checkpoint.weights = checkpoint.weights or checkpoint.ema
    return checkpoint
