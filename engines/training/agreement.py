"""Agreement: does an exported file answer as the net it was made of does? In every output, each by what counts in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engines.types import U8

Answer: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Outputs of one image by name, the batch's axis kept."""

Answerer: TypeAlias = Callable[[U8], Answer]

BYTE_STEP = 1
"""Opacities and confidences are rounded to bytes: a hair's breadth may fall to either side."""
OFFSET_PX = 0.5
"""An offset that differs by less leads to the same cell."""
LEAST_PEAK = 0.05
"""Lower peaks are ripples of noise; which of them comes first means nothing."""
PEAK_SCORE = 0.01


def agreement(one: Answerer, other: Answerer, images: Iterable[U8]) -> dict[str, float]:
    """For each output the share of its numbers, 0..1, in which two models agree over all `images`; {} without images.

    Labels and surfaces must be the same; see this module's constants for the rest. Of peaks it is the share of either's centres
    that the other has in the same place.
    """
    shares: dict[str, list[float]] = {}
    for image in images:
        ours, theirs = one(image), other(image)
        for name, output in ours.items():
            shares.setdefault(name, []).append(_share(name, output, theirs[name]))
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _share(name: str, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    if one.shape != other.shape:
        return 0.0
    if name == "peaks":
        return min(_found(one[0], other[0]), _found(other[0], one[0]))
    if name == "offsets":
        return float(np.mean(np.abs(one - other) <= OFFSET_PX))
    if name in ("alpha", "confidence"):
        return float(np.mean(np.abs(one.astype(np.int16) - other.astype(np.int16)) <= BYTE_STEP))
    return float(np.mean(one == other))


def _found(peaks: npt.NDArray[Any], among: npt.NDArray[Any]) -> float:
    """Of (K, 3) peaks that are no noise, the share that has its like in the other."""
    real = peaks[peaks[:, 2] >= LEAST_PEAK]
    same_place = (real[:, None, :2] == among[None, :, :2]).all(axis=2)
    same_score = np.abs(real[:, None, 2] - among[None, :, 2]) <= PEAK_SCORE
    return float((same_place & same_score).any(axis=1).mean()) if len(real) else 1.0
