"""Targets of the head `instances`, against a reference that goes cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engines.training.data import CELL_PX, OFFSET_SCALE_PX, SIGMA_CELLS, SIGMA_SHARE, InstanceTargets, instance_targets


def reference(instances: np.ndarray, is_thing: np.ndarray) -> InstanceTargets:
    """In pixels throughout: a cell's middle is (column + 0.5) * CELL_PX, an object's centre the mean of its pixels' middles."""
    height, width = (side // CELL_PX for side in instances.shape)
    heat, offsets = np.zeros((height, width)), np.zeros((2, height, width))
    is_sure, is_object = np.ones((height, width), bool), np.zeros((height, width), bool)
    centres = {}
    for object_id in range(1, 255):
        pixels = [(y + 0.5, x + 0.5) for y, x in np.argwhere((instances == object_id) & is_thing)]
        if not pixels:
            continue
        ys, xs = zip(*pixels, strict=True)
        y, x = sum(ys) / len(ys), sum(xs) / len(xs)
        side = math.sqrt((max(ys) - min(ys) + 1) * (max(xs) - min(xs) + 1)) / CELL_PX
        centres[object_id] = (y, x, min(max(SIGMA_SHARE * side, SIGMA_CELLS[0]), SIGMA_CELLS[1]) * CELL_PX)
    for row, column in np.ndindex(height, width):
        y, x = (row + 0.5) * CELL_PX, (column + 0.5) * CELL_PX
        object_id, thing = (
            array[row * CELL_PX + CELL_PX // 2, column * CELL_PX + CELL_PX // 2] for array in (instances, is_thing)
        )
        is_sure[row, column] = object_id != 255 and not (thing and object_id == 0)
        for centre_y, centre_x, sigma in centres.values():
            spot = math.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / (2 * sigma**2))
            if abs(y - centre_y) < CELL_PX / 2 and abs(x - centre_x) < CELL_PX / 2:
                spot = 1
            heat[row, column] = max(heat[row, column], spot)
        if thing and object_id in centres:
            is_object[row, column] = True
            offsets[:, row, column] = (centres[object_id][1] - x) / OFFSET_SCALE_PX, (centres[object_id][0] - y) / OFFSET_SCALE_PX
    return InstanceTargets(heat.astype(np.float32), offsets.astype(np.float32), is_sure, is_object)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects of many sizes, beyond the edge, overlapping; unsure places, ids on uncountable pixels, things without ids."""
    rng = np.random.default_rng(seed)
    instances, is_thing = np.zeros((64, 96), np.uint8), np.zeros((64, 96), bool)
    for object_id in (1, 2, 9, 254):
        # Odd sides: a centre on the line between two cells may belong to either.
        x, y, w, h = rng.integers(-5, 80), rng.integers(-5, 50), 2 * rng.integers(1, 25) + 1, 2 * rng.integers(1, 20) + 1
        place = (slice(max(0, y), max(0, y + h)), slice(max(0, x), max(0, x + w)))
        instances[place], is_thing[place] = object_id, True
    instances[50:60, 5:30], is_thing[50:60, 5:20] = 255, True
    instances[2:9, 70:90], is_thing[2:9, 70:90] = 30, False
    is_thing[30:40, 40:50], instances[30:40, 40:50] = True, 0
    return instances, is_thing


@pytest.mark.parametrize("seed", range(6))
def test_targets_equal_the_reference(seed: int) -> None:
    instances, is_thing = scene(seed)
    found, expected = instance_targets(instances, is_thing), reference(instances, is_thing)
    on_a_line = (expected.heat != 1) & (found.heat == 1)
    assert on_a_line.sum() <= 1, "a centre on the line between two cells"
    np.testing.assert_allclose(found.heat[~on_a_line], expected.heat[~on_a_line], atol=1e-5)
    np.testing.assert_allclose(found.offsets, expected.offsets, atol=1e-5)
    np.testing.assert_array_equal(found.is_sure, expected.is_sure)
    np.testing.assert_array_equal(found.is_object, expected.is_object)
    assert [array.dtype for array in found] == [np.float32, np.float32, bool, bool]


def test_every_object_has_one_centre_of_exactly_1() -> None:
    """The loss recognises centres by this value."""
    instances, is_thing = np.zeros((64, 96), np.uint8), np.ones((64, 96), bool)
    instances[5:30, 8:38], instances[40:45, 50:53], instances[0:20, 82:96] = 1, 2, 3
    heat = instance_targets(instances, is_thing).heat
    assert sorted(map(tuple, np.argwhere(heat == 1).tolist())) == [(2, 22), (4, 5), (10, 12)]


def test_a_small_object_has_a_smaller_spot_than_a_large_one() -> None:
    instances, is_thing = np.zeros((128, 192), np.uint8), np.ones((128, 192), bool)
    instances[10:110, 10:110], instances[60:66, 160:166] = 1, 2
    heat = instance_targets(instances, is_thing).heat
    assert (heat[:, :32] > 0.5).sum() > 4 * (heat[:, 32:] > 0.5).sum()


def test_without_labelled_objects_nothing_is_known() -> None:
    found = instance_targets(None, np.ones((64, 96), bool))
    assert not found.is_sure.any()
    assert not found.is_object.any()
    assert found.heat.shape == (16, 24)
    assert found.offsets.shape == (2, 16, 24)


def test_a_street_without_objects_is_known_to_have_none() -> None:
    found = instance_targets(np.zeros((64, 96), np.uint8), np.zeros((64, 96), bool))
    assert found.is_sure.all()
    assert not found.heat.any()


def test_an_id_on_an_uncountable_class_is_ignored() -> None:
    instances, is_thing = np.zeros((64, 96), np.uint8), np.zeros((64, 96), bool)
    instances[8:40, 8:40] = 5
    found = instance_targets(instances, is_thing)
    assert not found.heat.any()
    assert not found.is_object.any()
    assert found.is_sure.all()
