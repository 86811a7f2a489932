"""From a frame's pixels to the network's input: the graph against OpenCV and NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from engines.importing.maker import Maker
from engines.importing.network import Network, Source, Step
from engines.importing.parity import OnnxRun
from engines.importing.translation import Pixels, takes_whole_pixels

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def run(pixels: Pixels, image: Any, pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Any:
    """(H, W, channels) from the graph."""
    maker = Maker()
    tensor = pixels.add_to(maker, pads)
    height, width = image.shape[0] + pads[0] + pads[2], image.shape[1] + pads[1] + pads[3]
    model = maker.model(image.shape[:2], "logits", tensor, (1, pixels.channels, height, width))
    return OnnxRun(model)(image).transpose(1, 2, 0)


def test_grey_equals_opencv_s_to_the_bit() -> None:
    """32 levels per channel: 32768 colours, whose sums are on both sides of every rounding."""
    levels = np.linspace(0, 255, 32).astype(np.uint8)
    colours = np.array(list(itertools.product(levels, repeat=3)), np.uint8).reshape(128, 256, 3)
    pixels = Pixels(1, "rgb", 1.0, 0.0)
    np.testing.assert_array_equal(run(pixels, colours), pixels.prepared(colours))


@pytest.mark.parametrize(
    "pixels", [Pixels(3, "rgb", 1 / 255, 0.0), Pixels(3, "bgr", 1 / 127.5, -1.0), Pixels(1, "rgb", 2.0, 3.0)]
)
def test_channels_are_ordered_and_scaled(pixels: Pixels) -> None:
    np.testing.assert_allclose(run(pixels, NOISE), pixels.prepared(NOISE), rtol=1e-6, atol=1e-6)


def test_the_border_repeats_the_outermost_pixels() -> None:
    pixels = Pixels(3, "bgr", 1.0, 0.0)
    padded = run(pixels, NOISE, (3, 1, 4, 2))
    np.testing.assert_array_equal(padded, np.pad(NOISE, ((3, 4), (1, 2), (0, 0)), mode="edge"))


def starting_with(kind: str, config: dict[str, Any] | None = None, weights: Any = (), *more: Source) -> Network:
    flip = Step("RandomFlip", "flip", {}, (), ("image",), "flipped")
    first = Step(kind, "first", config or {}, weights, ("flipped", *more), "out")
    return Network((flip, first), "image", (8, 8, 3), "out")


@pytest.mark.parametrize(
    ("network", "is_whole"),
    [
        (starting_with("Rescaling", {"scale": 1 / 255}), True),
        (starting_with("Rescaling", {"scale": [1 / 127.5, 1 / 127.5, 1 / 127.5], "offset": -1}), True),
        (starting_with("Rescaling", {"scale": 2.0, "offset": -1}), False),
        (starting_with("Normalization", {}, (np.full(3, 120.0), np.full(3, 3000.0))), True),
        (starting_with("Normalization", {}, (np.full(3, 0.4), np.full(3, 0.06))), False),
        (starting_with("ops.TrueDivide", {}, (), 255.0), True),
        (starting_with("ops.TrueDivide", {}, (), 2.0), False),
        (starting_with("Conv2D"), False),
    ],
)
def test_whether_the_network_scales_pixels_itself(network: Network, is_whole: bool) -> None:
    assert takes_whole_pixels(network) is is_whole


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (Pixels(1, "rgb", 1 / 255, 0.0), "grey (BT.601), 0..255 x 1/255"),
        (Pixels(3, "rgb", 1 / 127.5, -1.0), "RGB, 0..255 x 1/127.5 - 1"),
        (Pixels(3, "bgr", 1.0, 0.0), "BGR, 0..255 as they are"),
    ],
)
def test_their_description(pixels: Pixels, text: str) -> None:
    assert str(pixels) == text
