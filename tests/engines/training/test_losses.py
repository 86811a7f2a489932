# ruff: noqa: E402
"""The losses of all tasks against pixel-by-pixel references."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.settings import SetSettings
from engines.training.losses import (
    HEAVIEST,
    LIGHTEST,
    SetLoss,
    balanced_weights,
    instance_loss,
    merged_loss,
    set_loss,
    surface_loss,
)
from engines.training.model import SURFACE_WEIGHTS
from engines.training.recipe import recipe_from_dict

FINE = np.eye(4, dtype=np.float32)
COARSE = np.array([[1, 1, 0, 0.5], [0, 0, 1, 0.5]], np.float32)


def reference(
    logits: np.ndarray, labels: np.ndarray, origins: list[int], merges: list[np.ndarray], weights: list[np.ndarray]
) -> float:
    total = weight = 0.0
    for image, label, origin in zip(logits.astype(np.float64), labels, origins, strict=True):
        for y, x in np.ndindex(label.shape):
            if label[y, x] != 255:
                probabilities = np.exp(image[:, y, x]) / np.exp(image[:, y, x]).sum()
                w = weights[origin][label[y, x]]
                total -= w * np.log(merges[origin][label[y, x]] @ probabilities)
                weight += w
    return total / weight


def test_the_loss_of_two_label_sets_in_one_batch_equals_the_reference() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (4, 4, 5, 6)).astype(np.float32)
    origins = [0, 1, 1, 0]
    labels = np.stack([rng.integers(0, 4 if origin == 0 else 2, (5, 6)) for origin in origins]).astype(np.uint8)
    labels[:, 0, :3] = 255
    weights = [rng.uniform(0.5, 3, 4).astype(np.float32), rng.uniform(0.5, 3, 2).astype(np.float32)]
    sets = [SetLoss(torch.from_numpy(m), torch.from_numpy(w)) for m, w in zip((FINE, COARSE), weights, strict=True)]
    loss = merged_loss(torch.from_numpy(logits), torch.from_numpy(labels), origins, sets)
    assert loss.item() == pytest.approx(reference(logits, labels, origins, [FINE, COARSE], weights), rel=1e-4)


def test_a_batch_of_void_has_loss_0_and_finite_gradients() -> None:
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    loss = merged_loss(
        logits, torch.full((1, 3, 3), 255, dtype=torch.uint8), [0], [SetLoss(torch.from_numpy(COARSE), torch.ones(2))]
    )
    loss.backward()
    assert loss.detach() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_loss_of_a_merged_class_does_not_prefer_one_of_its_classes() -> None:
    """Two model classes that one set class covers get gradients that keep their ratio."""
    logits = torch.tensor([0.3, 1.1, 0.2, -1.0]).reshape(1, 4, 1, 1).requires_grad_()
    merge = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    merged_loss(logits, torch.zeros(1, 1, 1, dtype=torch.uint8), [0], [SetLoss(merge, torch.ones(2))]).backward()
    gradient = logits.grad.flatten()
    probabilities = torch.softmax(logits.detach().flatten(), 0)
    assert (gradient[:2] < 0).all()
    torch.testing.assert_close(gradient[0] / gradient[1], probabilities[0] / probabilities[1], rtol=1e-4, atol=0)


def test_weights_balance_by_the_root_of_the_frequency_within_bounds() -> None:
    weights = balanced_weights(np.array([0.64, 0.16, 0.04, 0.0001, 0], np.float32))
    # The median of those that occur is 0.1.
    np.testing.assert_allclose(weights, [LIGHTEST, (0.1 / 0.16) ** 0.5, (0.1 / 0.04) ** 0.5, HEAVIEST, 0], rtol=1e-5)


def test_emphasis_applies_only_to_the_class_of_that_name(toy_facts: Callable[..., dict[str, Any]]) -> None:
    recipe = recipe_from_dict(toy_facts() | {"emphasis": {"car": 2.0}}, "toy")
    even = np.full(3, 1 / 3, np.float32)
    assert set_loss(recipe.sets[0], even, recipe).weights.tolist() == [1, 1, 2]
    merged = SetSettings("merged", ("ground", "things"), means={"ground": ("sky", "road"), "things": ("car",)})
    assert set_loss(merged, np.full(2, 0.5, np.float32), recipe).weights.tolist() == [1, 1]


def test_a_set_class_without_meaning_has_weight_0(toy_facts: Callable[..., dict[str, Any]]) -> None:
    recipe = recipe_from_dict(toy_facts(), "toy")
    vague = SetSettings("vague", ("sky", "junk"), means={"junk": ()})
    assert set_loss(vague, np.full(2, 0.5, np.float32), recipe).weights.tolist() == [1, 0]


def test_the_surface_loss_equals_the_reference() -> None:
    rng = np.random.default_rng(1)
    logits, surface = rng.normal(0, 2, (2, 3, 5, 6)), rng.choice([0, 1, 2, 255], (2, 5, 6)).astype(np.uint8)
    total = weight = 0.0
    for n, y, x in np.ndindex(surface.shape):
        if (truth := surface[n, y, x]) != 255:
            at = logits[n, :, y, x]
            total -= SURFACE_WEIGHTS[truth] * (at[truth] - np.log(np.exp(at).sum()))
            weight += SURFACE_WEIGHTS[truth]
    found = surface_loss(torch.from_numpy(logits).float(), torch.from_numpy(surface))
    assert found.item() == pytest.approx(total / weight, rel=1e-5)


def test_an_unlabelled_surface_has_loss_0() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = surface_loss(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.detach() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def instance_reference(maps: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Focal loss after CenterNet's equation 1 with alpha 2 and beta 4, per known centre; mean absolute error of the offsets."""
    centre = offset = 0.0
    centres = objects = 0
    for n, y, x in np.ndindex(maps.shape[0], *maps.shape[2:]):
        heat, dx, dy, is_sure, is_object = targets[n, :, y, x]
        found = 1 / (1 + math.exp(-maps[n, 0, y, x]))
        if is_sure and heat == 1:
            centres += 1
            centre -= (1 - found) ** 2 * math.log(found)
        elif is_sure:
            centre -= (1 - heat) ** 4 * found**2 * math.log(1 - found)
        if is_object:
            objects += 1
            offset += abs(maps[n, 1, y, x] - dx) + abs(maps[n, 2, y, x] - dy)
    return centre / max(1, centres), offset / max(1, 2 * objects)


def instance_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 2, (2, 3, 5, 6))
    targets = np.concatenate((rng.random((2, 1, 5, 6)), rng.normal(0, 1, (2, 2, 5, 6)), rng.random((2, 2, 5, 6)) < 0.6), axis=1)
    targets[0, 0, 2, 3] = targets[1, 0, 0, 0] = targets[1, 0, 4, 5] = 1
    targets[0, 3, 2, 3], targets[1, 3, 0, 0], targets[1, 3, 4, 5] = 1, 1, 0  # the last is an unsure centre
    return maps, targets


@pytest.mark.parametrize("seed", range(3))
def test_the_instance_losses_equal_the_reference(seed: int) -> None:
    maps, targets = instance_case(seed)
    found = instance_loss(torch.from_numpy(maps).float(), torch.from_numpy(targets).float())
    assert (found.centre.item(), found.offset.item()) == pytest.approx(instance_reference(maps, targets), rel=1e-4)


def test_unlabelled_objects_have_loss_0() -> None:
    maps = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = instance_loss(maps, torch.zeros(1, 5, 4, 4))
    (loss.centre + loss.offset).backward()
    assert (loss.centre.item(), loss.offset.item()) == (0, 0)
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_extreme_logits_of_centres_stay_finite() -> None:
    maps = torch.tensor([300.0, -300.0]).reshape(1, 1, 1, 2).repeat(1, 3, 1, 1).requires_grad_()
    targets = torch.zeros(1, 5, 1, 2)
    targets[:, 0, 0, 1], targets[:, 3] = 1, 1
    loss = instance_loss(maps, targets)
    loss.centre.backward()
    assert loss.centre.item() == pytest.approx(600)
    assert torch.isfinite(maps.grad).all()


def test_set_classes_of_one_meaning_are_balanced_as_one(toy_facts: Callable[..., dict[str, Any]]) -> None:
    recipe = recipe_from_dict(toy_facts(), "toy")  # sky, road, car
    means = {"lorry": ("car",), "car": ("car",), "sky": ("sky",), "bus": ("car",), "tram": ("road", "car")}
    settings = SetSettings("fine", ("lorry", "car", "sky", "bus", "tram"), means=means)
    weights = set_loss(settings, np.array([0.01, 0.1, 0.5, 0.09, 0.3], np.float32), recipe).weights
    lorry, car, sky, bus, tram = (float(weight) for weight in weights)
    assert lorry == car == bus, "a lorry is as common as cars are"
    assert sky < tram < car, "which is 0.2 in all"
