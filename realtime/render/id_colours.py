"""Colours of track ids: as different as can be from those of ids nearby, for colour-blind eyes too.

One after the other, each is the candidate that differs most from those already given, as the eye that tells them apart worst sees
them. They are worked out when first asked for, and always come out the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import U8

F64: TypeAlias = npt.NDArray[np.float64]

ID_COLOURS = 40
"""Track ids repeat their colour after so many: more than an eye can tell apart."""

NEAR_IDS = 5
"""So many ids before and after one count in full; what is farther off counts less and less: it is seldom seen with it."""

FORGETTING = 0.7
"""How fast it counts less: of a few powers tried, this leaves the least alike neighbours, and no two ids of all alike."""

LIGHTNESS, CHROMA, HUES = (0.50, 0.60, 0.70, 0.80, 0.90), (0.10, 0.14, 0.18, 0.22), 48
"""Of the candidates, in Oklch: none is lost on dark video, or taken for grey or for the selected object's white."""

FIRST_HUE = 0
"""The candidate that begins; the row after it depends on it."""

DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
"""Linear red, green, blue → what an eye without its medium- or long-wave cones makes of it.

Source: Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), at
severity 1.
"""


@lru_cache(maxsize=1)
def id_colours() -> U8:
    """(ID_COLOURS, 3) uint8 BGR; a track's colour is row `id % ID_COLOURS`. Shared, read-only."""
    linear = _candidates()
    seen = [_lab(linear)] + [_lab(np.clip(linear @ np.array(eye).T, 0, 1)) for eye in (DEUTERANOPIA, PROTANOPIA)]
    chosen = [FIRST_HUE]
    worth = np.full((ID_COLOURS, len(linear)), np.inf)
    """How far each candidate is from what is chosen, for each place in the row."""
    for place in range(ID_COLOURS):
        if place:
            chosen.append(int(np.argmax(worth[place].round(6))))
        newest = chosen[-1]
        differs = np.min([np.linalg.norm(lab - lab[newest], axis=1) for lab in seen], axis=0)
        apart = np.abs(np.arange(ID_COLOURS) - place)
        apart = np.minimum(apart, ID_COLOURS - apart)  # after the last comes the first again
        counts_less = np.maximum(1.0, apart / NEAR_IDS) ** FORGETTING
        worth = np.minimum(worth, differs[None] * counts_less[:, None])
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)[chosen]
    colours = np.ascontiguousarray(np.rint(255 * rgb)[:, ::-1], np.uint8)
    colours.setflags(write=False)
    return colours


def _candidates() -> F64:
    """(N, 3) linear red, green, blue of the Oklch grid, as far as screens can show it. Source of Oklab: Ottosson (2020)."""
    lightness, chroma, turn = (
        axis.ravel() for axis in np.meshgrid(LIGHTNESS, CHROMA, np.arange(HUES) / HUES * 2 * np.pi, indexing="ij")
    )
    a, b = chroma * np.cos(turn), chroma * np.sin(turn)
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
    linear = cones**3 @ np.array(to_rgb).T
    shown: F64 = linear[((linear >= 0) & (linear <= 1)).all(axis=1)]
    return shown


def _lab(linear: F64) -> F64:
    """(N, 3) linear red, green, blue → CIE L*a*b*."""
    lab = cv2.cvtColor(linear[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0]
    return np.asarray(lab, np.float64)
