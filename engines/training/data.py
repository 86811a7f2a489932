"""Labelled images on disk to batches: checked when opened, kept decoded in memory, and each batch a function of its number.

Because batch 1234 is the same whenever it is asked for, a run that was killed goes on as if it had not been, and the threads
that prepare batches ahead need no state.
"""

from __future__ import annotations

import fnmatch
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engines.training.augment import augment
from engines.training.errors import TrainingError
from engines.training.recipe import Recipe, SetSettings
from engines.types import F32, U8, VOID_CLASS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PREFETCH = 3
"""Batches prepared ahead: enough to ride out a slow one, few enough to cost no memory."""


class Sample(NamedTuple):
    """One labelled image. image: (H, W, 3) uint8 BGR. label: (H, W) uint8, index into its set's classes, 255 void."""

    name: str
    image: U8
    label: U8


class Batch(NamedTuple):
    """images: (N, h, w, 3) uint8 BGR. labels: (N, h, w) uint8 in each set's own classes. sets: (N,) index of the set."""

    images: U8
    labels: U8
    sets: tuple[int, ...]


@dataclass(frozen=True)
class DataSet:
    """The samples of one folder, split by the recipe's `hold_out` patterns; read whole when opened."""

    settings: SetSettings
    training: tuple[Sample, ...]
    held_out: tuple[Sample, ...]

    def pixel_shares(self) -> F32:
        """(classes,) float32: how much of the labelled training pixels each class holds; sums to 1."""
        counts = np.zeros(256, np.int64)
        for sample in self.training:
            counts += np.bincount(sample.label.ravel(), minlength=256)
        known = counts[: len(self.settings.classes)]
        return np.asarray(known / max(1, known.sum()), np.float32)


def open_set(folder: Path, settings: SetSettings) -> DataSet:
    """Read and check a whole set. Raises TrainingError that names the file: no image, no label, sizes apart, id out of range."""
    pairs = labelled_pairs(folder)
    with ThreadPoolExecutor(2) as threads:
        samples = list(threads.map(lambda pair: read_sample(pair[0], pair[1], len(settings.classes)), pairs))
    held_out = [any(fnmatch.fnmatchcase(sample.name, pattern) for pattern in settings.hold_out) for sample in samples]
    training = tuple(sample for sample, held in zip(samples, held_out, strict=True) if not held)
    if not training:
        raise TrainingError(f"{folder}: hold_out {list(settings.hold_out)} leaves no image to train on; write narrower patterns")
    if settings.hold_out and len(training) == len(samples):
        raise TrainingError(
            f"{folder}: no file matches hold_out {list(settings.hold_out)}; correct the patterns or leave them out"
        )
    return DataSet(settings, training, tuple(sample for sample, held in zip(samples, held_out, strict=True) if held))


def labelled_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image of `folder`/images with its label of the same stem in `folder`/labels, sorted by name. Raises TrainingError."""
    if not (folder / "images").is_dir():
        raise TrainingError(f"{folder}: no folder images/ in it; a data set is a folder with images/ and labels/")
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise TrainingError(f"{folder / 'images'}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    pairs = [(image, folder / "labels" / f"{image.stem}.png") for image in images]
    for image, label in pairs:
        if not label.is_file():
            raise TrainingError(f"{image}: has no label {label}; add it, or remove the image")
    return pairs


def read_sample(image_path: Path, label_path: Path, class_count: int) -> Sample:
    """Decode one pair and check it against each other and the class count. Raises TrainingError that names the file."""
    image, label = _decode(image_path, cv2.IMREAD_COLOR), _decode(label_path, cv2.IMREAD_UNCHANGED)
    if label.dtype != np.uint8 or label.ndim != 2:
        raise TrainingError(f"{label_path}: is {label.dtype} with shape {label.shape}; a label is one channel of 8-bit class ids")
    if image.shape[:2] != label.shape:
        raise TrainingError(
            f"{label_path}: {label.shape[1]}x{label.shape[0]}, but its image is {image.shape[1]}x{image.shape[0]}"
        )
    highest = int(label[label != VOID_CLASS].max(initial=0))
    if highest >= class_count:
        raise TrainingError(
            f"{label_path}: class id {highest}, but the set has {class_count} classes (0..{class_count - 1}, 255 void)"
        )
    return Sample(image_path.stem, np.asarray(image, np.uint8), np.asarray(label, np.uint8))


def _decode(path: Path, flags: int) -> npt.NDArray[np.generic]:
    decoded = cv2.imread(str(path), flags)
    if decoded is None:
        raise TrainingError(f"{path}: cannot be read as an image; replace or remove it")
    return np.asarray(decoded)


def batch_at(step: int, sets: Sequence[DataSet], recipe: Recipe) -> Batch:
    """The batch of this step: always the same for the same step, recipe and data."""
    images, labels, origins = [], [], []
    shares = np.array([data_set.settings.share for data_set in sets], np.float64)
    for slot in range(recipe.schedule.batch):
        rng = np.random.default_rng((recipe.schedule.seed, step, slot))
        origin = int(rng.choice(len(sets), p=shares / shares.sum()))
        sample = sets[origin].training[int(rng.integers(len(sets[origin].training)))]
        image, label = augment(sample.image, sample.label, recipe.input_px, recipe.augmentation, rng)
        images.append(image)
        labels.append(label)
        origins.append(origin)
    return Batch(np.stack(images), np.stack(labels), tuple(origins))


def batches(first_step: int, sets: Sequence[DataSet], recipe: Recipe) -> Iterator[Batch]:
    """Batches `first_step` to the schedule's end, the next few always being prepared on one thread of their own."""
    with ThreadPoolExecutor(1, "augment") as thread:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(first_step, recipe.schedule.steps + PREFETCH):
                if step < recipe.schedule.steps:
                    waiting.append(thread.submit(batch_at, step, sets, recipe))
                if step >= first_step + PREFETCH and waiting:
                    yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)
