"""Labels from a teacher: a trained model marks images that nobody marked as finely, and what is known of them is respected.

The teacher's own class ids are written, so the recipe's `means` says what they stand for, as with any other set.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from engines.backends.ort import open_engine
from engines.model import load_model
from engines.training.data import labelled_pairs, read_sample
from engines.training.errors import TrainingError
from engines.training.label_sets import merge_matrix
from engines.training.recipe import Recipe, SetSettings
from engines.types import F32, U8, VOID_CLASS


def teach(teacher: Path, recipe: Recipe, known_folder: Path, out: Path, sure: float) -> None:
    """Write the set `out` (images/, labels/): the images of the set `known_folder`, labelled by the ONNX model `teacher`.

    A pixel is left void where the teacher's probability is below `sure`, or where its class cannot be what the known label
    says (no class of the recipe is both). Both folders must be named as sets of the recipe. Raises TrainingError.
    """
    model = load_model(teacher)
    known, taught = _settings(recipe, known_folder), _settings(recipe, out)
    if taught.classes != model.card.classes:
        raise TrainingError(f"{teacher}: its classes are not those that recipe {recipe.name} gives to the set {taught.name}")
    if "logits" not in model.card.outputs:
        raise TrainingError(f"{teacher}: gives no logits, so it cannot say how sure it is; take a model with the output logits")
    can_agree = merge_matrix(known, recipe.classes) @ merge_matrix(taught, recipe.classes).T > 0
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    engine = open_engine(model)
    for image_path, label_path in tqdm(labelled_pairs(known_folder), unit=" images", desc=out.name):
        sample = read_sample(image_path, label_path, len(known.classes))
        run = engine.infer(sample.image)
        logits = np.asarray(run.geometry.cut(run.outputs[model.card.outputs["logits"]][0]), np.float32)
        label = _resized(sure_labels(logits, sure), sample.label)
        label[contradicts(label, sample.label, can_agree)] = VOID_CLASS
        shutil.copyfile(image_path, out / "images" / image_path.name)
        cv2.imwrite(str(out / "labels" / f"{image_path.stem}.png"), label)
    engine.close()


def sure_labels(logits: F32, sure: float) -> U8:
    """(C, H, W) logits → (H, W) uint8 class, 255 where its softmax probability is below `sure`. A new array."""
    labels: U8 = logits.argmax(axis=0).astype(np.uint8)
    probability = 1 / np.exp(logits - logits.max(axis=0)).sum(axis=0)
    labels[probability < sure] = VOID_CLASS
    return labels


def contradicts(
    label: U8, known: U8, can_agree: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """(H, W) bool: where `label` (teacher's classes) cannot be what `known` says. Void on either side contradicts nothing.

    can_agree: (known classes, teacher's classes) bool.
    """
    table = np.ones((256, 256), bool)
    table[: can_agree.shape[0], : can_agree.shape[1]] = can_agree
    return np.logical_not(table[known, label])


def _settings(recipe: Recipe, folder: Path) -> SetSettings:
    for settings in recipe.sets:
        if settings.name == folder.resolve().name:
            return settings
    names = ", ".join(settings.name for settings in recipe.sets)
    raise TrainingError(f'{folder}: recipe "{recipe.name}" has no set "{folder.resolve().name}"; its sets are: {names}')


def _resized(label: U8, like: U8) -> U8:
    return np.asarray(cv2.resize(label, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
