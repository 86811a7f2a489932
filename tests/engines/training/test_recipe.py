"""Recipes: the bundled ones are valid, one can be based on another, and an error names its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.errors import EngineError
from engines.training import TrainingError
from engines.training.opening import RECIPES, read_recipe
from engines.training.recipe import recipe_from_dict, recipe_to_dict

Facts = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_recipe_is_valid_and_survives_a_checkpoint(path: Path) -> None:
    recipe = read_recipe(path.stem)
    assert recipe.name == path.stem
    assert recipe_from_dict(recipe_to_dict(recipe), "checkpoint") == recipe


def test_composites_survive_a_checkpoint(toy_facts: Facts) -> None:
    """The key `class` is a keyword of Python, so the field has another name."""
    recipe = recipe_from_dict(toy_facts() | {"composites": {"source": "toy", "class": "car", "scale": [0.5, 2.0]}}, "toy")
    assert recipe.composites is not None
    assert recipe.composites.cls == "car"
    assert recipe.composites.scale == (0.5, 2.0)
    assert recipe_to_dict(recipe)["composites"]["class"] == "car"
    assert recipe_from_dict(recipe_to_dict(recipe), "checkpoint") == recipe


def test_an_unknown_recipe_is_refused_with_the_list() -> None:
    with pytest.raises(
        TrainingError, match=r'no recipe "raod"\. Write a path that ends in \.toml, or one of: binary, people, road, road-small'
    ):
        read_recipe("raod")


@pytest.mark.parametrize("text", ["steps = ", "a = " + "[" * 10_000, "a = 1" + "0" * 5000])
def test_broken_toml_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"mine\.toml: is not valid TOML"):
        read_recipe(str(path))


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"input_px": [100, 64]}, "input_px is .* multiples of 32"),
    ({"augmentation": {"crop_px": [96, 0]}}, r"augmentation\.crop_px is \[96, 0\]\. Write multiples of 32"),
    (
        {"augmentation": {"scale": [2.0, 0.5]}},
        r"augmentation\.scale is \[2\.0, 0\.5\]\. Write two numbers above 0, the smaller first",
    ),
    ({"augmentation": {"gamma": [0.0, 1.5]}}, r"augmentation\.gamma is \[0\.0, 1\.5\]\. Write two numbers above 0"),
    ({"augmentation": {"flip": 1.5}}, r"1\.0.*augmentation\.flip"),
    ({"emphasis": {"raod": 2.0}}, 'emphasis: unknown class "raod". Did you mean "road"'),
    ({"things": ["cra"]}, 'things: unknown class "cra". Did you mean "car"'),
    ({"heads": ["instances"], "things": []}, r'head "instances" needs countable classes\. List them under `things`'),
    ({"heads": ["depth"]}, "heads"),
    ({"output": "alpha"}, 'output "alpha" needs two classes, and there are 3'),
    ({"rebalance": 1.5}, "rebalance"),
    ({"composites": {"source": "toy", "class": "cat"}}, r'composites\.class: unknown class "cat". Did you mean "car"'),
    ({"composites": {"source": "toy", "class": "car", "most": 0}}, r"composites\.most"),
    ({"teachers": {"t": {"means": {"a": ["lorry"]}}}}, r'teachers\.t\.means: unknown class "lorry"'),
    ({"schedule": {"steps": 0}}, r"schedule\.steps"),
    ({"schedule": {"steps": 5, "batch": 0}}, r"schedule\.batch"),
    ({"schedule": {"steps": 5, "learning_rate": -1.0}}, r"schedule\.learning_rate"),
    ({"schedule": {"steps": 5, "ema": 1.5}}, r"schedule\.ema"),
    ({"schedule": {"step": 5}}, "step"),
    ({"net": {"dropout": 1.0}}, r"net\.dropout"),
    ({"net": {"depths": [1, 1]}}, r"net\.depths"),
    ({"classes": ["car", "car"]}, "a class occurs twice"),
    (
        {"sets": [{"name": "a", "classes": ["lorry"]}]},
        r'set "a": the model has no class "lorry"; it has sky, road, car\. Write its meaning under \[means\]',
    ),
    ({"sets": [{"name": "a", "classes": []}]}, 'set "a".*"classes" is empty'),
    (
        {"sets": [{"name": "a", "classes": ["car"], "means": {"car": ["cat"]}}]},
        r'means\.car: unknown class "cat". Did you mean "car"',
    ),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_an_error_in_a_recipe_is_named(toy_facts: Facts, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=f"here.toml: .*{message}") as caught:
        recipe_from_dict(toy_facts() | change, "here.toml")
    assert "\n" not in str(caught.value)
    assert "$" not in str(caught.value), "no JSON path"


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_tables_override_those_of_the_base_key_by_key(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine", 'based_on = "road"\nname = "mine"\nheads = []\n[schedule]\nsteps = 7\n[emphasis]\nsky = 3.0\n')
    road, recipe = read_recipe("road"), read_recipe(mine)
    assert (recipe.name, recipe.heads, recipe.schedule.steps) == ("mine", (), 7)
    assert recipe.schedule.learning_rate == road.schedule.learning_rate
    assert recipe.emphasis == {**road.emphasis, "sky": 3.0}
    assert (recipe.net, recipe.sets, recipe.teachers) == (road.net, road.sets, road.teachers)


def test_a_table_that_the_base_does_not_have_is_added(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine", 'based_on = "road"\n[composites]\nsource = "camvid"\nclass = "car"\n')
    recipe = read_recipe(mine)
    assert recipe.composites is not None
    assert recipe.composites.source == "camvid"


def test_the_path_of_a_base_starts_at_the_file(tmp_path: Path) -> None:
    write(tmp_path, "base", 'based_on = "binary"\nname = "base"\n')
    assert read_recipe(write(tmp_path, "mine", 'based_on = "base.toml"\n')).name == "base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("based_on = 3\n", r"mine\.toml: based_on is 3\. Write the name of a recipe, or a path that ends in \.toml"),
        ('based_on = "rode"\n', 'no recipe "rode"'),
        ('based_on = "mine.toml"\n', r"mine\.toml: is based on itself"),
        ('based_on = "road"\n[schedule]\nstep = 3\n', r"mine\.toml: .*step"),
        ('based_on = "road"\nschedule = 3\n', r"mine\.toml: .*schedule"),
    ],
)
def test_a_wrong_base_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_recipe(write(tmp_path, "mine", text))


def test_settings_that_depend_on_open_classes_are_not_checked_yet(toy_facts: Facts) -> None:
    """`open_run` checks them once the classes are known."""
    facts = toy_facts() | {"classes": [], "input_px": [0, 0], "output": "alpha", "heads": ["instances"], "emphasis": {"car": 2.0}}
    recipe = recipe_from_dict(facts, "here.toml")
    assert recipe.classes == ()


def test_a_word_stands_for_the_classes_of_a_well_known_set() -> None:
    sets = [{"name": "city", "classes": "cityscapes"}]
    facts = {"name": "street", "classes": "cityscapes", "input_px": [512, 256], "schedule": {"steps": 1}, "sets": sets}
    recipe = recipe_from_dict(facts, "r")
    assert recipe.classes == recipe.sets[0].classes
    assert recipe.classes[13] == "car"
    assert recipe.card["palette"]["car"] == "#00008e"
    assert recipe_from_dict(recipe_to_dict(recipe), "again") == recipe
    with pytest.raises(
        TrainingError, match=r'classes = "cityscape" is no set of classes\. Write a list of names, or "cityscapes"'
    ):
        recipe_from_dict({**facts, "classes": "cityscape"}, "r")
