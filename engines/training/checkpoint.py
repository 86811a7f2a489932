"""The files of a run: checkpoints, which contain all they need, and the curve; and runs that start from a checkpoint."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from engines.files import whole_file, write_whole
from engines.training import TrainingError
from engines.training.mobile import EVIDENCE, MobileNet, from_deeplab
from engines.training.model import SEMANTIC_HEAD, SURFACE_WEIGHTS, Net, SegmentationNet
from engines.training.recipe import NetSettings, Recipe, recipe_from_dict, recipe_to_dict

FORMAT = 2
SHAPES = ("kind", "width", "channels", "depths", "top_down")
"""The settings of a net that decide the shapes of its weights."""
SURFACE_BIAS = r"heads\.surface\.(1\.)?bias"
CLASS_LAYERS = (SEMANTIC_HEAD, EVIDENCE)
"""Prefixes of the layers whose weights have a row per class."""


@dataclass
class Checkpoint:
    """A run between two steps.

    step:      optimiser steps done.
    weights:   the net in training; `ema`: the running mean of its weights, which is evaluated and exported.
    optimizer: AdamW's state; empty in a checkpoint for export only.
    scaler:    the gradient scaler's state; empty except in fp16.
    loss:      running mean of the training loss.
    curve:     one row per evaluation: column name -> number.
    class_weights: the weight of each class in the loss; see `rebalanced`.
    start:     the encoder's weights when the run began, where `schedule.keep` needs them.
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
    start: dict[str, Tensor] = field(default_factory=dict)

    def net(self) -> Net:
        """The averaged net, on the CPU, in evaluation mode."""
        net = new_net(self.recipe)
        net.load_state_dict(self.averaged())
        return net.eval()

    def averaged(self) -> dict[str, Tensor]:
        """`ema`, its encoder mixed with `start` by `schedule.keep`."""
        keep = self.recipe.schedule.keep
        mixed = {name: self.ema[name].lerp(value.to(self.ema[name]), keep) for name, value in self.start.items()}
        return {**self.ema, **mixed}

    def average(self, net: Net) -> None:
        """Move `ema` towards the net's weights and norm statistics; faster in the first steps."""
        decay = min(self.recipe.schedule.ema, (1 + self.step) / (10 + self.step))
        for name, value in net.state_dict().items():  # detached from the graph
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def rebalanced(self) -> Checkpoint:
        """Subtract `recipe.rebalance` (0..1) of the logarithm of the loss's weights from the logits of classes and surface.

        Returns a new checkpoint.

        A weighted loss helps to learn rare classes, and makes them more likely than they are. The exact bias is known; removing
        all of it gives the likeliest class of each pixel, which costs mIoU of rare classes. A half is a good start.
        Source: Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021).
        """
        if not self.recipe.rebalance or not self.class_weights:
            return self
        weights = {f"{SEMANTIC_HEAD}bias": torch.tensor(self.class_weights)}
        weights |= {name: torch.tensor(SURFACE_WEIGHTS) for name in self.ema if re.fullmatch(SURFACE_BIAS, name)}
        biases = {name: self.ema[name] - self.recipe.rebalance * weight.log() for name, weight in weights.items()}
        return dataclasses.replace(self, ema={**self.ema, **biases})


def new_net(recipe: Recipe) -> Net:
    """The net that the recipe describes, with random weights (seed it first). Raises TrainingError."""
    if recipe.net.kind == "stdc" and len(recipe.net.top_down) < 3:  # known only now: --from may give the kind
        what = f"recipe {recipe.name}: net.top_down has two entries, and a net of the kind stdc needs three"
        raise TrainingError(what, "Write three")
    kind = MobileNet if recipe.net.kind == "mobile" else SegmentationNet
    return kind(recipe.net, len(recipe.classes), recipe.heads)


def with_net_of(recipe: Recipe, path: Path) -> Recipe:
    """`recipe` with the net of the checkpoint `path`, as far as it leaves the net open; and with the rate of that net's encoder.

    So a recipe without [net] can begin with any model's weights. Raises TrainingError.
    """
    start, default = load_checkpoint(path).recipe, NetSettings()
    own = {key: getattr(start.net, key) for key in (*SHAPES, "frozen", "activation")}
    open_keys = {key: value for key, value in own.items() if getattr(recipe.net, key) == getattr(default, key)}
    schedule = recipe.schedule
    if schedule.encoder_rate == 1 and "kind" in open_keys:
        schedule = msgspec.structs.replace(schedule, encoder_rate=start.schedule.encoder_rate)
    return msgspec.structs.replace(recipe, net=msgspec.structs.replace(recipe.net, **open_keys), schedule=schedule)


def started(recipe: Recipe, path: Path) -> dict[str, Tensor]:
    """Weights for a new net that begins with those of `path`, a checkpoint or a pretrained encoder. Raises TrainingError."""
    net = new_net(recipe)
    if path.suffix != ".onnx":
        return transferred(net.state_dict(), load_checkpoint(path), recipe, str(path))
    if not isinstance(net, MobileNet):
        raise TrainingError(f"{path}: only a net of the kind mobile begins with an ONNX file", "Name a checkpoint, a .pt file")
    from_deeplab(net, recipe.classes, path)
    return net.state_dict()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file whole: after a kill, the previous checkpoint is still there."""
    with whole_file(path) as part, part.open("wb") as file:  # by its name it would write that name into the file
        torch.save({"format": FORMAT, **vars(checkpoint), "recipe": recipe_to_dict(checkpoint.recipe)}, file)


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write what another run can start from: the averaged weights, matrices in half precision."""
    halved = {name: value.half() if value.ndim > 1 else value for name, value in checkpoint.averaged().items()}
    save_checkpoint(path, Checkpoint(checkpoint.recipe, checkpoint.step, {}, halved, class_weights=checkpoint.class_weights))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, its weights as float32. Nothing in the file is executed. Raises TrainingError."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint", "Train one first: run.py train --help")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise TrainingError(f"{path}: written by another version of this program", "Train again")
        content["recipe"] = recipe_from_dict(content["recipe"], str(path))
        checkpoint = Checkpoint(**content)
    except TrainingError:
        raise
    except Exception as error:  # torch.load raises whatever pickle and zip do
        raise TrainingError(f"{path}: not a checkpoint ({type(error).__name__})", "Name a .pt file of a training run") from error
    checkpoint.ema = {name: value.float() if value.is_floating_point() else value for name, value in checkpoint.ema.items()}
    checkpoint.weights = checkpoint.weights or checkpoint.ema
    return checkpoint


def transferred(fresh: dict[str, Tensor], start: Checkpoint, recipe: Recipe, where: str) -> dict[str, Tensor]:
    """`fresh` weights of `recipe`'s net, replaced by those of `start` where name and shape are the same.

    The rows of the class head are matched by class name: a class that `start` does not have keeps its random row.
    Raises TrainingError, which names `where`, when the backbones differ, since nothing useful could be transferred.
    """
    old, new = start.averaged(), dict(fresh)
    same = {name for name, value in fresh.items() if name in old and old[name].shape == value.shape}
    if any(name not in same and not name.startswith(("heads.", EVIDENCE)) for name in fresh):
        raise TrainingError(f"{where}: its net differs from that of recipe {recipe.name}", _same_net(start.recipe, recipe))
    new.update({name: old[name].clone() for name in same if not name.startswith(CLASS_LAYERS)})
    for name in (name for name in fresh if name.startswith(CLASS_LAYERS)):
        new[name] = matched_rows(fresh[name], recipe.classes, old[name], start.recipe.classes)
    return new


def _same_net(old: Recipe, new: Recipe) -> str:
    """The options that make the new net like the old one."""
    shapes = {key: getattr(old.net, key) for key in SHAPES if getattr(old.net, key) != getattr(new.net, key)}
    texts = {key: f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value) for key, value in shapes.items()}
    same = " ".join(f"--set {shlex.quote(f'net.{key}={text}')}" for key, text in texts.items())  # zsh takes brackets for patterns
    return f"Add {same}, or leave out --from" if same else "Leave out --from"


def matched_rows(fresh: Tensor, names: Sequence[str], old: Tensor, old_names: Sequence[str]) -> Tensor:
    """`fresh` (classes, ...) with the row of each class that `old` has too. A new tensor."""
    matched = fresh.clone()
    for row, name in enumerate(names):
        if name in old_names:
            matched[row] = old[old_names.index(name)]
    return matched


class RunFolder:
    """The folder of a run.

    last: the newest checkpoint, which `resume` reads and which is exported at the end. best: the highest score on held-out images
    if there are any, flattered by that choice. curve: rows of step, loss, loss on held-out images, learning rate
    and mIoU of each set, one per evaluation. picture: the same, drawn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best = path / "last.pt", path / "best.pt"
        self.curve, self.picture = path / "curve.csv", path / "curve.png"

    def create(self) -> None:
        """Make the folder. Raises TrainingError when it contains a run already, or cannot be made."""
        if self.last.exists():
            cure = "Add --resume to continue it, or name another folder with --out"
            raise TrainingError(f"{self.path}: contains a run already", cure)
        make_folder(self.path)

    def write_curve(self, curve: Sequence[dict[str, float]]) -> None:
        """Write the table and the picture, each whole."""
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, curve[-1].keys())
        writer.writeheader()
        writer.writerows(curve)
        write_whole(self.curve, table.getvalue())
        with whole_file(self.picture) as part:
            draw_curve(curve, part)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises TrainingError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be made ({error.strerror})", "Name another folder with --out") from error


def draw_curve(curve: Sequence[dict[str, float]], path: Path) -> None:
    """Losses above, mIoU below, over the steps, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    steps = [row["step"] for row in curve]
    marker = "o" if len(curve) < 30 else None
    for axes, names in ((losses, ["loss", "held_out_loss"]), (scores, [name for name in curve[-1] if name.startswith("miou_")])):
        for name in names:
            if name in curve[-1]:
                axes.plot(steps, [row[name] for row in curve], marker=marker, markersize=3, label=name.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    losses.set_ylabel("loss")
    scores.set_ylabel("mIoU on held-out images, %")
    scores.set_xlabel("step")
    figure.savefig(path, dpi=110)
