"""Upsampling class maps: edges as smooth as the logits are, at the cost of the edges alone. NumPy and OpenCV on the CPU.

Between four neighbouring pixels of a network's logits whose largest class is the same, it is the largest everywhere: bilinear
interpolation is a weighted mean. Only cells whose corners differ, a few in a hundred, have to be interpolated.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.types import F32, U8, Size

Indices: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """How the pixels of one axis of a picture lie between those of a map, all read-only.

    cell:   (L,) of each pixel: 0 before the first of the map's pixels, i between i - 1 and i.
    pixels: (cells, P) which ones lie in each cell; where there are fewer than P the last one is repeated.
    shares: (cells, P) float32, how far each of these is from the lower of the cell's ends to the upper, 0 to 1.
    """

    cell: Indices
    pixels: Indices
    shares: F32


def upsampled_labels(labels: U8, logits: F32, size: Size) -> U8:
    """The largest class at each pixel of `size`, nearly as if all logits had been interpolated first; a new (H, W) uint8 array.

    labels: (h, w) uint8, the largest class of `logits` (C, h, w) float32, which span the same picture, pixels at cell centres.
    A class that wins nowhere among the four corners of a cell is not looked at within it: in 1 pixel of 10000 or so it would win.
    """
    height, width = labels.shape
    rows, columns = _axis(height, size.height), _axis(width, size.width)
    bordered = np.pad(labels, 1, mode="edge")
    corners = (bordered[:-1, :-1], bordered[:-1, 1:], bordered[1:, :-1], bordered[1:, 1:])
    differ = (corners[0] != corners[1]) | (corners[0] != corners[2]) | (corners[0] != corners[3])
    fine = corners[0].take(columns.cell, axis=1).take(rows.cell, axis=0)
    down, across = np.nonzero(differ)
    if not len(down):
        return fine
    candidates = np.stack([corner[down, across] for corner in corners])
    at = _corner_places(labels.shape, down, across)
    shares = rows.shares[down], columns.shares[across]
    first, second, three = _sides(candidates)
    of_first, of_second = (_values(logits, classes[None], at)[0] for classes in (first, second))
    # Between two classes the sign of their difference decides, and that is interpolated like each of them.
    winners = np.where(_between(of_first - of_second, *shares) >= 0, first[:, None, None], second[:, None, None])
    if len(three):
        values = _values(logits, candidates[:, three], at[:, three])
        winners[three] = _largest(candidates[:, three], values, shares[0][three], shares[1][three])
    places = rows.pixels[down][:, :, None] * size.width + columns.pixels[across][:, None, :]
    fine.reshape(-1).put(places, winners)
    return fine


def _corner_places(shape: tuple[int, ...], down: Indices, across: Indices) -> Indices:
    """(4, N): where the corners of cells are in a plane of that shape: top left, top right, bottom left, bottom right."""
    height, width = shape
    tops, lefts = np.maximum(down - 1, 0) * width, np.maximum(across - 1, 0)
    bottoms, rights = np.minimum(down, height - 1) * width, np.minimum(across, width - 1)
    return np.stack((tops + lefts, tops + rights, bottoms + lefts, bottoms + rights))


def _sides(corners: U8) -> tuple[U8, U8, Indices]:
    """Of (4, N) classes at cells' corners: the first, the first other than that, and which cells have a third."""
    first = corners[0]
    second = np.where(corners[1] != first, corners[1], np.where(corners[2] != first, corners[2], corners[3]))
    has_third = ((corners != first) & (corners != second)).any(axis=0)
    return first, second, np.flatnonzero(has_third)


def _values(logits: F32, classes: U8, at: Indices) -> F32:
    """(K, 4, N): the logits of (K, N) classes at the corners of cells."""
    planes = classes.astype(np.intp) * (logits.shape[1] * logits.shape[2])
    values: F32 = logits.reshape(-1).take(planes[:, None] + at[None])
    return values


def _between(corners: F32, shares_down: F32, shares_across: F32) -> F32:
    """(4, N) numbers at the corners of cells → (N, P, Q) at their pixels."""
    top_left, top_right, bottom_left, bottom_right = corners[:, :, None]
    top = top_left + (top_right - top_left) * shares_across
    fall = bottom_left + (bottom_right - bottom_left) * shares_across - top
    values: F32 = fall[:, None, :] * shares_down[:, :, None]
    values += top[:, None, :]
    return values


def _largest(candidates: U8, values: F32, shares_down: F32, shares_across: F32) -> U8:
    """(N, P, Q): which of each cell's four candidates, (4, N), is the largest at each of its pixels. values: (4, 4, N)."""
    between = np.stack([_between(corners, shares_down, shares_across) for corners in values])
    best = between.argmax(axis=0)
    largest: U8 = np.take_along_axis(candidates[:, :, None, None], best[None], axis=0)[0]
    return largest


@lru_cache(maxsize=16)
def _axis(cells: int, pixels: int) -> _Axis:
    """`cells` pixels of a map against `pixels` of a picture, both from edge to edge; at least as many of the latter."""
    at = (np.arange(pixels) + 0.5) * cells / pixels + 0.5
    cell = np.floor(at).astype(np.intp)
    most = int(np.bincount(cell).max())
    first = np.searchsorted(cell, np.arange(cells + 1), side="left")
    last = np.maximum(np.searchsorted(cell, np.arange(cells + 1), side="right") - 1, first)
    places = np.minimum(first[:, None] + np.arange(most), np.minimum(last, pixels - 1)[:, None]).clip(0, pixels - 1)
    axis = _Axis(cell, places, (at - cell).astype(np.float32)[places])
    for array in (axis.cell, axis.pixels, axis.shares):
        array.setflags(write=False)
    return axis
