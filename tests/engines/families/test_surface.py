"""The road's surface beside classes or a matte: every family whose outputs are maps reads it alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.errors import InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.card import card_from_dict
from engines.models.fit import fit
from engines.types import U8, Segmentation, Size

NET, FRAME = Size(64, 32), Size(32, 32)
MAPS = {"semantic": "labels", "matting": "alpha", "panoptic": "labels"}


def decoded(family: str, surface: U8 | None, how: str = "letterbox") -> Segmentation:
    role = MAPS[family]
    outputs: dict[str, Any] = {role: np.zeros((1, NET.height, NET.width), np.uint8)}
    if family == "panoptic":
        outputs |= {"peaks": np.zeros((1, 4, 3), np.float32), "offsets": np.zeros((1, 2, 8, 16), np.float32)}
    if surface is not None:
        outputs["surface"] = surface[None]
    classes = ["car"] if family == "matting" else ["road", "car"]
    spec = {"tensor": "image", "size_px": [NET.width, NET.height], "layout": "nhwc", "dtype": "uint8", "channels": "bgr"}
    facts: dict[str, Any] = {"name": "m", "family": family, "classes": classes, "things": ["car"], "input": {**spec, "fit": how}}
    facts["outputs"] = {name: name for name in outputs}
    return open_family(card_from_dict(facts, "test")).decode(outputs, fit(FRAME, NET, how), DecodeSettings())


@pytest.mark.parametrize("family", MAPS)
@pytest.mark.parametrize("how", ["stretch", "letterbox"])
def test_surface_is_cut_as_the_frame_lies(family: str, how: str) -> None:
    surface = np.arange(NET.width * NET.height).reshape(NET.height, NET.width).astype(np.uint8) % 3
    found = decoded(family, surface, how).surface
    assert found is not None
    np.testing.assert_array_equal(found, surface if how == "stretch" else surface[:, 16:48])
    assert not np.shares_memory(found, surface), "the network's own memory is another's with its next run"


@pytest.mark.parametrize("family", MAPS)
def test_without_one_there_is_none(family: str) -> None:
    assert decoded(family, None).surface is None


@pytest.mark.parametrize("family", MAPS)
def test_other_numbers_than_a_surface_are_an_error(family: str) -> None:
    with pytest.raises(InferenceError, match="output surface contains 3, which is none of 0 nothing, 1 drivable, 2 lane line"):
        decoded(family, np.full((NET.height, NET.width), 3, np.uint8))


@pytest.mark.parametrize("overshoot", [0.0, 0.01])
def test_shares_that_a_resize_took_a_little_past_0_and_1_are_shares(overshoot: float) -> None:
    shares = np.full((1, 1, NET.height, NET.width), 0.1, np.float32)
    shares[..., :8, :] = 1 + overshoot
    shares[..., 8:16, :] = -overshoot
    spec = {"tensor": "image", "size_px": [NET.width, NET.height], "layout": "nhwc", "dtype": "uint8", "channels": "bgr"}
    roles = {"drivable": "drivable", "lane": "lane"}
    facts = {"name": "m", "family": "semantic", "classes": ["drivable", "lane line"], "outputs": roles}
    card = card_from_dict(facts | {"input": {**spec, "fit": "stretch"}}, "test")
    outputs: dict[str, Any] = {"drivable": shares, "lane": np.zeros_like(shares)}
    found = open_family(card).decode(outputs, fit(FRAME, NET, "stretch"), DecodeSettings()).surface
    assert found is not None
    assert found[:8].all()
    assert not found[8:].any()
