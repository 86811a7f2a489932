"""A run's recipe and data sets, brought together: what the recipe leaves open, the sets' own dataset.toml says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.datasets.folder import DataSet, open_set
from engines.datasets.settings import FILE_NAME, SetSettings, open_settings
from engines.tables import unknown_table
from engines.training.errors import TrainingError
from engines.training.recipe import OPEN_SIZE, Recipe, check_means, check_recipe, recipe_from_dict, recipe_to_dict

LARGEST_INPUT_PX = 512 * 512


def open_run(recipe: Recipe, paths: Sequence[Path], all_of_them: bool = True) -> tuple[Recipe, list[DataSet]]:
    """The recipe with every set's settings in it, and the sets, read and checked.

    paths: folders, named as sets of the recipe or with a dataset.toml of their own, or such TOML files. A recipe without classes
    takes those of the first set. all_of_them: every set that the recipe names must be among the paths. Raises TrainingError and
    DataError.
    """
    found = [_settings(path, recipe) for path in paths]
    names = [settings.name for _, settings in found]
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f'two sets are called "{name}"; write another `name` in one {FILE_NAME}')
    for settings in recipe.sets if all_of_them else ():
        if settings.name not in names:
            raise TrainingError(f'recipe "{recipe.name}" needs the set "{settings.name}"; add --data PATH/{settings.name}')
    if not found:
        raise TrainingError(f'recipe "{recipe.name}" needs data; add --data FOLDER')
    if not recipe.classes:
        recipe = msgspec.structs.replace(recipe, classes=found[0][1].classes)
        check_recipe(recipe, f'recipe "{recipe.name}"')
    for path, (_, settings) in zip(paths, found, strict=True):
        check_means(settings, recipe.classes, f'{path}: set "{settings.name}"')
    # In the recipe's own order: a batch depends on it, and not on the order of the command line.
    order = {settings.name: place for place, settings in enumerate(recipe.sets)}
    found.sort(key=lambda pair: order.get(pair[1].name, len(order)))
    recipe = msgspec.structs.replace(recipe, sets=tuple(settings for _, settings in found))
    sets = [open_set(folder, settings) for folder, settings in found]
    if recipe.input_px == OPEN_SIZE:
        recipe = msgspec.structs.replace(recipe, input_px=fitting_size(sets[0]))
    return recipe, sets


def fitting_size(data_set: DataSet) -> tuple[int, int]:
    """A net's input for images as the set has them in the middle: their shape, at most LARGEST_INPUT_PX pixels, sides of 32s."""
    sizes = np.array([sample.label.shape[::-1] for sample in data_set.training], np.float64)
    width, height = np.median(sizes, axis=0)
    shrink = min(1.0, (LARGEST_INPUT_PX / (width * height)) ** 0.5)
    return max(32, round(width * shrink / 32) * 32), max(32, round(height * shrink / 32) * 32)


def _settings(path: Path, recipe: Recipe) -> tuple[Path, SetSettings]:
    """The folder and the settings of one set: the recipe's where it knows a set of that name, else its own dataset.toml's."""
    if path.is_dir():
        for settings in recipe.sets:
            if settings.name == path.resolve().name:
                return path, settings
    folder, settings = open_settings(path)
    for known in recipe.sets:
        if known.name == settings.name:
            return folder, known
    return folder, settings


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with single keys replaced, such as {"net.width": 0.5}. Raises TrainingError that names the key."""
    facts = recipe_to_dict(recipe)
    for key, value in changes.items():
        table, (*parents, last) = facts, key.split(".")
        for parent in parents:
            below = table.get(parent)
            if not isinstance(below, dict):
                raise TrainingError(f'--set {key}: a recipe has no table "{parent}"', unknown_table(parent, Recipe))
            table = below
        table[last] = value
    return recipe_from_dict(facts, "--set" if changes else recipe.name)
