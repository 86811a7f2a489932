# ruff: noqa: E402
"""Class weights, and the share of them that is subtracted from the logits at export."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import DataSet, open_set
from engines.datasets.settings import SetSettings
from engines.training.checkpoint import Checkpoint, new_net
from engines.training.data import TrainingSets
from engines.training.losses import SetLoss, class_weights, set_loss
from engines.training.recipe import Recipe, recipe_from_dict

Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def recipe(toy_facts: Facts) -> Recipe:
    return recipe_from_dict({**toy_facts(), "rebalance": 0.5}, "toy")


def checkpoint(recipe: Recipe, weights: list[float]) -> Checkpoint:
    torch.manual_seed(3)
    state = new_net(recipe).state_dict()
    return Checkpoint(recipe, 5, state, state, class_weights=weights)


def of(name: str, classes: tuple[str, ...], share: float = 1.0, **means: tuple[str, ...]) -> DataSet:
    return DataSet(SetSettings(name, classes, share=share, means=means), (), ())


def weights_of(recipe: Recipe, *pairs: tuple[DataSet, list[float]]) -> list[float]:
    losses = [SetLoss(torch.zeros(0), torch.tensor(weights)) for _, weights in pairs]
    return class_weights(TrainingSets(recipe, tuple(data_set for data_set, _ in pairs)), losses)


def test_class_weights_are_the_mean_over_sets_with_exactly_these_classes(recipe: Recipe) -> None:
    fine, other = of("a", recipe.classes, share=3.0), of("b", recipe.classes, share=1.0)
    coarse = of("c", ("ground", "car"), share=9.0, ground=("sky", "road"))
    found = weights_of(recipe, (fine, [1.0, 2.0, 4.0]), (other, [2.0, 2.0, 0.0]), (coarse, [7.0, 7.0]))
    assert found == pytest.approx([(3 * 1 + 1 * 2) / 4, 2.0, 4.0]), "a set does not count for a class that it does not have"


def test_unknown_class_weights_are_1(recipe: Recipe) -> None:
    assert weights_of(recipe, (of("a", recipe.classes), [1.0, 2.0, 0.0])) == pytest.approx([1, 2, 1])
    coarse = of("c", ("ground", "car"), ground=("sky", "road"))
    assert weights_of(recipe, (coarse, [7.0, 7.0])) == [1, 1, 1]


def test_class_weights_are_those_of_the_loss(recipe: Recipe, toy_set: Path) -> None:
    data_set = open_set(toy_set, recipe.sets[0])
    loss = set_loss(data_set.settings, data_set.pixel_shares(), recipe)
    found = class_weights(TrainingSets(recipe, (data_set,)), [loss])
    assert found == pytest.approx(loss.weights.tolist())
    assert found[2] > found[0]


def test_rebalancing_changes_only_the_logits_and_by_the_weights(recipe: Recipe) -> None:
    before = checkpoint(recipe, [0.5, 1.0, 4.0])
    after = before.rebalanced()
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        moved = after.net()(images)["semantic"] - before.net()(images)["semantic"]
    wanted = -0.5 * torch.tensor([0.5, 1.0, 4.0]).log()
    torch.testing.assert_close(moved, wanted.reshape(1, 3, 1, 1).expand_as(moved), rtol=0, atol=1e-5)
    assert after.step == before.step
    assert torch.equal(before.ema["heads.semantic.1.bias"], checkpoint(recipe, []).ema["heads.semantic.1.bias"])


@pytest.mark.parametrize("net", [{}, {"kind": "mobile", "width": 0.5, "top_down": [16, 8]}])
def test_lane_lines_are_learned_at_four_times_their_weight_and_shown_at_twice(street_facts: Facts, net: dict[str, Any]) -> None:
    """At four times it, they were twice as wide as they are."""
    recipe = recipe_from_dict(street_facts() | {"net": net, "rebalance": 0.5}, "street")
    before = checkpoint(recipe, [0.5, 1.0, 4.0])
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        moved = before.rebalanced().net()(images)["surface"] - before.net()(images)["surface"]
    torch.testing.assert_close(moved.amax((0, 2, 3)), torch.tensor([0.0, 0.0, -math.log(2)]), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved.amin((0, 2, 3)), torch.tensor([0.0, 0.0, -math.log(2)]), rtol=0, atol=1e-5)


def test_without_a_share_or_weights_nothing_changes(recipe: Recipe) -> None:
    unknown = checkpoint(recipe, [])
    assert unknown.rebalanced() is unknown
    whole = checkpoint(msgspec.structs.replace(recipe, rebalance=0.0), [0.5, 1.0, 4.0])
    assert whole.rebalanced() is whole
