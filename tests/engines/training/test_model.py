# ruff: noqa: E402
"""The net: its size, its heads, and the exposure of its input."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.training import TrainingError
from engines.training.augment import DARK_GREY, LARGEST_GAIN, exposed_image
from engines.training.checkpoint import new_net
from engines.training.model import SEMANTIC_HEAD, SegmentationNet, exposed, normalised, parameter_count
from engines.training.opening import read_recipe
from engines.training.recipe import NetSettings

SMALL = NetSettings(width=0.25, depths=(1, 1, 1))


def test_the_default_net_has_about_a_million_parameters() -> None:
    net = SegmentationNet(NetSettings(), 11).eval()
    assert 0.8e6 < parameter_count(net) < 1.2e6
    with torch.inference_mode():
        maps = net(normalised(torch.zeros(1, 96, 160, 3, dtype=torch.uint8)))
    assert {name: tuple(found.shape) for name, found in maps.items()} == {"semantic": (1, 11, 24, 40)}


def test_all_heads_have_the_same_grid() -> None:
    net = SegmentationNet(SMALL, 5, ("surface", "instances")).eval()
    with torch.inference_mode():
        maps = net(torch.zeros(2, 3, 64, 96))
    shapes = {name: tuple(found.shape) for name, found in maps.items()}
    assert shapes == {"semantic": (2, 5, 16, 24), "surface": (2, 3, 16, 24), "instances": (2, 3, 16, 24)}
    assert torch.sigmoid(maps["instances"][:, 0]).mean() < 0.1, "centres are rare, and the net starts with that"
    assert f"{SEMANTIC_HEAD}bias" in net.state_dict()


@pytest.mark.parametrize("name", ["road", "road-small", "people"])
def test_the_net_of_a_bundled_recipe_runs(name: str) -> None:
    recipe = read_recipe(name)
    net = new_net(recipe).eval()
    with torch.inference_mode():
        maps = net(torch.zeros(1, 3, 64, 64))
    assert set(maps) == {"semantic", *recipe.heads}
    assert parameter_count(net) < 2.3e6


@pytest.mark.parametrize("activation", ["leaky_relu", "hardswish", "silu"])
def test_activation_is_a_setting(activation: str) -> None:
    net = SegmentationNet(NetSettings(width=0.25, activation=activation), 3).eval()
    with torch.inference_mode():
        assert torch.isfinite(net(torch.zeros(1, 3, 64, 64))["semantic"]).all()


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(TrainingError, match=r'unknown net.activation "rellu". Did you mean "relu"'):
        SegmentationNet(NetSettings(activation="rellu"), 3)


def test_only_dark_frames_are_brightened() -> None:
    day = torch.full((1, 8, 8, 3), 120, dtype=torch.uint8)
    assert torch.equal(exposed(day), day.float())
    dusk = torch.full((1, 8, 8, 3), 60, dtype=torch.uint8)
    assert exposed(dusk).mean().item() == pytest.approx(DARK_GREY)
    night = torch.full((1, 8, 8, 3), 10, dtype=torch.uint8)
    assert exposed(night).mean().item() == pytest.approx(10 * LARGEST_GAIN)
    assert exposed(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).max().item() == 0
    lamp = dusk.clone()
    lamp[0, 0, 0] = 250
    assert exposed(lamp).max().item() <= 255


@pytest.mark.parametrize("brightest", [2, 40, 110, 255])
def test_teachers_get_the_same_exposure_as_the_net(brightest: int) -> None:
    image = np.random.default_rng(0).integers(0, brightest, (8, 10, 3), np.uint8)
    of_net = exposed(torch.from_numpy(image)[None])[0].numpy()
    assert np.abs(exposed_image(image) - of_net).max() <= 0.51


def test_each_image_of_a_batch_has_its_own_exposure() -> None:
    images = torch.stack((torch.full((8, 8, 3), 30, dtype=torch.uint8), torch.full((8, 8, 3), 200, dtype=torch.uint8)))
    both = exposed(images)
    assert torch.equal(both[:1], exposed(images[:1]))
    assert torch.equal(both[1:], images[1:].float())
