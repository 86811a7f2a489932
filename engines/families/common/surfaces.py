"""Surfaces: a road's drivable part and its lane lines, from one map of both or from a map of each."""

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.maps import class_planes, fine_enough, not_finite, one_map, surface_map
from engines.errors import CardError, InferenceError
from engines.families.common.ranges import OVERSHOOT
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, U8, Bools, Outputs, Size

PAIR = ("drivable", "lane")

CLASSES = ("drivable", "lane line")
"""Of a network that sees nothing but these."""

PALETTE = {"drivable": "#3cd778", "lane line": "#fff596"}
"""As they are drawn."""

DRIVABLE, LANE_LINE = 1, 2


class Surface:
    """Reads `surface`, or `drivable` and `lane`, as its card names them.

    The latter are (1, 2, H, W) or (1, H, W, 2) floats, the second channel for yes; (1, 1, H, W), (1, H, W, 1) or (1, H, W)
    floats, probabilities or logits; or integers, 0 for no.
    """

    def __init__(self, card: ModelCard) -> None:
        self._whole = card.outputs.get("surface")
        self._pair = tuple(card.outputs[role] for role in PAIR if role in card.outputs)
        if len(self._pair) == 1 or (self._pair and self._whole):
            has = ", ".join(card.outputs)
            raise CardError(f"{card.name}: a surface needs outputs.drivable and outputs.lane; it has {has}", "Correct `outputs`")

    @property
    def is_pair(self) -> bool:
        return bool(self._pair)

    def __call__(self, outputs: Outputs, geometry: Fit) -> U8 | None:
        """(H, W) uint8: 0 nothing, 1 drivable, 2 lane line; a new array. None where the card names no such output.

        Raises InferenceError for numbers that make no sense.
        """
        if not self._pair:
            return surface_map(outputs, self._whole, geometry)
        drivable, lane = (_yes(outputs[name], name, geometry) for name in self._pair)
        if lane.shape != drivable.shape:
            size = Size.of(drivable)
            lane = cv2.resize(lane.view(np.uint8), (size.width, size.height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
        surface = drivable.view(np.uint8) * np.uint8(DRIVABLE)
        surface[lane] = LANE_LINE
        return surface


def _yes(output: npt.NDArray[np.generic], name: str, geometry: Fit) -> Bools:
    """(H, W) bool: where it says yes; a new array."""
    pair = class_planes(output, 2)
    if pair is not None and output.dtype.kind == "f":
        if not np.isfinite(pair).all():
            raise not_finite(f"output {name}")
        found = pair[1] > pair[0]
    else:
        if output.ndim == 4 and 1 not in (output.shape[1], output.shape[3]):
            raise InferenceError(f"output {name} is {output.shape}, not one map, nor one of yes and one of no")
        values: F32 = np.asarray(one_map(output, name), np.float32)
        if not np.isfinite(values).all():
            raise not_finite(f"output {name}")
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
        is_share = output.dtype.kind == "f" and low >= -OVERSHOOT and high <= 1 + OVERSHOOT  # a resize may go past 0 and 1
        found = np.greater(values, 0.5 if is_share else 0)
    return np.array(geometry.cut(fine_enough(found, geometry)), bool)
