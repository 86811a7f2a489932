"""Colours of classes: distinguishable side by side, stable from run to run. Those of track ids are in `id_colours`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from engines.models.card import ModelCard
from engines.types import U8

Rgb = tuple[int, int, int]

# Neighbouring classes lie a golden angle apart on the hue circle, so that any few consecutive ones are spread over all of it.
_GOLDEN_TURN = 0.61803398875
_FIRST_TURN = 0.40
_SHADES = ((0.80, 0.17), (0.68, 0.20), (0.88, 0.13))
"""(lightness, chroma), cycled: similar hues differ in lightness, for colour-blind eyes too, and none is lost on dark video."""


def _spread(index: int) -> Rgb:
    lightness, chroma = _SHADES[index % len(_SHADES)]
    return _oklch_to_rgb(lightness, chroma, (_FIRST_TURN + index * _GOLDEN_TURN) % 1.0)


def _oklch_to_rgb(lightness: float, chroma: float, hue_turn: float) -> Rgb:
    """Oklab's polar form → sRGB, clipped. Equal lightness looks equally light, which HSV does not give.

    Source: Ottosson, "A perceptual color space for image processing" (2020).
    """
    a, b = chroma * math.cos(hue_turn * math.tau), chroma * math.sin(hue_turn * math.tau)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (round(255 * _gamma(min(max(value, 0.0), 1.0))) for value in linear)
    return red, green, blue


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def class_colours(card: ModelCard) -> tuple[Rgb, ...]:
    """One (red, green, blue) per class: the card's, or the default palette's."""
    return named_colours(card.classes, card.palette)


def named_colours(names: Sequence[str], palette: Mapping[str, str] | None = None) -> tuple[Rgb, ...]:
    """One (red, green, blue) per name: the palette's ("#rrggbb" by name), or the default one's, in their order."""
    known = palette or {}
    return tuple(_parse(known[name]) if name in known else _spread(index) for index, name in enumerate(names))


def bgr_table(colours: Sequence[Rgb]) -> U8:
    """(N, 3) uint8 BGR of RGB colours."""
    return np.array(colours, np.uint8).reshape(-1, 3)[:, ::-1].copy()


def _parse(colour: str) -> Rgb:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
