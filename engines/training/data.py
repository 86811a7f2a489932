"""Labelled images to batches: each batch is a function of its number.

Batch 1234 is always the same. So an interrupted run continues as if it had not been interrupted, and the thread that prepares
batches ahead needs no state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, DataSet, Sample
from engines.evaluation.mapping import merge_matrix
from engines.training import TrainingError
from engines.training.augment import augment, paste
from engines.training.instance_targets import instance_targets
from engines.training.recipe import Recipe
from engines.types import F32, F64, U8, VOID_CLASS, Bools

PREFETCH = 3
"""Batches prepared ahead: enough to cover a slow one, and little memory."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N crops of h x w pixels with their labels.

    images:    (N, h, w, 3) uint8 BGR.
    labels:    (N, h, w) uint8 in each set's own classes, 255 void. sets: (N,) index of the set.
    surface:   (N, h, w) uint8, 0 nothing, 1 drivable, 2 lane line, 255 unknown; None without that head.
    instances: (N, 5, h / 4, w / 4) float32: heat, dx, dy, is the heat known, are the offsets known; None without that head.
    """

    images: U8
    labels: U8
    sets: tuple[int, ...]
    surface: U8 | None = None
    instances: F32 | None = None


@dataclass(frozen=True)
class TrainingSets:
    """All sets of a run, and their classes as the recipe uses them."""

    recipe: Recipe
    sets: tuple[DataSet, ...]

    @cached_property
    def shares(self) -> F64:
        """(sets,) float64: the share of crops from each set; sums to 1."""
        shares = np.array([data_set.settings.share for data_set in self.sets], np.float64)
        return shares / shares.sum()

    @cached_property
    def things(self) -> tuple[Bools, ...]:
        """Per set a (256,) bool look-up: is this id of its labels a countable class of the model?"""
        return tuple(self._ids_of(data_set, self.recipe.things) for data_set in self.sets)

    def check(self) -> None:
        """Raise TrainingError when the sets lack the recipe's objects to paste."""
        if self.recipe.composites is not None and not self.pasted_ids[self.donor].any():
            name, cls = self.recipe.composites.source, self.recipe.composites.cls
            what = f'set "{name}" has no class that means "{cls}" alone, so nothing can be cut out'
            raise TrainingError(what, "Correct `source` or `class` under [composites]")

    @cached_property
    def donor(self) -> int:
        """Index of the set to cut composites from. Raises TrainingError when it is missing."""
        assert self.recipe.composites is not None, "only used where the recipe has composites"
        name, names = self.recipe.composites.source, [data_set.settings.name for data_set in self.sets]
        if name not in names:
            raise TrainingError(f'recipe "{self.recipe.name}" pastes objects of the set "{name}"', f"Add --data PATH/{name}")
        return names.index(name)

    @cached_property
    def pasted_ids(self) -> tuple[Bools, ...]:
        """Per set a (256,) bool look-up: does this id mean the class that composites paste, and nothing else?"""
        assert self.recipe.composites is not None, "only used where the recipe has composites"
        return tuple(self._ids_of(data_set, (self.recipe.composites.cls,), only=True) for data_set in self.sets)

    def _ids_of(self, data_set: DataSet, names: Sequence[str], only: bool = False) -> Bools:
        merge = merge_matrix(data_set.settings, self.recipe.classes) > 0
        wanted = np.array([name in names for name in self.recipe.classes])
        table = np.zeros(256, bool)
        table[: len(merge)] = (merge & wanted).any(axis=1) & (~(merge & ~wanted).any(axis=1) if only else True)
        return table


def batch_at(step: int, data: TrainingSets) -> Batch:
    """The batch of this step: always the same for the same step, recipe and data."""
    recipe, crops, origins = data.recipe, [], []
    for slot in range(recipe.schedule.batch):
        rng = np.random.default_rng((recipe.schedule.seed, step, slot))
        origin = int(rng.choice(len(data.sets), p=data.shares))
        crops.append(_crop(data, origin, rng))
        origins.append(origin)
    images, labels = np.stack([crop.image for crop in crops]), np.stack([crop.label for crop in crops])
    surface = np.stack([_surface(crop) for crop in crops]) if "surface" in recipe.heads else None
    targets = None
    if "instances" in recipe.heads:
        targets = np.stack([_targets(crop, data.things[origin]) for crop, origin in zip(crops, origins, strict=True)])
    return Batch(images, labels, tuple(origins), surface, targets)


def _crop(data: TrainingSets, origin: int, rng: np.random.Generator) -> Sample:
    """A crop of a random image of set `origin`, with the recipe's composites."""
    recipe = data.recipe
    crop = augment(_drawn(data.sets[origin], rng), recipe.input, recipe.augmentation, rng)
    composites = recipe.composites
    if composites is None or rng.random() >= composites.share:
        return crop
    into = np.flatnonzero(data.pasted_ids[origin])
    if not len(into):
        return crop  # this set has no class for the pasted objects
    settings = composites.augmentation(recipe.augmentation)
    for _ in range(int(rng.integers(1, composites.most + 1))):
        donor = augment(_drawn(data.sets[data.donor], rng), recipe.input, settings, rng)
        crop = paste(crop, donor, data.pasted_ids[data.donor], int(into[0]))
    return crop


def _drawn(data_set: DataSet, rng: np.random.Generator) -> Sample:
    return data_set.training[int(rng.integers(len(data_set.training)))]


def _surface(crop: Sample) -> U8:
    """(h, w) uint8 surface classes from the bits: a lane line is drivable too, and counts as a lane line."""
    if crop.surface is None:
        return np.full(crop.label.shape, VOID_CLASS, np.uint8)
    surface = np.where(crop.surface & LANE_BIT, np.uint8(2), np.where(crop.surface & DRIVABLE_BIT, np.uint8(1), np.uint8(0)))
    return np.asarray(np.where(crop.label == VOID_CLASS, VOID_CLASS, surface), np.uint8)


def _targets(crop: Sample, things: Bools) -> F32:
    targets = instance_targets(crop.instances, things[crop.label])
    parts = (targets.heat[None], targets.offsets, targets.is_sure[None], targets.is_object[None])
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def batches(first_step: int, data: TrainingSets) -> Iterator[Batch]:
    """Batches from `first_step` to the schedule's end. One thread prepares the next ones."""
    steps = data.recipe.schedule.steps
    with ThreadPoolExecutor(1, "augment") as thread:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(first_step, steps + PREFETCH):
                if step < steps:
                    waiting.append(thread.submit(batch_at, step, data))
                if step >= first_step + PREFETCH and waiting:
                    yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)
