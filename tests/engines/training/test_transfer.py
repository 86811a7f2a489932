# ruff: noqa: E402
"""Transfer of weights from one run to another, as far as the nets agree; and checkpoints as files."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import open_set
from engines.training import TrainingError
from engines.training.checkpoint import (
    FORMAT,
    Checkpoint,
    load_checkpoint,
    new_net,
    save_checkpoint,
    save_weights,
    transferred,
    with_net_of,
)
from engines.training.mobile import EVIDENCE
from engines.training.opening import changed
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.train import train
from realtime.commands.train import settings_from

Facts = Callable[..., dict[str, Any]]
WEIGHT, BIAS = "heads.semantic.1.weight", "heads.semantic.1.bias"


def checkpoint(recipe: Recipe, seed: int = 7) -> Checkpoint:
    torch.manual_seed(seed)
    weights = new_net(recipe).state_dict()
    return Checkpoint(recipe, 5, weights, {name: value + 0.5 for name, value in weights.items()}, class_weights=[1.0, 2.0, 0.5])


def fresh(recipe: Recipe) -> dict[str, Any]:
    torch.manual_seed(1)
    return new_net(recipe).state_dict()


def test_rows_of_the_class_head_are_matched_by_name(street_facts: Facts) -> None:
    old = checkpoint(recipe_from_dict(street_facts(), "old"))
    recipe = recipe_from_dict(street_facts() | {"classes": ["car", "tree", "sky"], "sets": []}, "new")
    begin, made = fresh(recipe), transferred(fresh(recipe), old, recipe, "old.pt")
    for name in (WEIGHT, BIAS):
        assert torch.equal(made[name][0], old.ema[name][2]), "car"
        assert torch.equal(made[name][1], begin[name][1]), "the old net had no tree"
        assert torch.equal(made[name][2], old.ema[name][0]), "sky"
    others = [name for name in begin if name not in (WEIGHT, BIAS)]
    assert all(torch.equal(made[name], old.ema[name]) for name in others), "the averaged weights of every head"


def test_a_run_begins_with_the_encoder_that_was_evaluated(toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(keep=0.5), "kept")
    old = checkpoint(recipe)
    name = next(name for name, value in old.ema.items() if name.startswith("encoder") and value.ndim == 4)
    old.start = {name: old.ema[name] + 1}
    made = transferred(fresh(recipe), old, recipe, "old.pt")
    torch.testing.assert_close(made[name], old.ema[name] + 0.5)


def test_heads_of_the_new_net_alone_stay_fresh(street_facts: Facts, toy_facts: Facts) -> None:
    recipe = recipe_from_dict(street_facts(), "new")
    begin, old = fresh(recipe), checkpoint(recipe_from_dict(toy_facts(), "old"))
    made = transferred(fresh(recipe), old, recipe, "old.pt")
    assert set(made) == set(begin)
    for name in begin:
        is_new = name.startswith(("heads.surface", "heads.instances"))
        assert torch.equal(made[name], begin[name] if is_new else old.ema[name]), name


def test_heads_of_the_old_net_alone_are_dropped(street_facts: Facts, toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(), "new")
    made = transferred(fresh(recipe), checkpoint(recipe_from_dict(street_facts(), "old")), recipe, "old.pt")
    assert set(made) == set(fresh(recipe))


def test_a_net_of_stdc_needs_three_levels(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=1) | {"net": {"top_down": [16, 8]}}, "new")
    with pytest.raises(TrainingError, match=r"toy: net\.top_down has two entries, .* stdc needs three\. Write three"):
        train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    mobile = recipe_from_dict(toy_facts() | {"net": {"kind": "mobile", "width": 0.5, "top_down": [16, 8]}}, "old")
    save_checkpoint(tmp_path / "old.pt", checkpoint(mobile))
    new_net(with_net_of(recipe, tmp_path / "old.pt"))  # whose kind the recipe leaves open


def test_a_different_net_is_refused(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "old.pt", checkpoint(recipe_from_dict(toy_facts(), "old")))
    other = recipe_from_dict({**toy_facts(steps=1), "net": {"width": 0.5, "depths": [1, 2, 1]}}, "new")
    with pytest.raises(TrainingError, match=r"old\.pt: its net differs from that of recipe toy\. Add (.*), or") as caught:
        train(other, [open_set(toy_set, other.sets[0])], tmp_path / "run", start_from=tmp_path / "old.pt")
    assert not (tmp_path / "run").exists()
    settings = shlex.split(caught.value.cure.removeprefix("Add ").partition(", or")[0])[1::2]
    same = changed(other, settings_from(settings))
    train(same, [open_set(toy_set, same.sets[0])], tmp_path / "run", start_from=tmp_path / "old.pt")


def test_a_recipe_that_leaves_the_net_open_begins_with_any_weights(toy_facts: Facts, tmp_path: Path) -> None:
    """`road` has another net than a recipe's default: `--from road` would be refused."""
    net = {"kind": "mobile", "width": 0.5, "frozen": 2, "top_down": [16, 8]}
    old = checkpoint(recipe_from_dict(toy_facts(encoder_rate=0.1) | {"net": net}, "old"))
    save_checkpoint(tmp_path / "old.pt", old)
    plain = recipe_from_dict(toy_facts() | {"classes": ["car", "tree", "sky", "hut"], "sets": [], "net": {"dropout": 0.3}}, "new")
    recipe = with_net_of(plain, tmp_path / "old.pt")
    assert recipe.net == msgspec.structs.replace(old.recipe.net, dropout=0.3), "what it does say stays"
    assert recipe.schedule.encoder_rate == 0.1, "pretrained, so it learns slowly"
    begin, made = fresh(recipe), transferred(fresh(recipe), old, recipe, "old.pt")
    for name in (f"{EVIDENCE}weight", WEIGHT, f"{EVIDENCE}bias", BIAS):
        assert torch.equal(made[name][0], old.ema[name][2]), "car"
        assert torch.equal(made[name][3], begin[name][3]), "the old net had no hut"
    own = recipe_from_dict(toy_facts() | {"net": {"width": 0.5}}, "own")
    assert with_net_of(own, tmp_path / "old.pt").net.width == 0.5


@pytest.mark.slow
def test_a_run_starts_with_the_given_weights(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=1), "toy")
    begin = checkpoint(recipe)
    save_checkpoint(tmp_path / "old.pt", begin)
    # Nothing is learned at rate 0, so the convolutions are the initial ones (norm statistics still change).
    idle = msgspec.structs.replace(recipe, schedule=msgspec.structs.replace(recipe.schedule, learning_rate=0.0))
    state = train(idle, [open_set(toy_set, idle.sets[0])], tmp_path / "run", start_from=tmp_path / "old.pt")
    convolutions = [name for name, value in begin.ema.items() if value.ndim > 1]
    assert convolutions
    for name in convolutions:
        torch.testing.assert_close(state.weights[name], begin.ema[name])


def test_a_checkpoint_is_read_as_it_was_saved(street_facts: Facts, tmp_path: Path) -> None:
    saved = dataclasses.replace(checkpoint(recipe_from_dict(street_facts(), "s")), loss=0.25, curve=[{"step": 5, "miou": 3.5}])
    save_checkpoint(tmp_path / "a.pt", saved)
    read = load_checkpoint(tmp_path / "a.pt")
    assert (read.recipe, read.step, read.loss, read.curve) == (saved.recipe, 5, 0.25, saved.curve)
    assert read.class_weights == saved.class_weights
    for name, value in saved.ema.items():
        assert torch.equal(read.ema[name], value)
        assert torch.equal(read.weights[name], saved.weights[name])
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_weights_for_another_run_are_half_as_large_and_nearly_the_same(street_facts: Facts, tmp_path: Path) -> None:
    saved = checkpoint(recipe_from_dict(street_facts(), "s"))
    save_checkpoint(tmp_path / "whole.pt", saved)
    save_weights(tmp_path / "weights.pt", saved)
    assert (tmp_path / "weights.pt").stat().st_size < 0.4 * (tmp_path / "whole.pt").stat().st_size
    read = load_checkpoint(tmp_path / "weights.pt")
    assert {value.dtype for value in read.ema.values() if value.is_floating_point()} == {torch.float32}
    for name, value in saved.ema.items():
        torch.testing.assert_close(read.ema[name], value, rtol=1e-3, atol=1e-3)
        if value.ndim <= 1:
            assert torch.equal(read.ema[name], value), "biases and statistics are few, and stay exact"
    assert set(read.weights) == set(read.ema)
    assert read.net().training is False


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint at all"])
def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"some\.pt: (no such|not a) checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"format": FORMAT - 1}, "written by another version of this program. Train again"),
        ({"format": FORMAT, "recipe": {"name": "x"}}, "missing required field"),
        ([1, 2, 3], r"not a checkpoint \(.*\). Name a .pt file of a training run"),
    ],
)
def test_torch_s_own_files_are_not_all_checkpoints(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "some.pt")
    with pytest.raises(TrainingError, match=rf"some\.pt: .*{words}"):
        load_checkpoint(tmp_path / "some.pt")
