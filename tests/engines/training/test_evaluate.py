# ruff: noqa: E402
"""Scores and loss on held-out images: fitted to the input as frames are, and scored in classes that both sides have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import DataSet, Sample
from engines.datasets.settings import SetSettings
from engines.models.fit import fit
from engines.training.checkpoint import new_net
from engines.training.data import TrainingSets
from engines.training.deployed import predict_frame, score_set
from engines.training.losses import MOST_HELD_OUT, SetLoss, held_out_loss, in_net, merged_loss
from engines.training.model import Net, normalised, upsampled
from engines.training.recipe import Recipe, recipe_from_dict
from engines.types import U8, Size

Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def recipe(toy_facts: Facts) -> Recipe:
    return recipe_from_dict(toy_facts(), "toy")


def painted(label: U8) -> U8:
    """An image whose blue is its label."""
    return np.stack((label, label, label), axis=-1)


def blue(image: U8) -> U8:
    return image[..., 0]


def blocks(width: int, height: int, count: int = 3) -> U8:
    coarse = (np.arange(6, dtype=np.uint8).reshape(2, 3) % count).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def held(settings: SetSettings, *labels: U8) -> DataSet:
    return DataSet(settings, (), tuple(Sample(str(index), painted(label), label) for index, label in enumerate(labels)))


@pytest.mark.parametrize("how", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(192, 128), (300, 120), (90, 200)])
def test_labels_are_mapped_back_to_their_place_in_the_frame(recipe: Recipe, how: str, size: tuple[int, int]) -> None:
    spec = msgspec.structs.replace(recipe, fit=how, input_px=(96, 64)).input
    label = blocks(*size)
    found = predict_frame(blue, painted(label * 100), spec) // 100
    assert found.shape == label.shape
    inside = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((13, 13), np.uint8)) == 0
    np.testing.assert_array_equal(found[inside], label[inside])


def test_a_perfect_model_scores_100_and_a_constant_one_little(recipe: Recipe) -> None:
    data_set = held(recipe.sets[0], blocks(96, 64), blocks(96, 64))
    perfect = score_set(blue, data_set, recipe)
    assert (perfect.name, perfect.images, perfect.miou) == ("toy", 2, 100)
    assert perfect.iou == {"sky": 100, "road": 100, "car": 100}
    blind = score_set(lambda image: np.zeros_like(image[..., 0]), data_set, recipe)
    assert blind.iou == {"sky": pytest.approx(100 / 3), "road": 0, "car": 0}
    assert blind.miou == pytest.approx(100 / 9)


def test_void_is_not_scored_and_absent_classes_have_no_figure(recipe: Recipe) -> None:
    label = np.where(blocks(96, 64) == 2, 255, blocks(96, 64)).astype(np.uint8)
    image = painted(np.minimum(label, 1))
    score = score_set(blue, DataSet(recipe.sets[0], (), (Sample("a", image, label),)), recipe)
    assert score.iou == {"sky": 100, "road": 100}


def test_a_coarser_set_is_scored_in_its_own_classes(recipe: Recipe) -> None:
    coarse = SetSettings("coarse", ("ground", "car"), means={"ground": ("sky", "road")})
    sample = Sample("a", painted(blocks(96, 64)), (blocks(96, 64) == 2).astype(np.uint8))
    score = score_set(blue, DataSet(coarse, (), (sample,)), recipe)
    assert score.iou == {"ground": 100, "car": 100}


def test_a_finer_set_is_scored_in_the_model_s_classes(recipe: Recipe) -> None:
    """A model of cars and the rest cannot distinguish sky from road, and does not need to."""
    two = msgspec.structs.replace(recipe, classes=("rest", "car"))
    fine = SetSettings(
        "fine", ("sky", "road", "car", "vague"), means={"sky": ("rest",), "road": ("rest",), "vague": ("rest", "car")}
    )
    label = blocks(96, 64)
    sample = Sample("a", painted((label == 2).astype(np.uint8)), np.where(label == 1, 3, label).astype(np.uint8))
    score = score_set(blue, DataSet(fine, (), (sample,)), two)
    assert score.iou == {"rest": 100, "car": 100}


def test_chosen_samples_are_scored_instead_of_those_held_out(recipe: Recipe) -> None:
    data_set = held(recipe.sets[0], blocks(96, 64))
    wrong = Sample("wrong", painted(np.zeros((64, 96), np.uint8)), np.ones((64, 96), np.uint8))
    assert score_set(blue, data_set, recipe, [wrong]).miou == 0


def test_labels_have_the_frame_s_place_in_the_input() -> None:
    geometry = fit(Size(200, 100), Size(96, 64), "letterbox")
    placed = in_net(np.ones((100, 200), np.uint8), geometry, 2)
    assert placed.shape == (32, 48)
    assert (placed[4:28] == 1).all()
    assert (placed[:4] == 255).all()
    assert (placed[28:] == 255).all()


def test_loss_on_held_out_images_is_that_of_their_pixels(recipe: Recipe) -> None:
    """At the input's size nothing is resized, so the expected loss can be computed directly."""
    torch.manual_seed(2)
    net = new_net(recipe).eval()
    label = blocks(96, 64)
    label[:8] = 255
    data_set = held(recipe.sets[0], label)
    loss = SetLoss(torch.eye(3), torch.tensor([1.0, 2.0, 3.0]))
    found = held_out_loss(net, TrainingSets(recipe, (data_set,)), [loss])
    with torch.inference_mode():
        logits = upsampled(net(normalised(torch.from_numpy(data_set.held_out[0].image)[None]))["semantic"], 2)
    thinned = torch.from_numpy(cv2.resize(label, (48, 32), interpolation=cv2.INTER_NEAREST))[None]
    assert found == pytest.approx(float(merged_loss(logits, thinned, (0,), [loss])), rel=1e-5)


def test_a_limited_number_of_held_out_images_is_used(recipe: Recipe) -> None:
    seen: list[int] = []

    class Counting(Net):
        semantic_step = 4

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: Any) -> dict[str, Any]:
            seen.append(round(float(images.mean() * 58 + 114)))
            return {"semantic": torch.zeros(1, 3, 16, 24)}

    tints = np.arange(90, 90 + 2 * MOST_HELD_OUT - 1, dtype=np.uint8)  # bright enough not to be brightened
    samples = tuple(Sample(str(t), np.full((64, 96, 3), t, np.uint8), np.zeros((64, 96), np.uint8)) for t in tints)
    data = TrainingSets(recipe, (DataSet(recipe.sets[0], (), samples),))
    held_out_loss(Counting(), data, [SetLoss(torch.eye(3), torch.ones(3))])
    assert seen == tints[::2].tolist()
    assert len(seen) == MOST_HELD_OUT
