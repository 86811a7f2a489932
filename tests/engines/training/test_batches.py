"""Batches: each is a function of its number, with the labels of every head's task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from engines.datasets.folder import DataSet, Sample, open_set
from engines.datasets.settings import SetSettings
from engines.training import TrainingError
from engines.training.data import Batch, TrainingSets, batch_at, batches, instance_targets
from engines.training.recipe import recipe_from_dict
from engines.types import VOID_CLASS

from .test_augment import STILL

Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def data(toy_set: Path, street_facts: Facts) -> TrainingSets:
    recipe = recipe_from_dict(street_facts(), "street")
    return TrainingSets(recipe, (open_set(toy_set, recipe.sets[0]),))


def still(data: TrainingSets, **changes: Any) -> TrainingSets:
    """Crops are the images, so that labels can be compared."""
    return TrainingSets(msgspec.structs.replace(data.recipe, augmentation=STILL, **changes), data.sets)


def arrays(batch: Batch) -> list[np.ndarray]:
    assert batch.surface is not None
    assert batch.instances is not None
    return [batch.images, batch.labels, batch.surface, batch.instances]


def drawn(batch: Batch, row: int, data: TrainingSets) -> Sample:
    """The training image that a still crop shows."""
    samples = data.sets[batch.sets[row]].training
    return min(samples, key=lambda sample: np.abs(sample.image.astype(int) - batch.images[row]).mean())


def test_batch_depends_on_its_number_alone(data: TrainingSets) -> None:
    ahead = list(islice(batches(2, data), 10))
    assert len(ahead) == data.recipe.schedule.steps - 2
    for step, batch in enumerate(ahead, start=2):
        again = batch_at(step, data)
        assert batch.sets == again.sets
        for one, other in zip(arrays(batch), arrays(again), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(ahead[0].images, ahead[1].images)


def test_another_seed_makes_other_batches(data: TrainingSets) -> None:
    schedule = msgspec.structs.replace(data.recipe.schedule, seed=2)
    other = TrainingSets(msgspec.structs.replace(data.recipe, schedule=schedule), data.sets)
    assert not np.array_equal(batch_at(0, data).images, batch_at(0, other).images)


def test_a_reader_that_stops_early_leaves_no_waiting_thread(data: TrainingSets) -> None:
    stream = cast(Generator[Batch, None, None], batches(0, data))
    assert next(stream).images.shape == (2, 64, 96, 3)
    stream.close()


def test_a_batch_has_the_labels_of_its_heads(data: TrainingSets) -> None:
    batch = batch_at(0, data)
    shapes = [(array.shape, array.dtype) for array in arrays(batch)]
    assert shapes == [((2, 64, 96, 3), np.uint8), *[((2, 64, 96), np.uint8)] * 2, ((2, 5, 16, 24), np.float32)]
    plain = batch_at(0, TrainingSets(msgspec.structs.replace(data.recipe, heads=()), data.sets))
    assert plain.surface is None
    assert plain.instances is None


def test_labels_of_every_task_are_those_of_the_image(data: TrainingSets) -> None:
    data = still(data)
    batch = batch_at(0, data)
    _, labels, surface, instances = arrays(batch)
    for row in range(2):
        sample = drawn(batch, row, data)
        assert sample.surface is not None
        np.testing.assert_array_equal(labels[row], sample.label)
        bits = np.select([sample.label == 255, sample.surface == 3, sample.surface == 1], [255, 2, 1], 0)
        np.testing.assert_array_equal(surface[row], bits)
        wanted = instance_targets(sample.instances, sample.label == 2)
        np.testing.assert_array_equal(instances[row, 0], wanted.heat)
        np.testing.assert_array_equal(instances[row, 1:3], wanted.offsets)
        np.testing.assert_array_equal(instances[row, 3:], np.stack((wanted.is_sure, wanted.is_object)))
        assert (instances[row, 0] == 1).sum() == 2, "two cars"


def test_tasks_that_a_set_does_not_label_are_unknown(data: TrainingSets) -> None:
    bare = tuple(Sample(sample.name, sample.image, sample.label) for sample in data.sets[0].training)
    batch = batch_at(0, TrainingSets(data.recipe, (DataSet(data.sets[0].settings, bare, ()),)))
    assert batch.surface is not None
    assert batch.instances is not None
    assert (batch.surface == 255).all()
    assert not batch.instances[:, 3:].any()


def test_sets_are_drawn_by_their_shares(data: TrainingSets) -> None:
    settings = msgspec.structs.replace(data.sets[0].settings, name="rare", share=0.25)
    schedule = msgspec.structs.replace(data.recipe.schedule, batch=100)
    recipe = msgspec.structs.replace(data.recipe, schedule=schedule, heads=(), augmentation=STILL)
    two = TrainingSets(recipe, (data.sets[0], DataSet(settings, data.sets[0].training, ())))
    assert two.shares.tolist() == [0.8, 0.2]
    assert 10 <= sum(batch_at(0, two).sets) <= 30


def merged_settings(name: str, means: dict[str, tuple[str, ...]]) -> SetSettings:
    return SetSettings(name, tuple(means), means=means)


def test_countable_classes_follow_the_meanings_of_a_set_s_classes(data: TrainingSets) -> None:
    settings = merged_settings("merged", {"ground": ("sky", "road"), "stuff": ("road", "car")})
    (table,) = TrainingSets(data.recipe, (DataSet(settings, (), ()),)).things
    assert table[:3].tolist() == [False, True, False]
    assert not table[255]


@pytest.fixture
def crowd(data: TrainingSets) -> TrainingSets:
    """Every crop gets cars pasted."""
    composites = {"source": "toy", "class": "car", "share": 1.0, "most": 2, "scale": [1.0, 1.0]}
    recipe = recipe_from_dict(msgspec.to_builtins(data.recipe) | {"composites": composites}, "crowd")
    return still(TrainingSets(recipe, data.sets))


def test_composites_add_objects_to_every_task(crowd: TrainingSets, data: TrainingSets) -> None:
    with_them, without = batch_at(3, crowd), batch_at(3, still(data))
    assert with_them.surface is not None
    assert without.surface is not None
    assert with_them.instances is not None
    assert without.instances is not None
    changed = with_them.labels != without.labels
    assert changed.any()
    assert (with_them.labels[changed] == 2).all()
    assert (with_them.surface[changed] == 0).all()
    assert (with_them.instances[:, 0] == 1).sum() != (without.instances[:, 0] == 1).sum()


def test_distractors_lie_behind_composites_and_are_no_objects(crowd: TrainingSets, data: TrainingSets) -> None:
    """The road stands for what is not looked for; with every pixel of it an object, roads of other images are pasted."""
    samples = tuple(
        dataclasses.replace(sample, instances=np.full(sample.label.shape, 255, np.uint8)) for sample in data.sets[0].training
    )
    sets = (DataSet(data.sets[0].settings, samples, ()),)
    distractors = {"source": "toy", "class": "road", "share": 1.0, "most": 1, "scale": [1.0, 1.0]}
    recipe = recipe_from_dict(msgspec.to_builtins(data.recipe) | {"distractors": distractors}, "roads")
    only = batch_at(3, still(TrainingSets(recipe, sets)))
    assert (only.labels == 1).sum() > (batch_at(3, still(data)).labels == 1).sum()
    recipe = recipe_from_dict(msgspec.to_builtins(crowd.recipe) | {"distractors": distractors}, "both")
    assert list(TrainingSets(recipe, sets).donors) == ["distractors", "composites"]
    both = batch_at(3, still(TrainingSets(recipe, sets)))
    assert (both.labels == 2).sum() > (only.labels == 2).sum(), "cars in front of the roads"


def test_distractors_that_no_class_of_their_set_means_are_refused(data: TrainingSets) -> None:
    distractors = {"source": "vague", "class": "road"}
    recipe = recipe_from_dict(msgspec.to_builtins(data.recipe) | {"sets": [], "distractors": distractors}, "vague")
    vague = DataSet(merged_settings("vague", {"stuff": ("road", "car")}), (), ())
    with pytest.raises(TrainingError, match=r'no class that means "road" alone.*under \[distractors\]'):
        TrainingSets(recipe, (vague,)).check()


def test_a_crop_that_is_known_to_show_no_object_has_no_centre(data: TrainingSets) -> None:
    """Without labels of objects, too; otherwise pictures without people would teach nothing about where people are not."""
    for label, is_known in ((1, True), (2, False), (255, False)):  # road; car; void
        bare = tuple(Sample(s.name, s.image, np.full_like(s.label, label)) for s in data.sets[0].training)
        targets = batch_at(0, still(TrainingSets(data.recipe, (DataSet(data.sets[0].settings, bare, ()),)))).instances
        assert targets is not None
        assert (targets[:, 3] == is_known).all()
        assert not targets[:, :3].any()


def test_a_share_of_0_pastes_nothing(crowd: TrainingSets, data: TrainingSets) -> None:
    assert crowd.recipe.composites is not None
    none = still(crowd, composites=msgspec.structs.replace(crowd.recipe.composites, share=0.0))
    np.testing.assert_array_equal(batch_at(3, none).labels, batch_at(3, still(data)).labels)


def test_a_set_without_a_class_for_pasted_objects_gets_none(crowd: TrainingSets) -> None:
    """ "stuff" may be a car or a road, so a pasted car would be a road as well."""
    own = merged_settings("vague", {"sky": ("sky",), "stuff": ("road", "car")})
    vague = DataSet(own, tuple(Sample(s.name, s.image, np.minimum(s.label, 1)) for s in crowd.sets[0].training), ())
    recipe = msgspec.structs.replace(crowd.recipe, sets=(), heads=())
    batch = batch_at(0, TrainingSets(recipe, (DataSet(crowd.sets[0].settings, crowd.sets[0].training, ()), vague)))
    assert 1 in batch.sets
    for row in (row for row, origin in enumerate(batch.sets) if origin == 1):
        sample = min(vague.training, key=lambda s: np.abs(s.image.astype(int) - batch.images[row]).mean())
        assert np.abs(sample.image.astype(int) - batch.images[row]).max() <= 6


def test_composites_need_their_set_and_their_class(crowd: TrainingSets) -> None:
    settings = msgspec.structs.replace(crowd.sets[0].settings, name="other")
    with pytest.raises(TrainingError, match=r'recipe "street" pastes objects of the set "toy"\. Add --data PATH/toy'):
        TrainingSets(crowd.recipe, (DataSet(settings, crowd.sets[0].training, ()),)).check()
    vague = merged_settings("toy", {"sky": ("sky",), "stuff": ("road", "car")})
    with pytest.raises(TrainingError, match='set "toy" has no class that means "car" alone'):
        TrainingSets(crowd.recipe, (DataSet(vague, crowd.sets[0].training, ()),)).check()
    crowd.check()


class Failing(tuple[Sample, ...]):
    """Samples that cannot be read."""

    def __getitem__(self, index: Any) -> Any:
        raise OSError("disk gone")


def test_an_error_of_the_preparing_thread_is_raised_where_the_batch_is_read(data: TrainingSets) -> None:
    broken = dataclasses.replace(data.sets[0], training=Failing(data.sets[0].training))
    with pytest.raises(OSError, match="disk gone"):
        next(batches(0, TrainingSets(data.recipe, (broken,))))


def test_soft_pictures_are_drawn_smaller_than_those_of_other_sets(data: TrainingSets) -> None:
    """A set's `scale` is on top of the recipe's range."""
    own = dataclasses.replace(data.sets[0], settings=msgspec.structs.replace(data.sets[0].settings, scale=0.5))
    smaller = dataclasses.replace(still(data), sets=(own,))
    of_image = [np.mean(batch_at(step, still(data)).labels != VOID_CLASS) for step in range(4)]
    of_half = [np.mean(batch_at(step, smaller).labels != VOID_CLASS) for step in range(4)]
    np.testing.assert_allclose(np.mean(of_half) / np.mean(of_image), 0.25, atol=0.03)
