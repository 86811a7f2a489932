"""The training loop, from top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

import msgspec
import torch
from torch import Tensor, nn
from tqdm import tqdm

from engines.datasets.folder import DataSet
from engines.training import TrainingError
from engines.training.checkpoint import Checkpoint, RunFolder, load_checkpoint, new_net, save_checkpoint, started
from engines.training.data import Batch, TrainingSets, batches
from engines.training.deployed import score_set, torch_predictor
from engines.training.devices import check_memory, free_bytes, half_type
from engines.training.export import check_card
from engines.training.losses import SetLoss, class_weights, held_out_loss, instance_loss, merged_loss, set_loss, surface_loss
from engines.training.model import Net, normalised, upsampled
from engines.training.recipe import Recipe, difference, for_export

log = logging.getLogger(__name__)

LOSS_STRIDE = 2
"""The loss uses every second pixel of every second row, at a phase that changes with the step: as good, and a third faster."""
SAVE_EVERY_S = 120.0
"""Time between saves, besides those at evaluations: the most that a power cut can cost."""
LOSS_MEMORY = 0.98
"""Decay of the running mean of the loss, over about fifty steps."""

CPU = torch.device("cpu")

NEVER = nullcontext(lambda: False)
"""No requests to stop."""


def train(
    recipe: Recipe,
    sets: Sequence[DataSet],
    folder: Path,
    resume: bool = False,
    start_from: Path | None = None,
    device: torch.device = CPU,
    *,
    half: torch.dtype | None = None,
    save_every_s: float = SAVE_EVERY_S,
    stop_requests: AbstractContextManager[Callable[[], bool]] = NEVER,
) -> Checkpoint:
    """Train `recipe` on `sets` and write last.pt, best.pt, curve.csv and curve.png into `folder`. Returns the last checkpoint.

    start_from: a new run starts with this checkpoint's averaged weights where the nets agree, instead of random ones.
    half: the type of mixed precision; by default the one that `device` computes natively.

    stop_requests: entered while there are steps to save; says whether the run is to end. It then ends after the current step,
    which is saved; with `resume` it continues on the same curve as a run without interruption.

    Raises TrainingError when there is no run to resume, when the recipe differs from that of the run, when a new run would
    overwrite an old one, or when there is too little memory.
    """
    run, data = RunFolder(folder), TrainingSets(recipe, tuple(sets))
    data.check()
    check_card(recipe)
    state = _interrupted(run, recipe) if resume else _fresh(run, recipe, start_from)
    net = new_net(recipe).to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster than channels first, on CPUs too
    net.load_state_dict(state.weights)
    check_memory(net, recipe, free_bytes(device))
    state.ema = {name: value.to(device) for name, value in state.ema.items()}
    stepper = Stepper(net, recipe, [set_loss(s.settings, s.pixel_shares(), recipe) for s in sets], half)
    state.class_weights = class_weights(data, stepper.losses)
    if state.optimizer:
        stepper.optimizer.load_state_dict(state.optimizer)
    if state.scaler:
        stepper.scaler.load_state_dict(state.scaler)

    steps = recipe.schedule.steps
    bar: tqdm[NoReturn] = tqdm(total=steps, initial=state.step, unit="step", dynamic_ncols=True, disable=None)
    saved_s = time.monotonic()
    with stop_requests as stop_requested, bar:
        for batch in batches(state.step, data):
            loss = stepper(batch, state.step)
            state.loss = loss if state.step == 0 else LOSS_MEMORY * state.loss + (1 - LOSS_MEMORY) * loss
            state.step += 1
            state.average(net)
            bar.set_postfix(loss=f"{state.loss:.3f}", refresh=False)
            bar.update()

            stops = stop_requested()
            evaluates = state.step % recipe.schedule.evaluate_every == 0 or state.step == steps
            if evaluates or stops or time.monotonic() - saved_s > save_every_s:
                state.weights, state.optimizer = net.state_dict(), stepper.optimizer.state_dict()
                state.scaler = stepper.scaler.state_dict()
                if evaluates:
                    _evaluate(state, data, stepper.losses, run, bar)
                save_checkpoint(run.last, state)
                saved_s = time.monotonic()
                log.info("%s: saved after step %d of %d", run.last, state.step, steps)
            if stops:
                break
    return state


class Stepper:
    """Optimiser steps: forward, losses of all tasks, backward, update."""

    def __init__(self, net: Net, recipe: Recipe, losses: Sequence[SetLoss], half: torch.dtype | None = None) -> None:
        self.net, self.recipe, self.device = net, recipe, next(net.parameters()).device
        self.losses = [SetLoss(*(part.to(self.device) for part in loss)) for loss in losses]
        self.optimizer = make_optimizer(net, recipe)
        self._half = half or half_type(self.device) if recipe.schedule.mixed_precision else None
        # Only fp16 needs it: its small gradients become 0 otherwise.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._half is torch.float16)

    def __call__(self, batch: Batch, step: int) -> float:
        """Learn from one batch. Returns the loss before it. Raises TrainingError when that is not finite."""
        schedule = self.recipe.schedule
        torch.manual_seed(schedule.seed * 1_000_003 + step)  # of dropout: the same for this step in a resumed run
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.recipe) * group.get("rate", 1.0)
        self.net.train()
        try:
            value = self._learn(batch, step)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"step {step}: out of GPU memory", "Lower schedule.batch or augmentation.crop_px") from error
        if not math.isfinite(value):
            cure = "Lower schedule.learning_rate, or set schedule.mixed_precision = false"
            raise TrainingError(f"step {step}: the loss is {value}", cure)
        return value

    def _learn(self, batch: Batch, step: int) -> float:
        images = normalised(torch.from_numpy(batch.images).to(self.device)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self._half, enabled=self._half is not None):
            maps = self.net(images)
        # In float32: the 8 bits of bf16 are too few for the logarithm of a small probability.
        loss = self._loss({name: value.float() for name, value in maps.items()}, batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.schedule.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return float(loss.detach())

    def _loss(self, maps: dict[str, Tensor], batch: Batch, step: int) -> Tensor:
        row, column = step % LOSS_STRIDE, step // LOSS_STRIDE % LOSS_STRIDE
        thinned = (slice(None), slice(row, None, LOSS_STRIDE), slice(column, None, LOSS_STRIDE))
        labels = torch.from_numpy(batch.labels).to(self.device)[thinned]
        loss = merged_loss(upsampled(maps["semantic"], self.net.semantic_step // LOSS_STRIDE), labels, batch.sets, self.losses)
        weights = self.recipe.task_weights
        if batch.surface is not None:
            surface = torch.from_numpy(batch.surface).to(self.device)[thinned]
            loss = loss + weights.surface * surface_loss(upsampled(maps["surface"], 4 // LOSS_STRIDE), surface)
        if batch.instances is not None:
            centre, offset = instance_loss(maps["instances"], torch.from_numpy(batch.instances).to(self.device))
            loss = loss + weights.centre * centre + weights.offset * offset
        if self.recipe.schedule.l1:
            loss = loss + self.recipe.schedule.l1 * sum(p.abs().sum() for p in self.net.parameters() if p.ndim > 1)
        return loss


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then polynomial decay to 0 at the schedule's end."""
    schedule = recipe.schedule
    warm_up = min(1.0, (step + 1) / max(1, schedule.warm_up_steps))
    decay: float = (1 - step / schedule.steps) ** schedule.poly_power
    return schedule.learning_rate * warm_up * decay


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with weight decay on convolution weights, and none on norms and biases (all vectors); the encoder at its own rate."""
    schedule, groups = recipe.schedule, []
    named = {name: p for name, p in net.named_parameters() if p.requires_grad}
    slow = {name for name in named if name.startswith("encoder.")} if schedule.encoder_rate != 1 else set()
    for rate, names in ((1.0, named.keys() - slow), (schedule.encoder_rate, slow)):
        own = [p for name, p in named.items() if name in names]
        if own:
            groups.append({"params": [p for p in own if p.ndim > 1], "weight_decay": schedule.weight_decay, "rate": rate})
            groups.append({"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, "rate": rate})
    return torch.optim.AdamW(groups, lr=recipe.schedule.learning_rate)


def _evaluate(state: Checkpoint, data: TrainingSets, losses: Sequence[SetLoss], run: RunFolder, bar: tqdm[NoReturn]) -> None:
    """Score the averaged net on held-out images, extend the curve, and save the checkpoint as the best if it is.

    Without held-out images there is no score and no best checkpoint.
    """
    net, recipe = state.net().to(next(iter(state.ema.values())).device), state.recipe
    predict = torch_predictor(net, recipe.output)
    row = {"step": state.step, "loss": round(state.loss, 5), "learning_rate": learning_rate(state.step - 1, recipe)}
    scores = [score_set(predict, s, recipe) for s in data.sets if s.held_out]
    is_best = False
    if scores:
        mean = sum(score.miou for score in scores) / len(scores)
        is_best = all(mean > earlier["miou"] for earlier in state.curve)
        row |= {"held_out_loss": round(held_out_loss(net, data, losses), 5), "miou": round(mean, 3)}
        row |= {f"miou_{score.name}": round(score.miou, 3) for score in scores}
    state.curve.append(row)
    bar.write("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
    if is_best:
        save_checkpoint(run.best, state)
    run.write_curve(state.curve)


def _fresh(run: RunFolder, recipe: Recipe, start_from: Path | None) -> Checkpoint:
    torch.manual_seed(recipe.schedule.seed)
    weights = new_net(recipe).state_dict() if start_from is None else started(recipe, start_from)
    run.create()
    kept = {name: value.clone() for name, value in weights.items() if name.startswith("encoder.") and value.is_floating_point()}
    start = kept if recipe.schedule.keep else {}
    return Checkpoint(recipe, 0, weights, {name: value.clone() for name, value in weights.items()}, start=start)


def _interrupted(run: RunFolder, recipe: Recipe) -> Checkpoint:
    if not run.last.is_file():
        cure = "Leave out --resume to start a new run, or name the folder of the run with --out"
        raise TrainingError(f"{run.last}: no such checkpoint, so there is no run to resume", cure)
    state = load_checkpoint(run.last)
    # Settings that only the export uses may change, and the run's length; settings that the net learns by may not.
    schedule = msgspec.structs.replace(state.recipe.schedule, steps=recipe.schedule.steps)
    then = msgspec.structs.replace(for_export(state.recipe, recipe), schedule=schedule, name=recipe.name)
    if then != recipe:
        cure = "Restore that setting, or start a new run with another --out"
        raise TrainingError(f"{run.last}: was trained with {difference(then, recipe)}", cure)
    if recipe.schedule.steps < state.step:
        what = f"{run.last}: has {state.step} steps already, and schedule.steps is {recipe.schedule.steps}"
        raise TrainingError(what, "Set schedule.steps to more")
    state.recipe = recipe
    return state
