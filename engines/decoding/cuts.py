"""Cuts: where each object's box lies on a label map, and which cells of a mask grid are sampled under it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engines.models.fit import Fit
from engines.types import F32, I32, Size

Numbers = npt.NDArray[np.float64]

LAST, AROUND = np.array((0.0, 0.0, 1.0, 1.0)), np.array((-1.0, -1.0, 2.0, 2.0))
"""Of a box's four numbers: from its edges to its first and last pixels, and from their cells to one more on either side."""


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """Of N boxes, rows by falling score.

    table: (N, 12) int32, of each box x0, y0, x1, y1 on the map; the first cell under it and how many, one around included
    (x, y, width, height); the size in map pixels to which these are upsampled (width, height); the box's place in that (x, y).
    map_size: of the label map that is made.
    """

    table: I32
    map_size: Size

    @classmethod
    def of(cls, boxes_px: F32, geometry: Fit, cells: Size, magnify: int) -> Cuts:
        """boxes_px: (N, 4) in frame pixels. cells: of a grid over the whole input. magnify: map pixels to a network pixel."""
        map_size, to_map, per_cell, before, most = _scales(geometry, cells, magnify)
        corners = np.rint(boxes_px * to_map)
        edges = corners + before
        # The cells under the box and one around them, which bilinear sampling touches: from the first to before the second.
        ends = np.minimum(np.maximum(np.floor((edges - LAST) / per_cell) + AROUND, 0), most)
        # Edge minus edge, each rounded once: where a cell is not a whole number of pixels, the last column is not lost.
        ends_px = np.rint(ends * per_cell)
        first, first_px = ends[:, :2], ends_px[:, :2]
        columns = (corners, first, ends[:, 2:] - first, ends_px[:, 2:] - first_px, edges[:, :2] - first_px)
        table = np.concatenate(columns, axis=1).astype(np.int32)
        return cls(table, map_size)

    def visible(self) -> list[int]:
        """The rows whose box covers a pixel of the map."""
        rows: list[int] = np.flatnonzero(np.all(self.table[:, 2:4] > self.table[:, :2], axis=1)).tolist()
        return rows

    def hull(self) -> tuple[slice, slice]:
        """The rows and columns of the cells under all boxes together."""
        if not len(rows := self.table[self.visible()]):
            return slice(0, 0), slice(0, 0)
        (left, top), (right, bottom) = rows[:, 4:6].min(axis=0).tolist(), (rows[:, 4:6] + rows[:, 6:8]).max(axis=0).tolist()
        return slice(top, bottom), slice(left, right)


@lru_cache(maxsize=8)
def _scales(geometry: Fit, cells: Size, magnify: int) -> tuple[Size, F32, Numbers, Numbers, Numbers]:
    """The map's size; of a box's four numbers: map pixels to a frame pixel, to a cell, before the content; how many cells."""
    net, frame = geometry.net, geometry.frame
    map_size = Size(geometry.content.width * magnify, geometry.content.height * magnify)
    to_map = np.array((map_size.width / frame.width, map_size.height / frame.height) * 2, np.float32)
    # A whole number of map pixels to a cell makes every upsampling a plain resize: a fifth of an affine warp's time.
    per_cell = np.array((net.width * magnify / cells.width, net.height * magnify / cells.height) * 2)
    before = np.array((geometry.left * magnify, geometry.top * magnify) * 2, np.float64)
    return map_size, to_map, per_cell, before, np.array((cells.width, cells.height) * 2, np.float64)
