"""Checkpoints that describe themselves: the recipe, the step, the weights and the curve so far, in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.training.errors import TrainingError
from engines.training.model import RoadNet
from engines.training.recipe import Recipe, recipe_from_dict, recipe_to_dict

FORMAT = 1


@dataclass
class Checkpoint:
    """A run between two steps.

    step:      optimiser steps done.
    weights:   the net as it trains; `ema`: its running mean, which is what is evaluated and exported.
    optimizer: AdamW's state, empty in a checkpoint that only serves to export.
    loss:      running mean of the training loss.
    curve:     one row per evaluation: column name -> number.
    """

    recipe: Recipe
    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)
    loss: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def net(self) -> RoadNet:
        """The averaged net, on the CPU, in evaluation mode."""
        net = RoadNet(self.recipe.net, len(self.recipe.classes))
        net.load_state_dict(self.ema)
        net.eval()
        return net


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all: a kill half-way leaves the checkpoint before."""
    part = path.with_name(path.name + ".part")
    torch.save({"format": FORMAT, **vars(checkpoint), "recipe": recipe_to_dict(checkpoint.recipe)}, part)
    part.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; nothing in the file is executed. Raises TrainingError that names it."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; train one first: python -m engines.training train --help")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise TrainingError(f"{path}: written by another version of this program; train again")
        content["recipe"] = recipe_from_dict(content["recipe"], str(path))
        return Checkpoint(**content)
    except TrainingError:
        raise
    except Exception as error:  # torch.load raises whatever pickle and zip do
        raise TrainingError(
            f"{path}: is no checkpoint of this program ({type(error).__name__}); name a .pt file of a run"
        ) from error
