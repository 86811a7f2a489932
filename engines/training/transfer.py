"""Transfer: a new run begins with what another one learned, as far as the two nets agree."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import torch
from torch import Tensor

from engines.training.checkpoint import Checkpoint
from engines.training.errors import TrainingError
from engines.training.model import SEMANTIC_HEAD
from engines.training.recipe import Recipe

SHAPES = ("width", "channels", "depths", "top_down")
"""The settings of a net that decide which weights it has."""


def transferred(fresh: dict[str, Tensor], start: Checkpoint, recipe: Recipe) -> dict[str, Tensor]:
    """`fresh` weights of `recipe`'s net with those of `start` laid over them, where name and shape are the same.

    The class head is matched row by row, by the classes' names: a class that `start` did not know keeps its random row.
    Raises TrainingError when the backbones differ, so that nothing of use would come over.
    """
    old, new = start.ema, dict(fresh)
    backbone = [name for name in fresh if not name.startswith("heads.")]
    different = [name for name in backbone if name not in old or old[name].shape != fresh[name].shape]
    if different:
        raise TrainingError(f"its net is another one than recipe {recipe.name} describes; {_same_net(start.recipe, recipe)}")
    for name, value in old.items():
        if name in fresh and value.shape == fresh[name].shape and not name.startswith(SEMANTIC_HEAD):
            new[name] = value.clone()
    for part in ("weight", "bias"):
        name = SEMANTIC_HEAD + part
        new[name] = matched_rows(fresh[name], recipe.classes, old[name], start.recipe.classes)
    return new


def _same_net(old: Recipe, new: Recipe) -> str:
    """What to ask for so that the nets are one."""
    shapes = {key: getattr(old.net, key) for key in SHAPES if getattr(old.net, key) != getattr(new.net, key)}
    texts = {key: f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value) for key, value in shapes.items()}
    same = " ".join(f"--set {shlex.quote(f'net.{key}={text}')}" for key, text in texts.items())  # zsh takes brackets for patterns
    return f"add {same}, or begin without it" if same else "begin without it"


def matched_rows(fresh: Tensor, names: Sequence[str], old: Tensor, old_names: Sequence[str]) -> Tensor:
    """`fresh` (classes, ...) with the row of each class that `old` has too. A new tensor."""
    rows = [(names.index(name), old_names.index(name)) for name in names if name in old_names]
    matched = fresh.clone()
    if rows:
        to, source = map(list, zip(*rows, strict=True))
        matched[torch.tensor(to)] = old[torch.tensor(source)]
    return matched
