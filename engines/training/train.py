"""The training loop, read from top to bottom."""

from __future__ import annotations

import csv
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
import torch
from torch import Tensor, nn
from tqdm import tqdm

from engines.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engines.training.data import Batch, DataSet, batches
from engines.training.deployed import torch_predictor
from engines.training.errors import TrainingError
from engines.training.evaluate import score_set
from engines.training.losses import SetLoss, merged_loss, set_loss
from engines.training.model import RoadNet, normalised, upsampled
from engines.training.recipe import Recipe

LOSS_STRIDE = 2
"""The loss looks at every second pixel of every second row, the phase changing with the step: as good, and a third faster."""
LOSS_MEMORY = 0.98
"""Decay of the running mean of the loss: it looks back about fifty steps."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run leaves its files."""

    path: Path

    @property
    def last(self) -> Path:
        """The newest checkpoint: what `resume` reads and, at the end of the schedule, what to export."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint that scored highest on the held-out images; its score is flattered by having been chosen for it."""
        return self.path / "best.pt"

    @property
    def curve(self) -> Path:
        """One row per evaluation: step, loss, learning rate, mIoU of each set."""
        return self.path / "curve.csv"


def train(
    recipe: Recipe, sets: Sequence[DataSet], folder: Path, resume: bool = False, start_from: Path | None = None
) -> Checkpoint:
    """Train `recipe` on `sets` and leave last.pt, best.pt and curve.csv in `folder`. Returns the last checkpoint.

    start_from: a fresh run begins with this checkpoint's averaged weights instead of random ones (same classes, same net).

    Ctrl-C or SIGTERM ends the run after the step under way and saves it; with `resume` it goes on from there, along the very
    curve of a run that was never interrupted. Raises TrainingError when there is nothing to resume, when the recipe is not
    the one that was interrupted, or when a fresh run would overwrite an older one.
    """
    run = RunFolder(folder)
    state = _interrupted(run, recipe) if resume else _fresh(run, recipe, start_from)
    net = RoadNet(recipe.net, len(recipe.classes))
    net.load_state_dict(state.weights)
    optimizer = make_optimizer(net, recipe)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    losses = [set_loss(data_set.settings, data_set.pixel_shares(), recipe) for data_set in sets]

    bar: tqdm[NoReturn] = tqdm(total=recipe.schedule.steps, initial=state.step, unit="step", dynamic_ncols=True)
    with _stop_requests() as stop_requested, bar:
        for batch in batches(state.step, sets, recipe):
            loss = _step(net, optimizer, batch, losses, state.step, recipe)
            state.loss = loss if state.step == 0 else LOSS_MEMORY * state.loss + (1 - LOSS_MEMORY) * loss
            state.step += 1
            _average(state.ema, net, state.step, recipe.schedule.ema)
            bar.set_postfix(loss=f"{state.loss:.3f}", refresh=False)
            bar.update()

            stops = stop_requested()
            evaluates = state.step % recipe.schedule.evaluate_every == 0 or state.step == recipe.schedule.steps
            if evaluates or stops:
                state.weights, state.optimizer = net.state_dict(), optimizer.state_dict()
                if evaluates:
                    _evaluate(state, sets, run, bar)
                save_checkpoint(run.last, state)
            if stops:
                bar.write(f"stopped after step {state.step}; go on with --resume")
                break
    return state


def _step(
    net: RoadNet, optimizer: torch.optim.Optimizer, batch: Batch, losses: Sequence[SetLoss], step: int, recipe: Recipe
) -> float:
    """One batch forward, backward, and the weights moved. Returns the loss. Raises TrainingError when it is no number."""
    torch.manual_seed(recipe.schedule.seed * 1_000_003 + step)  # dropout: the same for this step, interrupted before or not
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, recipe)
    net.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.schedule.bf16):
        logits = net(normalised(torch.from_numpy(batch.images)).contiguous())
    row, column = step % LOSS_STRIDE, step // LOSS_STRIDE % LOSS_STRIDE
    labels = torch.from_numpy(batch.labels)[:, row::LOSS_STRIDE, column::LOSS_STRIDE]
    # In float32: bf16 has 8 bits of mantissa, too few for the logarithm of a small probability.
    loss = merged_loss(upsampled(logits.float(), 4 // LOSS_STRIDE), labels, batch.sets, losses)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(net.parameters(), recipe.schedule.gradient_clip)
    optimizer.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"step {step}: the loss is {value}; lower schedule.learning_rate, or set schedule.bf16 = false")
    return value


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then polynomial decay to 0 at the schedule's end."""
    schedule = recipe.schedule
    warm_up = min(1.0, (step + 1) / max(1, schedule.warm_up_steps))
    decay: float = (1 - step / schedule.steps) ** schedule.poly_power
    return schedule.learning_rate * warm_up * decay


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays convolution weights and leaves norms and biases (all vectors) alone."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.schedule.learning_rate)


def _average(ema: dict[str, Tensor], net: nn.Module, step: int, decay: float) -> None:
    """Move `ema` towards the net's weights and norm statistics; early on it follows faster, as there is little to average."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, value in net.state_dict().items():  # detached from the graph
        if value.is_floating_point():
            ema[name].lerp_(value, 1 - decay)
        else:
            ema[name].copy_(value)


def _evaluate(state: Checkpoint, sets: Sequence[DataSet], run: RunFolder, bar: tqdm[NoReturn]) -> None:
    """Score the averaged net on what is held out, extend the curve, and keep the checkpoint if it is the best so far."""
    predict, recipe = torch_predictor(state.net()), state.recipe
    scores = [score_set(predict, data_set, recipe.classes, recipe.input_px) for data_set in sets if data_set.held_out]
    miou = {f"miou_{score.name}": round(score.miou, 3) for score in scores}
    mean = sum(score.miou for score in scores) / max(1, len(scores))
    is_best = all(mean > row["miou"] for row in state.curve)
    rate = learning_rate(state.step - 1, recipe)
    state.curve.append({"step": state.step, "loss": round(state.loss, 5), "learning_rate": rate, "miou": round(mean, 3), **miou})
    bar.write("  ".join(f"{name} {value:.6g}" for name, value in state.curve[-1].items()))
    if is_best:
        save_checkpoint(run.best, state)
    part = run.curve.with_suffix(".csv.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, state.curve[-1].keys())
        writer.writeheader()
        writer.writerows(state.curve)
    part.replace(run.curve)


def _fresh(run: RunFolder, recipe: Recipe, start_from: Path | None) -> Checkpoint:
    if run.last.exists():
        raise TrainingError(f"{run.path}: holds a run already; add --resume to go on with it, or name another folder with --out")
    torch.manual_seed(recipe.schedule.seed)
    weights = RoadNet(recipe.net, len(recipe.classes)).state_dict()
    if start_from is not None:
        start = load_checkpoint(start_from)
        if (start.recipe.classes, start.recipe.net) != (recipe.classes, recipe.net):
            raise TrainingError(f"{start_from}: has other classes or another net than recipe {recipe.name}; start without it")
        weights = start.ema
    run.path.mkdir(parents=True, exist_ok=True)
    return Checkpoint(recipe, 0, weights, {name: value.clone() for name, value in weights.items()})


def _interrupted(run: RunFolder, recipe: Recipe) -> Checkpoint:
    state = load_checkpoint(run.last)
    # What the card will say may change while a run is under way; what the net learns may not.
    if msgspec.structs.replace(state.recipe, card={}) != msgspec.structs.replace(recipe, card={}):
        raise TrainingError(f"{run.last}: was trained with another recipe; restore that one, or start afresh with another --out")
    return state


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """While open, Ctrl-C and SIGTERM only raise a flag, so that the step under way is finished and saved."""
    requested = False

    def request(signal_number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
