"""Masks painted on a real GPU equal those of the CPU: `pytest -m gpu`."""

from __future__ import annotations

import numpy as np
import pytest

from engines.decoding.masks import chosen_masks, mixed_masks
from engines.errors import InferenceError
from engines.gpu.device import Device
from engines.models.fit import fit
from engines.types import MAX_OBJECTS, Size

from ..engines.gpu.mask_scenes import boxes_on, put, smooth

pytestmark = pytest.mark.gpu

LARGEST_SHARE = 1e-5
"""Of the pixels that may differ: sums of products are rounded in another order."""

CASES = [
    ("letterbox", Size(640, 640), Size(160, 160), 2),
    ("stretch", Size(432, 432), Size(108, 108), 3),
    ("stretch", Size(320, 192), Size(37, 29), 2),
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [1, 30, MAX_OBJECTS])
@pytest.mark.parametrize(("how", "net", "cells", "magnify"), CASES)
def test_masks_equal_the_cpus(device: Device, how: str, net: Size, cells: Size, magnify: int, count: int, dtype: str) -> None:
    rng, frame = np.random.default_rng(count), Size(1920, 1080)
    grids, geometry = smooth(rng, 32, cells).astype(dtype), fit(frame, net, how)
    boxes, coefficients = boxes_on(rng, frame, count), rng.standard_normal((count, 32)).astype(np.float32)
    planes = rng.integers(0, 32, count)
    output = put(device, grids)
    pairs = [
        (mixed_masks(coefficients, source, boxes, geometry, magnify), chosen_masks(source, planes, boxes, geometry, magnify))
        for source in (output, grids)
    ]
    for found, wanted in zip(*pairs, strict=True):
        assert (found.painted() != wanted.painted()).mean() <= LARGEST_SHARE


def test_numbers_that_are_not_finite_are_noticed(device: Device) -> None:
    grids = np.ones((2, 16, 16), np.float16)
    grids[1, 8, 8] = np.nan
    boxes, geometry = np.array([(20, 20, 50, 50)], np.float32), fit(Size(64, 64), Size(64, 64), "stretch")
    with pytest.raises(InferenceError, match="array of masks contains NaN"):
        mixed_masks(np.ones((1, 2), np.float32), put(device, grids), boxes, geometry, 1).painted()
