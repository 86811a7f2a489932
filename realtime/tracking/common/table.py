"""The track table, the trails of its tracks, and the usable detections of a frame: arrays with one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engines.types import F32, F64, I32, Bools, Instances, Rows

GRID = 10
"""Width and height of a silhouette, in points."""

COLOURS = 6
"""Numbers that describe an object's colours."""

PAST = 6
"""Sightings of each track that are kept with their times."""

MAX_POINTS = 64
"""The most points of a trail."""

_TRAIL_ROOM = 2 * MAX_POINTS
"""Points are appended; only when a row is full are its last points moved to the front."""


TENTATIVE, CONFIRMED, LOST = range(3)
"""The states of a track; see the figure in `tracker`. A removed track is no longer in the table."""

TRACK = np.dtype(
    [
        ("id", np.int64),  # 0 until confirmed
        ("state", np.uint8),
        ("class_id", np.int32),
        ("class_votes", np.float32),  # the lead of that class; see `_vote`
        ("score", np.float32),
        ("best_score", np.float32),
        ("hits", np.int32),
        ("first_seen_s", np.float64),
        ("last_seen_s", np.float64),
        ("row", np.int32),  # in the current frame's Instances, -1 when not seen
        ("box_px", np.float32, 4),  # as last detected
        ("past", np.float64, (PAST, 3)),  # the last sightings: s, centre x, centre y in px; newest first
        ("anchor", np.float64, 11),  # its row of `kalman.Motion` when last seen
        ("silhouette", np.bool_, (GRID, GRID)),  # its mask within its box when last seen; all False: unknown
        ("colours", np.float32, COLOURS),  # see `appearance`
        ("colours_s", np.float64),  # time of their last update
        ("merged_id", np.int64),  # the track whose merged detection covers this one as well; 0: none
        ("merged_since_s", np.float64),
        ("merged_until_s", np.float64),  # the last time at which that explained its absence
        ("fragment_s", np.float64),  # for how long it has looked like a fragment of another track
    ]
)
"""A row of the track table: all that is known about a track, except its motion and its trail."""

TrackTable: TypeAlias = npt.NDArray[Any]

_MAX_VOTES = 10.0
"""The largest lead of a class: a wrong class of the first sightings is outvoted within as many frames."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The usable rows of a frame's Instances: finite boxes with an area, scores above the noise."""

    boxes_px: F32
    scores: F32
    class_ids: I32
    rows: Rows

    @classmethod
    def of(cls, seen: Instances, low_score: float) -> Detections:
        boxes = seen.boxes_px
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (seen.scores >= low_score)
        rows = np.flatnonzero(usable)
        return cls(boxes[rows], seen.scores[rows], seen.class_ids[rows], rows)

    def centres_px(self, chosen: Rows) -> F32:
        """(K, 2) float32."""
        boxes = self.boxes_px[chosen]
        centres: F32 = (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5)
        return centres


def new_rows(seen: Detections, chosen: Rows, anchors: F64, now_s: float) -> TrackTable:
    """The rows of tracks that start with the detections `chosen`."""
    table = np.zeros(len(chosen), TRACK)
    table["class_id"], table["class_votes"] = seen.class_ids[chosen], seen.scores[chosen]
    table["score"] = table["best_score"] = seen.scores[chosen]
    table["hits"], table["row"] = 1, seen.rows[chosen]
    table["first_seen_s"] = table["last_seen_s"] = now_s
    table["box_px"], table["anchor"] = seen.boxes_px[chosen], anchors
    table["past"][:, :, 0] = now_s
    table["past"][:, :, 1:] = seen.centres_px(chosen)[:, None]
    return table


def updated_rows(table: TrackTable, tracks: Rows, seen: Detections, chosen: Rows, now_s: float) -> TrackTable:
    """The rows of `tracks` after each was seen as the detection `chosen`; a new array. The caller sets `anchor`."""
    table = table[tracks]
    table["class_id"], table["class_votes"] = _vote(table, seen.class_ids[chosen], seen.scores[chosen])
    table["score"] = seen.scores[chosen]
    table["best_score"] = np.maximum(table["best_score"], table["score"])
    table["hits"] += 1
    table["last_seen_s"] = now_s
    table["row"] = seen.rows[chosen]
    table["box_px"] = seen.boxes_px[chosen]
    table["past"][:, 1:] = table["past"][:, :-1]
    table["past"][:, 0, 0] = now_s
    table["past"][:, 0, 1:] = seen.centres_px(chosen)
    table["merged_id"] = 0
    return table


def _vote(table: TrackTable, class_ids: I32, scores: F32) -> tuple[I32, F32]:
    """Each track's class and its lead after another vote, weighted by score. Source: Boyer and Moore's majority vote (1981)."""
    agrees = table["class_id"] == class_ids
    votes = np.where(agrees, table["class_votes"] + scores, table["class_votes"] - scores)
    overthrown = votes < 0
    lead = np.minimum(np.abs(votes), _MAX_VOTES).astype(np.float32)
    return np.where(overthrown, class_ids, table["class_id"]).astype(np.int32), lead


def warp(table: TrackTable, matrix: F64) -> None:
    """Move all positions in the table by `matrix`, (2, 3), from the last frame's pixels to the current frame's. In place."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    scale = max(abs(float(np.linalg.det(linear))), 1e-6) ** 0.5
    boxes = table["box_px"]
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    centre = centre @ linear.T + shift
    table["box_px"] = np.concatenate((centre - half, centre + half), axis=1)
    table["past"][:, :, 1:] = table["past"][:, :, 1:] @ linear.T + shift


class Trails:
    """N trails of ground points in px, oldest first; row i belongs to row i of the track table."""

    def __init__(self) -> None:
        self._points = np.zeros((0, _TRAIL_ROOM, 2), np.float32)
        self._ends = np.zeros(0, np.intp)

    def start(self, points_px: F32) -> None:
        """Append one trail per point of (K, 2)."""
        new = np.zeros((len(points_px), _TRAIL_ROOM, 2), np.float32)
        new[:, 0] = points_px
        self._points = np.concatenate((self._points, new))
        self._ends = np.concatenate((self._ends, np.ones(len(new), np.intp)))

    def add(self, rows: Rows, points_px: F32) -> None:
        """Append to the trail of each row its point of (K, 2); `rows` has no duplicates."""
        full = rows[self._ends[rows] == _TRAIL_ROOM]
        self._points[full, :MAX_POINTS] = self._points[full, -MAX_POINTS:]
        self._ends[full] = MAX_POINTS
        self._points[rows, self._ends[rows]] = points_px
        self._ends[rows] += 1

    def warp(self, matrix: F64) -> None:
        """Move all points by `matrix`, (2, 3), from the last frame's pixels to the current frame's."""
        self._points = (self._points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

    def keep(self, mask: Bools) -> None:
        """Remove the rows where `mask` is False."""
        self._points, self._ends = self._points[mask], self._ends[mask]

    def of(self, rows: Rows) -> list[F32]:
        """The trails of `rows`: (M, 2) float32 each, 1 <= M <= MAX_POINTS; views of one copy that is never changed."""
        trails = zip(self._points[rows], self._ends[rows].tolist(), strict=True)
        return [points[max(0, end - MAX_POINTS) : end] for points, end in trails]
