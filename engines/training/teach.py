"""Labels from teachers: trained models mark images that nobody marked, or not as finely; what is known of them is respected."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from engines.backends import Engine, EngineOptions
from engines.backends.ort import open_engine
from engines.datasets.folder import hold_out_patterns, images_in, read_sample
from engines.datasets.image_files import read_image
from engines.datasets.label_sets import merge_matrix
from engines.datasets.settings import FILE_NAME, SetSettings
from engines.models.card_text import to_toml
from engines.models.model import load_model
from engines.training.errors import TrainingError
from engines.training.exposure import exposed_image
from engines.training.recipe import Recipe, Teacher, check_means
from engines.types import F32, U8, VOID_CLASS

SMALLEST_ALLOWED = 0.2
"""Where all teachers together give less than this to what the known label allows, they have not understood the place."""


def teach(
    teachers: Sequence[Path],
    recipe: Recipe,
    folder: Path,
    known: SetSettings | None,
    out: Path,
    *,
    sure: float,
    every: int = 1,
) -> None:
    """Write the set `out` (images/, labels/, dataset.toml): images of `folder`, labelled in the recipe's classes by `teachers`.

    known: the settings of `folder` where it has labels of its own; None where it has images only. A pixel is left void where the
    teachers' mean probability, after what the known label allows, is below `sure` (0..1). every: only each such image in name
    order, since neighbours in a clip are alike. Raises TrainingError, DataError, and what opening a model raises.
    """
    if out.resolve() == folder.resolve() or (out / "labels").exists():
        raise TrainingError(f"{out}: holds labels already; name a new folder with --out")
    images = images_in(folder)[::every]
    if known:
        check_means(known, recipe.classes, f'{folder}: set "{known.name}"')
    allowed = merge_matrix(known, recipe.classes) > 0 if known else None
    with ExitStack() as stack:
        opinions = [stack.enter_context(_opened(path, recipe)) for path in teachers]
        for part in ("images", "labels"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for path in tqdm(images, unit=" images", desc=out.name):
            image = read_image(path)
            probabilities = mean_opinion([opinion(image) for opinion in opinions], [opinion.weight for opinion in opinions])
            if known and allowed is not None:
                label = read_sample(path, folder / "labels" / f"{path.stem}.png", known).label
                probabilities = restricted(probabilities, label, allowed)
            shutil.copyfile(path, out / "images" / path.name)
            cv2.imwrite(str(out / "labels" / f"{path.stem}.png"), sure_labels(probabilities, sure))
    facts: dict[str, Any] = {"classes": list(recipe.classes)}
    # What is held out of the one set must not be trained on in the other.
    if known and (held_out := hold_out_patterns(folder, known)):
        facts["hold_out"] = list(held_out)
    if known and known.licence:
        facts["licence"] = known.licence
    (out / FILE_NAME).write_text(to_toml(facts), encoding="utf-8")


class Opinion:
    """One teacher, asked about an image: the probability of each of the recipe's classes at each pixel."""

    def __init__(self, engine: Engine, teacher: Teacher, classes: Sequence[str]) -> None:
        self._engine, self._teacher = engine, teacher
        self.weight = teacher.weight
        self._table = teacher_table(engine.card.classes, teacher.means, classes)

    def __call__(self, image: U8) -> F32:
        """(H, W, 3) uint8 BGR → (classes, H, W) float32; what the teacher gives to classes that teach nothing is missing."""
        seen = exposed_image(image) if self._teacher.brighten else image
        if not self._teacher.mirror:
            return self._asked(seen)
        mirrored = np.ascontiguousarray(seen[:, ::-1])
        return np.asarray((self._asked(seen) + self._asked(mirrored)[:, :, ::-1]) / 2, np.float32)

    def _asked(self, image: U8) -> F32:
        run, card = self._engine.infer(image), self._engine.card
        height, width = image.shape[:2]
        if "logits" in card.outputs:
            logits = np.asarray(run.geometry.cut(run.outputs[card.outputs["logits"]][0]), np.float32)
            probabilities = softmax(logits)
        elif "labels" in card.outputs:
            labels = np.asarray(run.geometry.cut(np.squeeze(run.outputs[card.outputs["labels"]])))
            probabilities = (labels[None] == np.arange(len(card.classes))[:, None, None]).astype(np.float32)
        else:
            alpha = np.asarray(run.geometry.cut(np.squeeze(run.outputs[card.outputs["alpha"]])), np.float32)
            alpha = alpha / np.float32(255 if run.outputs[card.outputs["alpha"]].dtype == np.uint8 else 1)
            probabilities = np.stack((1 - alpha, alpha) if len(card.classes) == 2 else (alpha,))
        mapped = np.zeros((self._table.shape[1], *probabilities.shape[1:]), np.float32)
        for source, target in zip(*np.nonzero(self._table), strict=True):
            mapped[target] += probabilities[source]
        return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in mapped])


@contextmanager
def _opened(path: Path, recipe: Recipe) -> Iterator[Opinion]:
    model = load_model(path)
    name = model.card.name
    if name not in recipe.teachers:
        known = ", ".join(recipe.teachers) or "none"
        raise TrainingError(f'{path}: recipe "{recipe.name}" has no table [teachers.{name}]; it knows: {known}')
    if not {"logits", "labels", "alpha"} & set(model.card.outputs):
        raise TrainingError(f"{path}: gives no map of classes; a teacher needs an output logits, labels or alpha")
    with closing(open_engine(model, EngineOptions())) as engine:
        yield Opinion(engine, recipe.teachers[name], recipe.classes)


def teacher_table(names: Sequence[str], means: Mapping[str, Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    """(teacher's classes, recipe's classes) bool: where its probability goes. Raises TrainingError for a class it lacks."""
    table = np.zeros((len(names), len(classes)), bool)
    for name, targets in means.items():
        if name not in names:
            raise TrainingError(f'teachers: no teacher class "{name}"; its classes: {", ".join(names)}')
        if targets:
            table[names.index(name), classes.index(targets[0])] = True
    return table


def mean_opinion(opinions: Sequence[F32], weights: Sequence[float]) -> F32:
    """The weighted mean of (C, H, W) probabilities; a new array."""
    total = sum(weight * opinion for weight, opinion in zip(weights, opinions, strict=True))
    return np.asarray(total / sum(weights), np.float32)


def restricted(probabilities: F32, known: U8, allowed: np.ndarray) -> F32:
    """(C, H, W) probabilities given that a pixel carries the known label: what it excludes is 0, the rest sums to 1 again.

    known: (H, W) uint8, 255 void, which excludes nothing. allowed: (known classes, C) bool. All 0 where the teachers hold little
    of what is allowed. A new array.
    """
    table = np.ones((256, len(probabilities)), bool)
    table[: len(allowed)] = allowed
    possible = probabilities * table[known].transpose(2, 0, 1)
    mass = possible.sum(axis=0)
    is_trusted = mass >= SMALLEST_ALLOWED
    return np.asarray(
        np.where(known == VOID_CLASS, probabilities, np.where(is_trusted, possible / np.maximum(mass, 1e-6), 0)), np.float32
    )


def sure_labels(probabilities: F32, sure: float) -> U8:
    """(C, H, W) probabilities → (H, W) uint8 class, 255 where the highest is below `sure`. A new array."""
    labels: U8 = probabilities.argmax(axis=0).astype(np.uint8)
    labels[probabilities.max(axis=0) < sure] = VOID_CLASS
    return labels


def softmax(logits: F32) -> F32:
    """Over the first axis."""
    exponentials = np.exp(logits - logits.max(axis=0))
    return np.asarray(exponentials / exponentials.sum(axis=0), np.float32)
