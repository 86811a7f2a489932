"""Recipes: the bundled ones are valid, and a fault is named with its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.training.errors import TrainingError
from engines.training.recipe import RECIPES, read_recipe, recipe_from_dict, recipe_to_dict


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_recipe_is_valid_and_survives_a_checkpoint(path: Path) -> None:
    recipe = read_recipe(path.stem)
    assert recipe.name == path.stem
    assert recipe_from_dict(recipe_to_dict(recipe), "checkpoint") == recipe


def test_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r'no recipe "raod".*road'):
        read_recipe("raod")


def test_broken_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("steps = ")
    with pytest.raises(TrainingError, match=r"mine\.toml: cannot be read as a recipe"):
        read_recipe(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_px": [100, 64]}, "input_px is .* multiples of 32"),
        ({"emphasis": {"raod": 2.0}}, 'emphasis: unknown class "raod"; did you mean "road"'),
        ({"sets": []}, "at least one class and one"),
        ({"schedule": {"steps": 0}}, "must be 1 or more"),
        ({"schedule": {"step": 5}}, "step"),
        ({"sets": [{"name": "a", "classes": ["lorry"]}]}, 'set "a".*unknown class "lorry"'),
        (
            {"sets": [{"name": "a", "classes": ["car"], "means": {"car": ["cat"]}}]},
            r'means\.car: unknown class "cat"; did you mean "car"',
        ),
    ],
)
def test_fault_in_a_recipe_is_named(toy_facts: Callable[..., dict[str, Any]], change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=f"here.toml: .*{message}"):
        recipe_from_dict(toy_facts() | change, "here.toml")
