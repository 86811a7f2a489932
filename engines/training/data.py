"""Labelled images to batches, and the targets of the head `instances`: each batch is a function of its number.

Batch 1234 is always the same. So an interrupted run continues as if it had not been interrupted, and the thread that prepares
batches ahead needs no state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np

from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, UNSURE_OBJECT, DataSet, Sample
from engines.evaluation.mapping import merge_matrix
from engines.training import TrainingError
from engines.training.augment import augment, paste
from engines.training.recipe import Composites, Recipe
from engines.types import F32, F64, U8, VOID_CLASS, Bools

PREFETCH = 3
"""Batches prepared ahead: enough to cover a slow one, and little memory."""
CELL_PX = 4
"""The heads' maps are a quarter of the input's size."""
OFFSET_SCALE_PX = 32.0
"""Offsets are learned in this unit, so that they are about 1."""
SIGMA_SHARE, SIGMA_CELLS = 0.12, (0.7, 6.0)
"""Spread of the heat as a share of the object's mean side, and its bounds: a lorry's centre is vaguer than a child's."""


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


class Donor(NamedTuple):
    """What composites are cut out of.

    origin: the index of the set. ids: per set a (256,) bool look-up: does this id mean the pasted class, and nothing else?
    """

    settings: Composites
    origin: int
    ids: tuple[Bools, ...]


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
        for key, donor in self.donors.items():
            if not donor.ids[donor.origin].any():
                pasted = donor.settings
                what = f'set "{pasted.source}" has no class that means "{pasted.cls}" alone, so nothing can be cut out'
                raise TrainingError(what, f"Correct `source` or `class` under [{key}]")

    @cached_property
    def donors(self) -> dict[str, Donor]:
        """What is cut out of which set, by the table of the recipe. Raises TrainingError when the set is missing."""
        names = [data_set.settings.name for data_set in self.sets]
        found = {}
        for key, pasted in self.recipe.pasted.items():
            if pasted.source not in names:
                what = f'recipe "{self.recipe.name}" pastes objects of the set "{pasted.source}"'
                raise TrainingError(what, f"Add --data PATH/{pasted.source}")
            ids = tuple(self._ids_of(data_set, (pasted.cls,), only=True) for data_set in self.sets)
            found[key] = Donor(pasted, names.index(pasted.source), ids)
        return found

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
    factor, (low, high) = data.sets[origin].settings.scale, recipe.augmentation.scale
    augmentation = msgspec.structs.replace(recipe.augmentation, scale=(factor * low, factor * high))
    crop = augment(_drawn(data.sets[origin], rng), recipe.input, augmentation, rng)
    for pasted, source, ids in data.donors.values():
        if rng.random() >= pasted.share:
            continue
        into = np.flatnonzero(ids[origin])
        if not len(into):
            continue  # this set has no class for the pasted objects
        settings = msgspec.structs.replace(recipe.augmentation, scale=pasted.scale)
        for _ in range(int(rng.integers(1, pasted.most + 1))):
            donor = augment(_drawn(data.sets[source], rng), recipe.input, settings, rng)
            crop = paste(crop, donor, ids[source], int(into[0]))
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
    is_thing = things[crop.label]
    is_empty = not is_thing.any() and bool((crop.label != VOID_CLASS).all())
    targets = instance_targets(crop.instances, is_thing, is_empty=is_empty)
    return np.stack((targets.heat, *targets.offsets, targets.is_sure, targets.is_object)).astype(np.float32)


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


class InstanceTargets(NamedTuple):
    """Targets of the head `instances`: a heat map of objects' centres, and offsets from an object's cells to its centre.

    heat: (h, w) float32 0..1, 1 exactly at a centre's cell. offsets: (2, h, w) float32 in units of OFFSET_SCALE_PX.
    is_sure: (h, w) bool, where the heat is known. is_object: (h, w) bool, where the offsets are. All at a quarter of the size.
    """

    heat: F32
    offsets: F32
    is_sure: Bools
    is_object: Bools


def instance_targets(instances: U8 | None, is_thing: Bools, *, is_empty: bool = False) -> InstanceTargets:
    """Targets of one crop. instances: (H, W) uint8 object ids, None if not labelled. is_thing: (H, W) bool.

    is_empty: without labels, it is still known that the crop shows no object.

    Ids count only on pixels of a countable class; pixels of a countable class without an id are unsure.
    Sources: Panoptic-DeepLab (Cheng et al., CVPR 2020); the exact peak and its loss: CenterNet (Zhou et al., 2019).
    """
    height, width = (side // CELL_PX for side in is_thing.shape)
    heat, offsets = np.zeros((height, width), np.float32), np.zeros((2, height, width), np.float32)
    if instances is None:
        return InstanceTargets(heat, offsets, np.full(heat.shape, is_empty), heat > 0)
    middle = slice(CELL_PX // 2, None, CELL_PX)
    ids = np.where(is_thing, instances, 0)
    cell_ids, cell_things = ids[middle, middle], is_thing[middle, middle]
    is_sure = (instances[middle, middle] != UNSURE_OBJECT) & ~(cell_things & (cell_ids == 0))
    is_object = (cell_ids > 0) & (cell_ids != UNSURE_OBJECT)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for object_id in np.setdiff1d(ids, (0, UNSURE_OBJECT)):
        own_rows, own_columns = np.nonzero(ids == object_id)
        x, y = (own_columns.mean() + 0.5) / CELL_PX - 0.5, (own_rows.mean() + 0.5) / CELL_PX - 0.5  # in cells
        sides = np.array((np.ptp(own_columns) + 1, np.ptp(own_rows) + 1)) / CELL_PX
        sigma = np.clip(SIGMA_SHARE * np.sqrt(sides.prod()), *SIGMA_CELLS)
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        spot[min(height - 1, max(0, round(y))), min(width - 1, max(0, round(x)))] = 1
        np.maximum(heat, spot, out=heat)
        own = cell_ids == object_id
        offsets[:, own] = np.stack((x - columns[own], y - rows[own])) * (CELL_PX / OFFSET_SCALE_PX)
    return InstanceTargets(heat, offsets, is_sure, is_object)
