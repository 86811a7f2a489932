"""Labels from teachers: trained models label images that have no labels, or coarser ones, which are respected."""

import glob
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from engines.backends import Engine, EngineOptions
from engines.backends.ort import open_engine
from engines.datasets.folder import images_in, read_sample
from engines.datasets.holding import hold_out
from engines.datasets.settings import FILE_NAME, SetSettings
from engines.errors import choices
from engines.evaluation.mapping import merge_matrix
from engines.families import first_frames
from engines.files import whole_file, write_whole
from engines.models.card import to_toml
from engines.models.model import load_model
from engines.pictures.reading import read_picture
from engines.training import TrainingError
from engines.training.augment import exposed_image
from engines.training.recipe import Recipe, Teacher, check_means
from engines.types import F32, U8, VOID_CLASS, Bools

ROLES = ("logits", "probabilities", "labels", "alpha")
"""The outputs that a teacher is read from, the best first."""
SMALLEST_ALLOWED = 0.2
"""Where the teachers give less than this to the classes that the known label allows, they are wrong, and the pixel is void."""


def teach(
    teachers: Sequence[Path],
    recipe: Recipe,
    folder: Path,
    known: SetSettings | None,
    out: Path,
    *,
    min_probability: float,
    every: int = 1,
) -> None:
    """Write the set `out` (images/, labels/, dataset.toml): images of `folder`, labelled in the recipe's classes by `teachers`.

    known: the settings of `folder` if it has labels, else None. Pixels whose mean probability, restricted to the known label, is
    below `min_probability` (0..1) are void. every: use each Nth image by name, since neighbours in a clip are alike.
    Raises TrainingError, DataError, and the errors of opening a model.
    """
    if out.resolve() == folder.resolve() or (out / "labels").exists():
        raise TrainingError(f"{out}: contains labels already", "Name a new folder with --out")
    images = images_in(folder)[::every]
    facts: dict[str, Any] = {"classes": list(recipe.classes)}
    if known:
        check_means(known, recipe.classes, f'{folder}: set "{known.name}"')
        allowed = merge_matrix(known, recipe.classes) > 0
        # Images held out of the one set must not be trained on in the other.
        held = hold_out(folder, known, [path.stem for path in images_in(folder)])
        facts |= {"hold_out": [*held.patterns, *map(glob.escape, sorted(held.names))], "licence": known.licence}
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(path, recipe)) for path in teachers]
        weights = [teacher.weight for teacher in opened]
        for part in ("images", "labels"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for path in tqdm(images, unit=" images", desc=out.name, disable=None):
            image = read_picture(path)
            probabilities = mean_probabilities([teacher(image) for teacher in opened], weights)
            if known:
                label = read_sample(path, folder / "labels" / f"{path.stem}.png", known).label
                probabilities = restricted(probabilities, label, allowed)
            with whole_file(out / "images" / path.name) as copy:
                shutil.copyfile(path, copy)
            labels = cv2.imencode(".png", likely_labels(probabilities, min_probability))[1]
            write_whole(out / "labels" / f"{path.stem}.png", labels.tobytes())
    write_whole(out / FILE_NAME, to_toml({key: value for key, value in facts.items() if value}))


class OpenTeacher:
    """A teacher whose engine is open: an image to the probability of each of the recipe's classes at each pixel."""

    def __init__(self, engine: Engine, teacher: Teacher, classes: Sequence[str]) -> None:
        self._engine, self._teacher = engine, teacher
        self._first = first_frames(engine.card)
        self.weight = teacher.weight
        self._table = teacher_table(engine.card.classes, teacher.means, classes)

    def __call__(self, image: U8) -> F32:
        """(H, W, 3) uint8 BGR → (classes, H, W) float32, without the probabilities of classes that are not used."""
        seen = exposed_image(image) if self._teacher.brighten else image
        found = self._probabilities(seen)
        if self._teacher.mirror:
            found = (found + self._probabilities(np.ascontiguousarray(seen[:, ::-1]))[:, :, ::-1]) / np.float32(2)
        return found

    def _probabilities(self, image: U8) -> F32:
        run = self._engine.infer(image)
        if not self._first.is_done:
            self._first.look(run.outputs, is_real=True)
        card = self._first.card
        height, width = image.shape[:2]
        role = next(role for role in ROLES if role in card.outputs)
        output = run.outputs[card.outputs[role]]
        cut = np.asarray(run.geometry.cut(output[0] if role in ROLES[:2] else np.squeeze(output)))
        if role == "logits":
            probabilities = np.asarray(softmax(cut.astype(np.float32), axis=0), np.float32)
        elif role == "probabilities":
            probabilities = np.clip(cut.astype(np.float32), 0, 1)
        elif role == "labels":
            probabilities = (cut == np.arange(len(card.classes))[:, None, None]).astype(np.float32)
        else:
            alpha = cut.astype(np.float32) / np.float32(255 if output.dtype == np.uint8 else 1)
            probabilities = np.stack((1 - alpha, alpha) if len(card.classes) == 2 else (alpha,))
        mapped = np.zeros((self._table.shape[1], *probabilities.shape[1:]), np.float32)
        for source, target in zip(*np.nonzero(self._table), strict=True):
            mapped[target] += probabilities[source]
        return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in mapped])


@contextmanager
def _opened(path: Path, recipe: Recipe) -> Iterator[OpenTeacher]:
    model = load_model(path)
    name = model.card.name
    if name not in recipe.teachers:
        raise TrainingError(f'{path}: recipe "{recipe.name}" has no table [teachers.{name}]', choices(name, recipe.teachers))
    if not set(ROLES) & set(model.card.outputs):
        raise TrainingError(f"{path}: has no map of classes", "Use a teacher with an output logits, labels or alpha")
    with closing(open_engine(model, EngineOptions())) as engine:
        yield OpenTeacher(engine, recipe.teachers[name], recipe.classes)


def teacher_table(names: Sequence[str], means: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Bools:
    """(teacher's classes, recipe's classes) bool: which class gets its probability. Raises TrainingError for an unknown one."""
    table = np.zeros((len(names), len(classes)), bool)
    for name, targets in means.items():
        if name not in names:
            raise TrainingError(f'teachers: the teacher has no class "{name}"', choices(name, names))
        if targets:
            table[names.index(name), classes.index(targets[0])] = True
    return table


def mean_probabilities(probabilities: Sequence[F32], weights: Sequence[float]) -> F32:
    """The weighted mean of (C, H, W) probabilities; a new array."""
    total = sum(weight * each for weight, each in zip(weights, probabilities, strict=True))
    return np.asarray(total / sum(weights), np.float32)


def restricted(probabilities: F32, known: U8, allowed: Bools) -> F32:
    """(C, H, W) probabilities given the known label of each pixel: excluded classes are 0, the others sum to 1 again.

    known: (H, W) uint8; 255, void, excludes nothing. allowed: (known classes, C) bool. All classes are 0 where the teachers give
    less than SMALLEST_ALLOWED to the allowed ones. A new array.
    """
    table = np.ones((256, len(probabilities)), bool)
    table[: len(allowed)] = allowed
    possible = probabilities * table[known].transpose(2, 0, 1)
    mass = possible.sum(axis=0)
    trusted = np.where(mass >= SMALLEST_ALLOWED, possible / np.maximum(mass, 1e-6), 0)
    return np.asarray(np.where(known == VOID_CLASS, probabilities, trusted), np.float32)


def likely_labels(probabilities: F32, min_probability: float) -> U8:
    """(C, H, W) probabilities → (H, W) uint8 class, 255 where the highest is below `min_probability`. A new array."""
    labels: U8 = probabilities.argmax(axis=0).astype(np.uint8)
    labels[probabilities.max(axis=0) < min_probability] = VOID_CLASS
    return labels
