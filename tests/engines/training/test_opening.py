"""Opening a run: recipe and sets together, which settings win, and errors before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import DataError
from engines.training import TrainingError
from engines.training.opening import LARGEST_INPUT_PX, changed, fitting_size, open_run, read_recipe
from engines.training.recipe import Recipe, recipe_from_dict

from .conftest import draw_street

Facts = Callable[..., dict[str, Any]]
OWN = 'classes = ["sky", "road", "car"]\nhold_out = ["held_*"]\nlicence = "mine"\n'


@pytest.fixture
def recipe(toy_facts: Facts) -> Recipe:
    return recipe_from_dict(toy_facts(), "toy")


@pytest.fixture
def open_recipe(toy_facts: Facts) -> Recipe:
    """A recipe without sets, classes and size."""
    return recipe_from_dict(toy_facts() | {"sets": [], "classes": [], "things": [], "input_px": [0, 0]}, "toy")


def another_set(folder: Path, facts: str, size_px: tuple[int, int] = (96, 64)) -> Path:
    for index in range(2):
        draw_street(folder, f"{'held' if index else 'seen'}_{index}", index, size_px)
    (folder / "dataset.toml").write_text(facts)
    return folder


def test_a_set_that_the_recipe_knows_needs_no_file(recipe: Recipe, toy_set: Path) -> None:
    opened, (data_set,) = open_run(recipe, [toy_set])
    assert opened == recipe
    assert (len(data_set.training), len(data_set.held_out)) == (6, 2)


def test_the_recipe_overrules_the_set_s_own_file(recipe: Recipe, toy_set: Path) -> None:
    (toy_set / "dataset.toml").write_text('classes = ["a", "b", "c"]\n')
    assert open_run(recipe, [toy_set])[1][0].settings == recipe.sets[0]


def test_the_first_set_fills_in_what_the_recipe_leaves_open(open_recipe: Recipe, toy_set: Path) -> None:
    (toy_set / "dataset.toml").write_text(OWN)
    opened, (data_set,) = open_run(open_recipe, [toy_set])
    assert opened.classes == data_set.settings.classes == ("sky", "road", "car")
    assert opened.input_px == (96, 64)
    assert opened.sets == (data_set.settings,)
    assert data_set.settings.licence == "mine"


def test_a_toml_file_elsewhere_may_describe_a_set(open_recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN + 'folder = "toy"\nname = "mine"\n')
    opened, (data_set,) = open_run(open_recipe, [tmp_path / "mine.toml"])
    assert data_set.settings.name == "mine"
    assert len(data_set.training) == 6
    assert opened.sets == (data_set.settings,)


def test_a_toml_file_elsewhere_may_have_the_name_of_a_recipe_s_set(recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    toy_set.rename(tmp_path / "renamed")
    (tmp_path / "mine.toml").write_text('classes = ["x"]\nfolder = "renamed"\nname = "toy"\n')
    assert open_run(recipe, [tmp_path / "mine.toml"])[1][0].settings == recipe.sets[0]


def test_a_further_set_comes_after_the_recipe_s_own(recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    """Batches depend on the order of the sets, so that must not depend on the command line."""
    means = 'classes = ["sky", "ground", "vehicle"]\nshare = 0.5\n[means]\nground = ["road"]\nvehicle = ["car"]\n'
    further = another_set(tmp_path / "further", means)
    for paths in ([toy_set, further], [further, toy_set]):
        opened, sets = open_run(recipe, paths)
        assert [data_set.settings.name for data_set in sets] == ["toy", "further"]
        assert [settings.name for settings in opened.sets] == ["toy", "further"]


def test_open_classes_are_those_of_the_first_set(open_recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    (toy_set / "dataset.toml").write_text(OWN)
    further = another_set(tmp_path / "a-further", 'classes = ["road", "car", "sky"]\n')
    assert open_run(open_recipe, [toy_set, further])[0].classes == ("sky", "road", "car")
    assert open_run(open_recipe, [further, toy_set])[0].classes == ("road", "car", "sky")


def test_binary_makes_a_matte_of_two_classes(toy_set: Path) -> None:
    """`run.py train --data toy --set output=alpha`: "alpha" can be checked only once the classes are known."""
    (toy_set / "dataset.toml").write_text('classes = ["ground", "car"]\n')
    for path in (toy_set / "labels").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 255, 255, label // 2).astype(np.uint8))
    matte = changed(read_recipe("binary"), {"output": "alpha"})
    assert open_run(matte, [toy_set])[0].output == "alpha"
    (toy_set / "dataset.toml").write_text(OWN)
    with pytest.raises(TrainingError, match=r'recipe "binary": output "alpha" needs two classes, and there are 3\. The opacity'):
        open_run(matte, [toy_set])
    with pytest.raises(TrainingError, match=r'recipe "binary": things: unknown class "cra"\. Did you mean "car"'):
        open_run(changed(read_recipe("binary"), {"things": ["cra"]}), [toy_set])


def test_an_open_size_is_that_of_the_median_image_within_bounds(open_recipe: Recipe, tmp_path: Path) -> None:
    large = another_set(tmp_path / "large", OWN, (1280, 720))
    opened, (data_set,) = open_run(open_recipe, [large])
    width, height = opened.input_px
    assert opened.input_px == fitting_size(data_set)
    assert width % 32 == height % 32 == 0
    assert width * height <= 1.1 * LARGEST_INPUT_PX
    assert width / height == pytest.approx(1280 / 720, rel=0.06)


def test_missing_and_duplicate_sets_are_named(recipe: Recipe, open_recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    (toy_set / "dataset.toml").write_text(OWN)
    with pytest.raises(TrainingError, match=r'recipe "toy" needs the set "toy"\. Add --data PATH/toy'):
        open_run(recipe, [another_set(tmp_path / "further", OWN)])
    (tmp_path / "mine.toml").write_text(OWN + 'folder = "further"\nname = "toy"\n')
    with pytest.raises(TrainingError, match=r'two sets have the name "toy"\. Write another `name`'):
        open_run(open_recipe, [toy_set, tmp_path / "mine.toml"])
    with pytest.raises(TrainingError, match=r'recipe "toy" needs data\. Add --data FOLDER'):
        open_run(open_recipe, [])
    with pytest.raises(DataError, match=r"nowhere: no such folder, and no such dataset\.toml"):
        open_run(open_recipe, [tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"has no dataset\.toml, .*Name a folder with images/ and labels/"):
        open_run(open_recipe, [tmp_path])


def test_some_of_the_sets_are_enough_for_figures(toy_facts: Facts, toy_set: Path) -> None:
    facts = toy_facts()
    two = recipe_from_dict(facts | {"sets": [*facts["sets"], {"name": "other", "classes": ["car"]}]}, "toy")
    assert len(open_run(two, [toy_set], all_of_them=False)[1]) == 1


def test_a_set_whose_classes_the_model_lacks_is_refused(recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    further = another_set(tmp_path / "further", 'classes = ["sky", "rood", "car"]\n')
    with pytest.raises(
        TrainingError,
        match=r'set "further": the model has no class "rood"\. Did you mean "road"\? Otherwise write its meaning under \[means\]',
    ):
        open_run(recipe, [toy_set, further])


def test_changes_replace_single_keys(recipe: Recipe) -> None:
    again = changed(recipe, {"net.width": 0.5, "schedule.steps": 9, "name": "mine", "emphasis.car": 2.0})
    assert (again.net.width, again.schedule.steps, again.name, again.emphasis) == (0.5, 9, "mine", {"car": 2.0})
    assert again.net.depths == recipe.net.depths
    assert changed(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nett.width": 0.5}, '--set nett.width: a recipe has no table "nett"'),
        ({"composites.share": 0.5}, '--set composites.share: a recipe has no table "composites"'),
        ({"net.widht": 0.5}, r'--set: unknown key "net\.widht". Did you mean "net\.width"\?'),
        ({"wdith": 0.5}, r'--set: unknown key "wdith". Did you mean "net\.width"\?'),
        ({"width": 0.5}, r'--set: unknown key "width". Did you mean "net\.width"\?'),
        ({"clases": []}, r'--set: unknown key "clases". Did you mean "classes"\?'),
        (
            {"net.zzz": 0.5},
            r'unknown key "net\.zzz"\. Known: kind, width, channels, frozen, depths, top_down, activation, dropout',
        ),
        ({"nets.width": 0.5}, r'--set nets\.width: a recipe has no table "nets". Did you mean "net"\?'),
        ({"zzz.width": 0.5}, r'no table "zzz"\. Known: schedule, net, augmentation, task_weights'),
        ({"heads": ["lanes"]}, r"Invalid enum value 'lanes', at key `heads\[0\]`\. Known: instances, surface"),
        ({"fit": "crop"}, r"Invalid enum value 'crop', at key `fit`\. Known: letterbox, stretch"),
        ({"composites": {"source": "a", "clas": "b"}}, r'unknown key "composites\.clas". Did you mean "composites\.class"\?'),
        (
            {"teachers": {"a": {"mens": {}}}},
            r'unknown key "teachers\[\.\.\.\]\.mens". Did you mean "teachers\[\.\.\.\]\.means"\?',
        ),
        ({"sets": [{"name": "a", "clases": []}]}, r'unknown key "sets\[0\]\.clases". Did you mean "sets\[0\]\.classes"\?'),
        ({"net.width": "wide"}, "--set: Expected `float`, got `str`, at key `net.width`"),
        ({"schedule.batch": 0}, r"--set: .* >= 1, at key `schedule\.batch`"),
        ({"input_px": [33, 64]}, "--set: input_px .* multiples of 32"),
    ],
)
def test_a_wrong_change_is_named(recipe: Recipe, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        changed(recipe, changes)
