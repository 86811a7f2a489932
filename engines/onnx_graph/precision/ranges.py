"""Ranges of activations: how large the values of each tensor of a network become on real inputs."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.loading import cpu_session
from engines.onnx_graph.precision.wiring import with_inferred_shapes

if TYPE_CHECKING:
    import onnx

BINS = 1 << 15
"""One per value of the upper half of a float32 without its sign: 128 per power of two, each at most 0.8 % wide."""

INFINITE = 0x7F80
"""The bin from which on values are not finite."""

_UPPER = 1 if sys.byteorder == "little" else 0

COUNTED_AT_ONCE = 1 << 23
"""OpenCV counts in float32, which is exact up to 2**24."""

BYTES_AT_ONCE = 256 * 2**20
"""Of tensors returned by one run; a network with more is run several times per input."""


class Magnitudes:
    """A histogram of the absolute values of one tensor over all inputs, in bins as fine as float32's own scale."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self.largest = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Values that are not finite are left out."""
        flat = np.ascontiguousarray(values, np.float32).ravel()
        halves = np.ascontiguousarray(flat.view(np.uint16)[_UPPER::2])
        counts = np.zeros(2 * BINS, np.int64)
        for start in range(0, len(halves), COUNTED_AT_ONCE):
            part = halves[start : start + COUNTED_AT_ONCE].reshape(1, -1)
            counts += cv2.calcHist([part], [0], None, [2 * BINS], [0, 2 * BINS]).ravel().astype(np.int64)
        both = counts[:BINS] + counts[BINS:]
        are_finite = not both[INFINITE:].any()
        both[INFINITE:] = 0
        self._counts += both
        finite = flat if are_finite else flat[np.isfinite(flat)]
        if finite.size:
            self.largest = max(self.largest, float(finite.max()), -float(finite.min()))

    def limit(self, percentile: float) -> float:
        """The value that `percentile` percent of the absolute values do not exceed; at 100 the largest."""
        total = int(self._counts.sum())
        if percentile >= 100 or total == 0:
            return self.largest
        bin_reached = int(np.searchsorted(np.cumsum(self._counts), math.ceil(total * percentile / 100)))
        upper = np.array((bin_reached + 1) << 16, np.uint32).view(np.float32)
        return min(float(upper), self.largest)


def measure_magnitudes(
    model: onnx.ModelProto, tensors: Collection[str], feeds: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> dict[str, Magnitudes]:
    """The absolute values of float32 `tensors` of `model` over all `feeds` (inputs by name), by ONNX Runtime.

    Raises ValueError without feeds.
    """
    import onnx

    exposed = copy.deepcopy(model)
    given = {value.name for value in exposed.graph.output}
    inputs = {value.name for value in exposed.graph.input}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in given | inputs)
    session = cpu_session(exposed.SerializeToString())
    found = {name: Magnitudes() for name in tensors}
    are_any = False
    groups = _groups(model, [name for name in tensors if name not in inputs])
    for feed in feeds:
        are_any = True
        for name in inputs.intersection(tensors):
            found[name].add(feed[name])
        for group in groups:
            for name, values in zip(group, session.run(group, dict(feed)), strict=True):
                found[name].add(values)
    if not are_any:
        raise ValueError("there are no frames to measure activation ranges on")
    return found


def _groups(model: onnx.ModelProto, tensors: list[str]) -> list[list[str]]:
    """The tensors in groups that fit into memory together."""
    sizes = {
        value.name: 4 * math.prod(max(1, dim.dim_value) for dim in value.type.tensor_type.shape.dim)
        for value in with_inferred_shapes(model).graph.value_info
    }
    groups: list[list[str]] = []
    left = 0
    for name in tensors:
        size = sizes.get(name, BYTES_AT_ONCE // 16)
        if size > left or not groups:
            groups.append([])
            left = BYTES_AT_ONCE
        groups[-1].append(name)
        left -= size
    return groups
