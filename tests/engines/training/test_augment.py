"""Augmentation: an image and the labels of all its tasks are warped together."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest

from engines.datasets.folder import Sample
from engines.models.card import InputSpec
from engines.training.augment import augment, random_warp, recoloured
from engines.training.recipe import Augmentation
from engines.types import U8, Size

STILL = Augmentation(
    crop_px=(96, 64), scale=(1, 1), aspect=(1, 1), rotate_deg=0, flip=0, brightness=0, contrast=0, gamma=(1, 1),
    white_balance=0, saturation=0, hue_deg=0, blur=0, noise=0,
)  # fmt: skip
"""All ranges empty: the crop is the image."""
MOVING = msgspec.structs.replace(STILL, crop_px=(192, 128), scale=(0.5, 1.8), aspect=(0.8, 1.25), rotate_deg=12, flip=0.5)
GREY_OF = 10
"""An image's channels are its labels times this."""


def spec(width: int, height: int, fit: str = "stretch") -> InputSpec:
    return InputSpec("image", (width, height), "nhwc", "uint8", "bgr", fit)  # type: ignore[arg-type]


def labelled_shapes(height: int = 128, width: int = 192) -> Sample:
    """Shapes of three tasks, of different sizes; blue, green and red encode the labels of each pixel."""
    rng = np.random.default_rng(5)
    maps = []
    for cell in (32, 24, 16):
        coarse = rng.integers(1, 20, (height // cell + 1, width // cell + 1), np.uint8)
        shape = np.repeat(np.repeat(coarse, cell, 0), cell, 1)[:height, :width].copy()
        cv2.circle(shape, (int(rng.integers(30, width - 30)), int(rng.integers(30, height - 30))), 25, 22, cv2.FILLED)
        maps.append(shape)
    return Sample("shapes", np.stack(maps, axis=-1) * GREY_OF, *maps)


def flat(label: U8) -> np.ndarray:
    """True away from edges, where the interpolation of the image mixes two shapes."""
    inside = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) == 0
    inside[:4] = inside[-4:] = inside[:, :4] = inside[:, -4:] = False  # an edge may be just outside
    return inside


def test_with_empty_ranges_a_crop_is_the_image() -> None:
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (64, 96, 3), np.uint8), rng.integers(0, 3, (64, 96), np.uint8)
    surface, instances = rng.integers(0, 4, (64, 96), np.uint8), rng.integers(0, 256, (64, 96), np.uint8)
    crop = augment(Sample("a", image, label, surface, instances), spec(96, 64), STILL, rng)
    assert crop.surface is not None
    assert crop.instances is not None
    np.testing.assert_array_equal(crop.label, label)
    np.testing.assert_array_equal(crop.surface, surface)
    np.testing.assert_array_equal(crop.instances, instances)
    assert np.abs(crop.image.astype(int) - image).max() <= 6  # the conversion to HSV and back rounds


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_labels_move_with_their_pixels(fit: str) -> None:
    sample = labelled_shapes()
    for seed in range(20):
        crop = augment(sample, spec(224, 128, fit), MOVING, np.random.default_rng(seed))
        assert crop.surface is not None
        assert crop.instances is not None
        known = cv2.erode((crop.label != 255).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        for channel, label in enumerate((crop.label, crop.surface, crop.instances)):
            compared = known & flat(label)
            # Only where the other two are flat too: the conversion through HSV mixes the channels of an edge.
            for other in (crop.label, crop.surface, crop.instances):
                compared &= flat(other)
            assert compared.sum() > 100
            assert np.abs(crop.image[..., channel][compared].astype(int) - label[compared] * GREY_OF).max() <= 8


def test_outside_the_image_nothing_is_known() -> None:
    """The label is void, there is no surface, and objects are unsure."""
    small = msgspec.structs.replace(STILL, scale=(0.5, 0.5))
    crop = augment(labelled_shapes(), spec(96, 64), small, np.random.default_rng(0))
    assert crop.surface is not None
    assert crop.instances is not None
    outside = crop.label == 255
    assert outside.mean() == pytest.approx(0.75, abs=0.02)
    assert (crop.surface[outside] == 0).all()
    assert (crop.instances[outside] == 255).all()
    assert (crop.instances[~outside] < 255).all()


def test_unlabelled_tasks_stay_unlabelled() -> None:
    sample = labelled_shapes()
    crop = augment(Sample("a", sample.image, sample.label), spec(96, 64), STILL, np.random.default_rng(0))
    assert crop.surface is None
    assert crop.instances is None


@pytest.mark.parametrize(("fit", "content"), [("stretch", (96, 64)), ("letterbox", (96, 48))])
def test_at_scale_1_an_image_has_the_size_in_the_model_s_input(fit: str, content: tuple[int, int]) -> None:
    image = np.full((100, 200, 3), 200, np.uint8)
    for seed in range(5):
        crop = augment(Sample("a", image, np.zeros((100, 200), np.uint8)), spec(96, 64, fit), STILL, np.random.default_rng(seed))
        rows, columns = np.nonzero(crop.label == 0)
        found = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert np.abs(np.subtract(found, content)).max() <= 1


def test_a_crop_stays_inside_a_larger_image() -> None:
    settings = Augmentation(crop_px=(64, 32), scale=(1, 1), aspect=(1, 1), rotate_deg=0)
    places = set()
    for seed in range(50):
        matrix = random_warp(Size(320, 240), Size(160, 96), settings, np.random.default_rng(seed))
        inverse = cv2.invertAffineTransform(matrix)
        corners = np.array([[0, 0, 1], [64, 0, 1], [0, 32, 1], [64, 32, 1]]) @ inverse.T
        assert corners.min() >= -1e-6
        assert corners[:, 0].max() <= 320 + 1e-6
        assert corners[:, 1].max() <= 240 + 1e-6
        places.add(corners[0].tobytes())
    assert len(places) == 50


def test_colours_differ_each_time_and_the_given_image_does_not_change() -> None:
    image = labelled_shapes().image
    before = image.copy()
    wild = Augmentation(blur=1.0, noise=1.0)
    made = [recoloured(image, wild, np.random.default_rng(seed)) for seed in range(6)]
    np.testing.assert_array_equal(image, before)
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in made)
    assert len({one.tobytes() for one in made}) == 6
