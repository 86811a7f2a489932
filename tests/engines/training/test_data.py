"""Data sets: what is wrong with a folder is said before the first step, and a batch is a function of its number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from engines.training.augment import augment, random_warp
from engines.training.data import DataSet, batch_at, batches, open_set
from engines.training.errors import TrainingError
from engines.training.recipe import Augmentation, Recipe, SetSettings, recipe_from_dict

SETTINGS = SetSettings("toy", ("sky", "road", "car"), hold_out=("held_*",))
STILL = Augmentation(
    crop_px=(96, 64), scale=(1, 1), aspect=(1, 1), rotate_deg=0, flip=0, brightness=0, contrast=0, gamma=(1, 1),
    white_balance=0, saturation=0, hue_deg=0, blur=0, noise=0,
)  # fmt: skip
"""Every range closed: the crop is the image."""


@pytest.fixture
def recipe(toy_facts: Callable[..., dict[str, Any]]) -> Recipe:
    return recipe_from_dict(toy_facts(), "toy")


def test_split_follows_the_patterns(toy_set: Path) -> None:
    data_set = open_set(toy_set, SETTINGS)
    assert [sample.name for sample in data_set.held_out] == ["held_6", "held_7"]
    assert len(data_set.training) == 6
    assert data_set.pixel_shares().sum() == pytest.approx(1)


def test_class_id_out_of_range_names_the_file(toy_set: Path) -> None:
    path = toy_set / "labels" / "seen_3.png"
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[5, 5] = 9
    cv2.imwrite(str(path), label)
    with pytest.raises(TrainingError, match=r"seen_3\.png: class id 9, but the set has 3 classes"):
        open_set(toy_set, SETTINGS)


def test_image_without_label_names_both(toy_set: Path) -> None:
    (toy_set / "labels" / "seen_2.png").unlink()
    with pytest.raises(TrainingError, match=r"images/seen_2\.png: has no label .*labels/seen_2\.png"):
        open_set(toy_set, SETTINGS)


def test_label_of_another_size_names_the_file(toy_set: Path) -> None:
    cv2.imwrite(str(toy_set / "labels" / "seen_1.png"), np.zeros((64, 90), np.uint8))
    with pytest.raises(TrainingError, match=r"seen_1\.png: 90x64, but its image is 96x64"):
        open_set(toy_set, SETTINGS)


def test_label_with_colours_names_the_file(toy_set: Path) -> None:
    cv2.imwrite(str(toy_set / "labels" / "seen_1.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(TrainingError, match=r"seen_1\.png: is uint8 with shape .*one channel"):
        open_set(toy_set, SETTINGS)


def test_unreadable_image_names_the_file(toy_set: Path) -> None:
    (toy_set / "images" / "seen_0.png").write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match=r"seen_0\.png: cannot be read as an image"):
        open_set(toy_set, SETTINGS)


@pytest.mark.parametrize(("pattern", "message"), [("*", "leaves no image to train on"), ("clip9_*", "no file matches hold_out")])
def test_hold_out_that_splits_nothing_is_refused(toy_set: Path, pattern: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        open_set(toy_set, SetSettings("toy", SETTINGS.classes, hold_out=(pattern,)))


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no folder images/"):
        open_set(tmp_path, SETTINGS)


def test_batch_depends_on_its_number_alone(toy_set: Path, recipe: Recipe) -> None:
    sets: list[DataSet] = [open_set(toy_set, SETTINGS)]
    ahead = list(islice(batches(2, sets, recipe), 10))
    assert len(ahead) == recipe.schedule.steps - 2
    for step, batch in enumerate(ahead, start=2):
        again = batch_at(step, sets, recipe)
        np.testing.assert_array_equal(batch.images, again.images)
        np.testing.assert_array_equal(batch.labels, again.labels)
    assert not np.array_equal(ahead[0].images, ahead[1].images)


def test_reader_that_stops_early_leaves_no_thread_waiting(toy_set: Path, recipe: Recipe) -> None:
    stream = batches(0, [open_set(toy_set, SETTINGS)], recipe)
    assert next(stream).images.shape == (2, 64, 96, 3)
    stream.close()  # type: ignore[attr-defined]


def test_without_any_range_a_crop_is_the_image() -> None:
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (64, 96, 3), np.uint8), rng.integers(0, 3, (64, 96), np.uint8)
    crop, crop_label = augment(image, label, (96, 64), STILL, rng)
    np.testing.assert_array_equal(crop_label, label)
    assert np.abs(crop.astype(int) - image).max() <= 6  # a trip through HSV rounds


def test_label_stays_under_its_pixels_however_it_is_turned() -> None:
    """Pixels that carry their class as a grey value must come out, away from edges, with that class below them."""
    settings = msgspec.structs.replace(STILL, scale=(0.6, 1.8), aspect=(0.8, 1.25), rotate_deg=4, flip=0.5)
    label = np.repeat(np.repeat(np.arange(24, dtype=np.uint8).reshape(4, 6), 32, 0), 32, 1)
    image = np.repeat(label[..., None] * 10, 3, axis=2)
    for seed in range(20):
        crop, crop_label = augment(image, label, (192, 128), settings, np.random.default_rng(seed))
        inside = cv2.erode((crop_label != 255).astype(np.uint8), np.ones((7, 7))) > 0
        flat = inside & (cv2.morphologyEx(crop_label, cv2.MORPH_GRADIENT, np.ones((7, 7))) == 0)
        flat[:4] = flat[-4:] = flat[:, :4] = flat[:, -4:] = False  # an edge may lie just outside
        assert flat.any()
        assert np.abs(crop[flat].astype(int) - crop_label[flat][:, None] * 10.0).max() <= 2


def test_crop_stays_inside_an_image_that_is_larger() -> None:
    settings = Augmentation(crop_px=(64, 32), scale=(1, 1), aspect=(1, 1), rotate_deg=0)
    for seed in range(50):
        matrix = random_warp((320, 240), (160, 96), settings, np.random.default_rng(seed))
        inverse = cv2.invertAffineTransform(matrix)
        corners = np.array([[0, 0, 1], [64, 0, 1], [0, 32, 1], [64, 32, 1]]) @ inverse.T
        assert corners.min() >= -1e-6
        assert corners[:, 0].max() <= 320 + 1e-6
        assert corners[:, 1].max() <= 240 + 1e-6
