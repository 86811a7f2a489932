"""The training loop, read from top to bottom."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
import torch
from torch import Tensor, nn
from tqdm import tqdm

from engines.datasets.folder import DataSet
from engines.training.cards import check_card
from engines.training.checkpoint import Checkpoint, load_checkpoint, new_net, save_checkpoint
from engines.training.data import Batch, TrainingSets, batches
from engines.training.deployed import torch_predictor
from engines.training.devices import check_memory, half_type
from engines.training.errors import TrainingError
from engines.training.evaluate import score_set
from engines.training.held_out import held_out_loss
from engines.training.losses import SetLoss, merged_loss, set_loss
from engines.training.model import SegmentationNet, normalised, upsampled
from engines.training.rebalance import class_weights
from engines.training.recipe import Recipe, for_export
from engines.training.run_folder import RunFolder
from engines.training.task_losses import instance_loss, surface_loss
from engines.training.transfer import transferred
from engines.training.wording import difference

LOSS_STRIDE = 2
"""The loss looks at every second pixel of every second row, the phase changing with the step: as good, and a third faster."""
SAVE_EVERY_S = 120.0
"""Between two evaluations the run is saved so often: what a power cut takes at the most."""
LOSS_MEMORY = 0.98
"""Decay of the running mean of the loss: it looks back about fifty steps."""

CPU = torch.device("cpu")


def train(
    recipe: Recipe,
    sets: Sequence[DataSet],
    folder: Path,
    resume: bool = False,
    start_from: Path | None = None,
    device: torch.device = CPU,
) -> Checkpoint:
    """Train `recipe` on `sets` and leave last.pt, best.pt, curve.csv and curve.png in `folder`. Returns the last checkpoint.

    start_from: a fresh run begins with this checkpoint's averaged weights where the nets agree, instead of random ones.

    Ctrl-C or SIGTERM ends the run after the step under way and saves it; with `resume` it goes on from there, along the very
    curve of a run that was never interrupted. Raises TrainingError when there is nothing to resume, when the recipe is not
    the one that was interrupted, when a fresh run would overwrite an older one, or when the memory is too small.
    """
    run, data = RunFolder(folder), TrainingSets(recipe, tuple(sets))
    data.check()
    check_card(recipe)
    state = _interrupted(run, recipe) if resume else _fresh(run, recipe, start_from)
    net = new_net(recipe).to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster than channels first, on CPUs too
    net.load_state_dict(state.weights)
    check_memory(net, recipe, device)
    state.ema = {name: value.to(device) for name, value in state.ema.items()}
    stepper = _Stepper(net, recipe, [set_loss(s.settings, s.pixel_shares(), recipe) for s in sets], device)
    state.class_weights = class_weights(data, stepper.losses)
    if state.optimizer:
        stepper.optimizer.load_state_dict(state.optimizer)
    if state.scaler:
        stepper.scaler.load_state_dict(state.scaler)

    bar: tqdm[NoReturn] = tqdm(total=recipe.schedule.steps, initial=state.step, unit="step", dynamic_ncols=True)
    saved_s = time.monotonic()
    with _stop_requests() as stop_requested, bar:
        for batch in batches(state.step, data):
            loss = stepper(batch, state.step)
            state.loss = loss if state.step == 0 else LOSS_MEMORY * state.loss + (1 - LOSS_MEMORY) * loss
            state.step += 1
            _average(state.ema, net, state.step, recipe.schedule.ema)
            bar.set_postfix(loss=f"{state.loss:.3f}", refresh=False)
            bar.update()

            stops = stop_requested()
            evaluates = state.step % recipe.schedule.evaluate_every == 0 or state.step == recipe.schedule.steps
            if evaluates or stops or time.monotonic() - saved_s > SAVE_EVERY_S:
                state.weights, state.optimizer = net.state_dict(), stepper.optimizer.state_dict()
                state.scaler = stepper.scaler.state_dict()
                if evaluates:
                    _evaluate(state, data, stepper.losses, run, bar)
                save_checkpoint(run.last, state)
                saved_s = time.monotonic()
            if stops:
                bar.write(f"stopped after step {state.step}; go on with --resume")
                break
    return state


class _Stepper:
    """One optimiser step after another: forward, loss of every task, backward, and the weights moved."""

    def __init__(self, net: SegmentationNet, recipe: Recipe, losses: Sequence[SetLoss], device: torch.device) -> None:
        self.net, self.recipe, self.device = net, recipe, device
        self.losses = [loss.to(device) for loss in losses]
        self.optimizer = make_optimizer(net, recipe)
        self._half = half_type(device) if recipe.schedule.mixed_precision else None
        # fp16 alone needs it: its smallest gradients are 0 otherwise.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._half is torch.float16)

    def __call__(self, batch: Batch, step: int) -> float:
        """Learn from one batch. Returns the loss before. Raises TrainingError when it is no number."""
        schedule = self.recipe.schedule
        torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout: the same for this step, interrupted before or not
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.recipe)
        self.net.train()
        try:
            value = self._learn(batch, step)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"step {step}: the GPU's memory is too small; lower schedule.batch or crop_px") from error
        if not math.isfinite(value):
            raise TrainingError(
                f"step {step}: the loss is {value}; lower schedule.learning_rate, or set schedule.mixed_precision = false"
            )
        return value

    def _learn(self, batch: Batch, step: int) -> float:
        images = normalised(torch.from_numpy(batch.images).to(self.device)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self._half, enabled=self._half is not None):
            maps = self.net(images)
        # In float32: bf16 has 8 bits of mantissa, too few for the logarithm of a small probability.
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
        loss = merged_loss(upsampled(maps["semantic"], 4 // LOSS_STRIDE), labels, batch.sets, self.losses)
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


def _evaluate(state: Checkpoint, data: TrainingSets, losses: Sequence[SetLoss], run: RunFolder, bar: tqdm[NoReturn]) -> None:
    """Score the averaged net on what is held out, extend the curve, and keep the checkpoint if it is the best so far.

    Where nothing is held out there is no score, and so no best.
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
    weights = new_net(recipe).state_dict()
    if start_from is not None:
        start = load_checkpoint(start_from)
        try:
            weights = transferred(weights, start, recipe)
        except TrainingError as error:
            raise TrainingError(f"{start_from}: {error}") from error
    run.create()
    return Checkpoint(recipe, 0, weights, {name: value.clone() for name, value in weights.items()})


def _interrupted(run: RunFolder, recipe: Recipe) -> Checkpoint:
    if not run.last.is_file():
        raise TrainingError(
            f"{run.last}: no such checkpoint, so there is no run to go on with; leave out --resume, or name its --out"
        )
    state = load_checkpoint(run.last)
    # What only the export looks at may change while a run is under way, and when it ends; what the net learns by may not.
    schedule = msgspec.structs.replace(state.recipe.schedule, steps=recipe.schedule.steps)
    then = msgspec.structs.replace(for_export(state.recipe, recipe), schedule=schedule, name=recipe.name)
    if then != recipe:
        raise TrainingError(
            f"{run.last}: was trained with {difference(then, recipe)}; restore that, or start afresh with another --out"
        )
    if recipe.schedule.steps < state.step:
        raise TrainingError(
            f"{run.last}: has done {state.step} steps, and schedule.steps is {recipe.schedule.steps}; ask for more"
        )
    state.recipe = recipe
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
