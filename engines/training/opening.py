"""Opening a run: its recipe, read and changed, and its data sets, whose dataset.toml fill in what the recipe leaves open."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.datasets.folder import DataSet, open_set
from engines.datasets.settings import FILE_NAME, SetSettings, open_settings
from engines.tables import read_table, unknown_table
from engines.training import TrainingError
from engines.training.recipe import OPEN_SIZE, Recipe, check_means, check_recipe, recipe_from_dict, recipe_to_dict

RECIPES = Path(__file__).parent / "recipes"
LARGEST_INPUT_PX = 512 * 512


def read_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name in `recipes/`, or in that TOML file. Raises TrainingError that names the key."""
    return recipe_from_dict(*_read(name_or_path, Path(), ()))


def _read(name_or_path: str, folder: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], str]:
    """The facts of a recipe, on top of those of its base, and their origin.

    folder: where relative paths start. above: the files that are based on this one.
    """
    path = folder / Path(name_or_path).expanduser() if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    if path in above:
        raise TrainingError(f"{path}: is based on itself", "Name another recipe in based_on")
    try:
        facts = read_table(path, TrainingError)
    except FileNotFoundError as error:
        known = ", ".join(sorted(entry.stem for entry in RECIPES.glob("*.toml")))
        raise TrainingError(f'no recipe "{name_or_path}"', f"Write a path that ends in .toml, or one of: {known}") from error
    if "based_on" in facts:
        base = facts.pop("based_on")
        if not isinstance(base, str):
            raise TrainingError(f"{path}: based_on is {base}", "Write the name of a recipe, or a path that ends in .toml")
        base_facts, base_path = _read(base, path.parent, (*above, path))
        facts = _merged(recipe_to_dict(recipe_from_dict(base_facts, base_path)), facts)
    return facts, str(path)


def _merged(base: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`base` overridden by `facts`: tables key by key, other values whole."""
    tables = [key for key, value in facts.items() if isinstance(value, dict) and isinstance(base.get(key), dict)]
    return {**base, **facts, **{key: _merged(base[key], facts[key]) for key in tables}}


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with single keys replaced, such as {"net.width": 0.5}. Raises TrainingError that names the key."""
    facts = recipe_to_dict(recipe)
    for key, value in changes.items():
        table, (*parents, last) = facts, key.split(".")
        for parent in parents:
            if not isinstance(table.get(parent), dict):
                raise TrainingError(f'--set {key}: a recipe has no table "{parent}"', unknown_table(parent, Recipe))
            table = table[parent]
        table[last] = value
    return recipe_from_dict(facts, "--set" if changes else recipe.name)


def open_run(recipe: Recipe, paths: Sequence[Path], all_of_them: bool = True) -> tuple[Recipe, list[DataSet]]:
    """The recipe with the settings of every set, and the sets, read and checked.

    paths: folders, which the recipe names or which have a dataset.toml, or such TOML files. A recipe without classes gets those
    of the first set. all_of_them: every set of the recipe must be among the paths. Raises TrainingError and DataError.
    """
    found = [_settings(path, recipe) for path in paths]
    names = [settings.name for _, settings in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise TrainingError(f'two sets have the name "{twice[0]}"', f"Write another `name` in one {FILE_NAME}")
    for settings in recipe.sets if all_of_them else ():
        if settings.name not in names:
            raise TrainingError(f'recipe "{recipe.name}" needs the set "{settings.name}"', f"Add --data PATH/{settings.name}")
    if not found:
        raise TrainingError(f'recipe "{recipe.name}" needs data', "Add --data FOLDER")
    if not recipe.classes:
        recipe = msgspec.structs.replace(recipe, classes=found[0][1].classes)
        check_recipe(recipe, f'recipe "{recipe.name}"')
    for path, (_, settings) in zip(paths, found, strict=True):
        check_means(settings, recipe.classes, f'{path}: set "{settings.name}"')
    # In the recipe's order: batches depend on it, and must not depend on the order of the command line.
    order = {settings.name: place for place, settings in enumerate(recipe.sets)}
    found.sort(key=lambda pair: order.get(pair[1].name, len(order)))
    recipe = msgspec.structs.replace(recipe, sets=tuple(settings for _, settings in found))
    sets = [open_set(folder, settings) for folder, settings in found]
    if recipe.input_px == OPEN_SIZE:
        recipe = msgspec.structs.replace(recipe, input_px=fitting_size(sets[0]))
    return recipe, sets


def fitting_size(data_set: DataSet) -> tuple[int, int]:
    """An input size for the set's median image: about its shape, at most LARGEST_INPUT_PX pixels, multiples of 32."""
    sizes = np.array([sample.label.shape[::-1] for sample in data_set.training], np.float64)
    median = np.median(sizes, axis=0)
    width, height = median * min(1.0, (LARGEST_INPUT_PX / median.prod()) ** 0.5)
    return max(32, round(width / 32) * 32), max(32, round(height / 32) * 32)


def _settings(path: Path, recipe: Recipe) -> tuple[Path, SetSettings]:
    """The folder and settings of one set: the recipe's where it has a set of that name, else those of its dataset.toml."""
    known = {settings.name: settings for settings in recipe.sets}
    if path.is_dir() and path.resolve().name in known:
        return path, known[path.resolve().name]
    folder, settings = open_settings(path)
    return folder, known.get(settings.name, settings)
