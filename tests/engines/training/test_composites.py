"""Composites: pasted pixels, unchanged pixels, and the labels of all tasks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engines.datasets.folder import Sample
from engines.training.augment import paste

SIDE = 40
PERSON = np.arange(256) == 1
"""The donor's classes: 0 background, 1 person."""
AS_CLASS = 4


def plain(grey: int, label: int, instances: int = 0) -> Sample:
    shape = (SIDE, SIDE)
    maps = [np.full(shape, value, np.uint8) for value in (label, 1, instances)]
    return Sample("a", np.full((*shape, 3), grey, np.uint8), *maps)


def donor() -> Sample:
    """A person of 12 x 16 px on a background, with void next to it."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[10:26, 12:24] = 1
    label[10:26, 24:30] = 255
    return Sample("d", np.full((SIDE, SIDE, 3), 200, np.uint8), label)


MASK = donor().label == 1


def test_the_object_is_in_front_in_the_image_and_in_all_labels() -> None:
    made = paste(plain(50, 0), donor(), PERSON, AS_CLASS)
    np.testing.assert_array_equal(made.label, np.where(MASK, AS_CLASS, 0))
    np.testing.assert_array_equal(made.surface, np.where(MASK, 0, 1))
    np.testing.assert_array_equal(made.instances, MASK)
    assert (made.image[13:23, 15:21] == 200).all()
    assert [array.dtype for array in (made.image, made.label, made.surface, made.instances)] == [np.uint8] * 4


def test_the_outline_is_soft_and_no_wider_than_that() -> None:
    made = paste(plain(50, 0), donor(), PERSON, AS_CLASS).image[18, :, 0].astype(int)
    edge = made[8:16]
    assert (np.diff(edge) >= 0).all()
    assert 100 < made[12] < 200, "the first column of the object is mixed"
    assert 50 < made[11] < 150, "and so is the last one outside"
    assert (made[:9] == 50).all()


def test_void_pixels_are_not_pasted() -> None:
    made = paste(plain(50, 2), donor(), PERSON, AS_CLASS)
    assert (made.label[donor().label == 255] == 2).all()
    assert (made.image[:, 28:] == 50).all()


def test_the_base_keeps_its_labels_elsewhere() -> None:
    base = plain(50, 255, instances=255)
    made = paste(base, donor(), PERSON, AS_CLASS)
    assert (made.label[~MASK] == 255).all()
    assert made.instances is not None
    assert (made.instances[~MASK] == 255).all()
    assert (made.instances[MASK] == 1).all(), "unsure pixels do not take a number"


def test_an_object_gets_a_free_number_as_long_as_there_is_one() -> None:
    for highest, number in ((0, 1), (7, 8), (253, 254), (254, 255)):
        base = plain(50, 0)
        assert base.instances is not None
        base.instances[0, 0] = highest
        made = paste(base, donor(), PERSON, AS_CLASS)
        assert made.instances is not None
        assert (made.instances[MASK] == number).all(), "past 254 it is unsure which object it is"
        assert made.instances[0, 0] == highest


def test_tasks_without_labels_in_the_base_get_none() -> None:
    base = dataclasses.replace(plain(50, 0), surface=None, instances=None)
    made = paste(base, donor(), PERSON, AS_CLASS)
    assert made.surface is None
    assert made.instances is None


def test_a_fragment_is_not_pasted() -> None:
    fragment = donor()
    fragment.label[:] = 0
    fragment.label[0, :3] = 1
    base = plain(50, 0)
    assert paste(base, fragment, PERSON, AS_CLASS) is base


def test_of_a_donor_with_labelled_objects_only_these_are_pasted() -> None:
    """The class "background" of a set of things covers the things that are not looked for, and everything behind them."""
    thing = donor()
    thing.label[:] = 0
    objects = dataclasses.replace(thing, instances=np.where(MASK, np.uint8(3), np.uint8(0)))
    made = paste(plain(50, 1), objects, np.arange(256) == 0, AS_CLASS)
    np.testing.assert_array_equal(made.label, np.where(MASK, AS_CLASS, 1))
    assert (paste(plain(50, 1), thing, np.arange(256) == 0, AS_CLASS).label == AS_CLASS).all(), "unlabelled: all of the class"


def test_the_given_arrays_do_not_change() -> None:
    base, source = plain(50, 0), donor()
    before = [array.copy() for array in (base.image, base.label, source.image, source.label)]
    paste(base, source, PERSON, AS_CLASS)
    for array, old in zip((base.image, base.label, source.image, source.label), before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("ids", [[1], [0, 1]])
def test_several_classes_are_cut_out_as_one(ids: list[int]) -> None:
    made = paste(plain(50, 2), donor(), np.isin(np.arange(256), ids), AS_CLASS)
    np.testing.assert_array_equal(made.label == AS_CLASS, np.isin(donor().label, ids))
