"""Where each object was: the last points of all trails in one array."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.types import F32
from realtime.tracking.common.association import Rows

MAX_POINTS = 64

_ROOM = 2 * MAX_POINTS
"""Points are written one behind the other; only when a row is full are its last ones moved to the front."""


class Trails:
    """N trails of ground points in px, oldest first; row i belongs to the tracker's row i."""

    def __init__(self) -> None:
        self._points = np.zeros((0, _ROOM, 2), np.float32)
        self._ends = np.zeros(0, np.intp)

    def start(self, points_px: F32) -> None:
        """Append one trail per point of (K, 2)."""
        new = np.zeros((len(points_px), _ROOM, 2), np.float32)
        new[:, 0] = points_px
        self._points = np.concatenate((self._points, new))
        self._ends = np.concatenate((self._ends, np.ones(len(new), np.intp)))

    def add(self, rows: Rows, points_px: F32) -> None:
        """Lengthen the trail of each row by its point of (K, 2); a row stands there at most once."""
        full = rows[self._ends[rows] == _ROOM]
        self._points[full, :MAX_POINTS] = self._points[full, -MAX_POINTS:]
        self._ends[full] = MAX_POINTS
        self._points[rows, self._ends[rows]] = points_px
        self._ends[rows] += 1

    def warp(self, matrix: npt.NDArray[np.float64]) -> None:
        """Move all points by `matrix`, (2, 3): from the last frame's pixels to this one's."""
        self._points = (self._points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Forget the rows where `mask` is False."""
        self._points, self._ends = self._points[mask], self._ends[mask]

    def of(self, rows: Rows) -> list[F32]:
        """The trails of `rows`: (M, 2) float32 each, 1 <= M <= MAX_POINTS; views of one copy, which nobody writes into again."""
        points = self._points[rows]
        return [
            trail[end - MAX_POINTS if end > MAX_POINTS else 0 : end]
            for trail, end in zip(points, self._ends[rows].tolist(), strict=True)
        ]
