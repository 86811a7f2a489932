"""Colours of classes and of track ids: easy to tell apart, also for colour-blind eyes, and the same in every run."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np

from engines.models.card import ModelCard
from engines.types import F64, U8

Rgb = tuple[int, int, int]

# Neighbouring classes are a golden angle apart on the hue circle, so that any few consecutive ones are spread over all of it.
_GOLDEN_TURN = 0.61803398875
_FIRST_TURN = 0.40
_SHADES = np.array(((0.80, 0.17), (0.68, 0.20), (0.88, 0.13)))
"""(lightness, chroma), cycled: similar hues differ in lightness, also for colour-blind eyes, and all show on dark video."""

ID_COLOURS = 40
"""Number of colours of track ids, after which they repeat: more than an eye can tell apart."""

NEAR_IDS = 5
"""This many ids before and after one count in full; ids further off count less, since they are seldom seen together."""

FORGETTING = 0.7
"""Power of that decrease: of a few values tried, this one makes neighbours differ most while no two ids look alike."""

LIGHTNESS, CHROMA, HUES = (0.50, 0.60, 0.70, 0.80, 0.90), (0.10, 0.14, 0.18, 0.22), 48
"""Candidates for ids, in Oklch: visible on dark video, and different from grey and from the selected object's white."""

FIRST_HUE = 0
"""Index of the first candidate chosen; all later choices depend on it."""

FIRST_ROW = 1
"""The choice that becomes row 0, all others after it in a circle: id 1, which most webcams show all the time, then is violet,
through which a face stays a face; through the yellow before it, it does not."""

DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
"""Linear red, green, blue → the same as seen without medium-wave or long-wave cones.

Source: Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), at
severity 1.
"""


def class_colours(card: ModelCard) -> tuple[Rgb, ...]:
    """One (red, green, blue) per class: from the card's palette, or else the default palette."""
    return named_colours(card.classes, card.palette)


def named_colours(names: Sequence[str], palette: Mapping[str, str] | None = None) -> tuple[Rgb, ...]:
    """One (red, green, blue) per name: from `palette` ("#rrggbb" by name), or else the default palette, by position."""
    known, index = palette or {}, np.arange(len(names))
    lightness, chroma = _SHADES[index % len(_SHADES)].T
    turn = np.asarray((_FIRST_TURN + index * _GOLDEN_TURN) % 1.0, np.float64)
    default = _srgb(np.clip(_linear_rgb(lightness, chroma, turn), 0, 1)).tolist()
    return tuple(
        _parse(known[name]) if name in known else (red, green, blue)
        for name, (red, green, blue) in zip(names, default, strict=True)
    )


def bgr_table(colours: Sequence[Rgb]) -> U8:
    """(N, 3) uint8 BGR of RGB colours."""
    return np.array(colours, np.uint8).reshape(-1, 3)[:, ::-1].copy()


@lru_cache(maxsize=1)
def id_colours() -> U8:
    """(ID_COLOURS, 3) uint8 BGR; a track's colour is row `id % ID_COLOURS`. Shared, read-only.

    Each row in turn is the candidate that differs most from the rows before it, for the kind of eye that sees the least
    difference.
    """
    grid = np.meshgrid(LIGHTNESS, CHROMA, np.arange(HUES) / HUES, indexing="ij")
    linear = _linear_rgb(*(axis.ravel() for axis in grid))
    linear = linear[((linear >= 0) & (linear <= 1)).all(axis=1)]  # what a screen can show
    seen = [_lab(linear)] + [_lab(np.clip(linear @ np.array(eye).T, 0, 1)) for eye in (DEUTERANOPIA, PROTANOPIA)]
    chosen = [FIRST_HUE]
    distance = np.full((ID_COLOURS, len(linear)), np.inf)
    """Of each candidate from the chosen colours, for each row."""
    for row in range(ID_COLOURS):
        if row:
            chosen.append(int(np.argmax(distance[row].round(6))))
        newest = chosen[-1]
        differs = np.min([np.linalg.norm(lab - lab[newest], axis=1) for lab in seen], axis=0)
        apart = np.abs(np.arange(ID_COLOURS) - row)
        apart = np.minimum(apart, ID_COLOURS - apart)  # the first follows the last
        counts_less = np.maximum(1.0, apart / NEAR_IDS) ** FORGETTING
        distance = np.minimum(distance, differs[None] * counts_less[:, None])
    colours = np.ascontiguousarray(_srgb(linear[np.roll(chosen, -FIRST_ROW)])[:, ::-1])
    colours.setflags(write=False)
    return colours


def _linear_rgb(lightness: F64, chroma: F64, turn: F64) -> F64:
    """(N,) Oklch values, the hue in turns → (N, 3) linear red, green, blue, some outside 0..1.

    Equal lightness looks equally light, which HSV does not give. Source: Ottosson, "A perceptual color space for image
    processing" (2020).
    """
    a, b = chroma * np.cos(turn * 2 * np.pi), chroma * np.sin(turn * 2 * np.pi)
    cones = np.stack(
        (
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ),
        axis=1,
    )
    to_rgb = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )
    linear: F64 = cones**3 @ np.array(to_rgb).T
    return linear


def _srgb(linear: F64) -> U8:
    """(N, 3) linear values in 0..1 → gamma-encoded bytes."""
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded), np.uint8)


def _lab(linear: F64) -> F64:
    """(N, 3) linear red, green, blue → CIE L*a*b*."""
    lab = cv2.cvtColor(linear[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0]
    return np.asarray(lab, np.float64)


def _parse(colour: str) -> Rgb:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
