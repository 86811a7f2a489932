"""What is written down about tracks and detections: one row each, side by side in arrays."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engines.types import F32, I32, Instances
from realtime.tracking.common.association import Rows

GRID = 10
"""A silhouette is this many points wide and high."""

LOOK = 6
"""Numbers that say what an object looks like."""

PAST = 6
"""So many sightings of each track are remembered with their times."""


class State(enum.IntEnum):
    """Where a track stands; see the figure in `tracker`. A removed track is simply no longer there."""

    TENTATIVE = 0
    CONFIRMED = 1
    LOST = 2


TENTATIVE, CONFIRMED, LOST = (state.value for state in State)

BOOK = np.dtype(
    [
        ("id", np.int64),  # 0 until confirmed
        ("state", np.uint8),
        ("class_id", np.int32),
        ("class_votes", np.float32),  # how firmly that class leads; see `vote`
        ("score", np.float32),
        ("best_score", np.float32),
        ("hits", np.int32),
        ("first_seen_s", np.float64),
        ("last_seen_s", np.float64),
        ("row", np.int32),  # in the current frame's Instances, -1 when not seen
        ("box_px", np.float32, 4),  # as last detected
        ("past", np.float64, (PAST, 3)),  # the last sightings: s, centre x, centre y in px; newest first
        ("anchor", np.float64, 11),  # its row of `kalman.Motion` when last seen
        ("silhouette", np.bool_, (GRID, GRID)),  # its mask within its box when last seen; all False: not known
        ("look", np.float32, LOOK),  # how it looks; see `looks`
        ("looked_s", np.float64),  # when that was learned
        ("blob_id", np.int64),  # the track whose detection covers this one as well; 0: none
        ("blob_since_s", np.float64),  # since when
        ("excused_s", np.float64),  # until when its absence was explained by that
        ("suspect_s", np.float64),  # for how long it has looked like a piece of another one
    ]
)
"""What is known about each track beside its motion and its trail."""

Book: TypeAlias = npt.NDArray[Any]

_MAX_VOTES = 10.0
"""Votes that a class can save up: a wrong class of the first sightings is outvoted within as many frames."""


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


def first_lines(seen: Detections, chosen: Rows, anchors: npt.NDArray[np.float64], now_s: float) -> Book:
    """The lines of tracks that start with the detections `chosen`."""
    book = np.zeros(len(chosen), BOOK)
    book["class_id"], book["class_votes"] = seen.class_ids[chosen], seen.scores[chosen]
    book["score"] = book["best_score"] = seen.scores[chosen]
    book["hits"], book["row"] = 1, seen.rows[chosen]
    book["first_seen_s"] = book["last_seen_s"] = now_s
    book["box_px"], book["anchor"] = seen.boxes_px[chosen], anchors
    book["past"][:, :, 0] = now_s
    book["past"][:, :, 1:] = seen.centres_px(chosen)[:, None]
    return book


def next_lines(book: Book, tracks: Rows, seen: Detections, chosen: Rows, now_s: float) -> Book:
    """The lines of `tracks` after each was seen as the detection `chosen`; a new array. `anchor` is the caller's."""
    book = book[tracks]
    book["class_id"], book["class_votes"] = _vote(book, seen.class_ids[chosen], seen.scores[chosen])
    book["score"] = seen.scores[chosen]
    book["best_score"] = np.maximum(book["best_score"], book["score"])
    book["hits"] += 1
    book["last_seen_s"] = now_s
    book["row"] = seen.rows[chosen]
    book["box_px"] = seen.boxes_px[chosen]
    book["past"][:, 1:] = book["past"][:, :-1]
    book["past"][:, 0, 0] = now_s
    book["past"][:, 0, 1:] = seen.centres_px(chosen)
    book["blob_id"] = 0
    return book


def _vote(book: Book, class_ids: I32, scores: F32) -> tuple[I32, F32]:
    """Each track's class and its lead after one more vote, weighted by score. Source: Boyer and Moore's majority vote (1981)."""
    agrees = book["class_id"] == class_ids
    votes = np.where(agrees, book["class_votes"] + scores, book["class_votes"] - scores)
    overthrown = votes < 0
    lead = np.minimum(np.abs(votes), _MAX_VOTES).astype(np.float32)
    return np.where(overthrown, class_ids, book["class_id"]).astype(np.int32), lead


def warp(book: Book, matrix: npt.NDArray[np.float64]) -> None:
    """Move what the lines say about places by `matrix`, (2, 3), from the last frame's pixels to this one's. In place."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    scale = max(abs(float(np.linalg.det(linear))), 1e-6) ** 0.5
    boxes = book["box_px"]
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    centre = centre @ linear.T + shift
    book["box_px"] = np.concatenate((centre - half, centre + half), axis=1)
    book["past"][:, :, 1:] = book["past"][:, :, 1:] @ linear.T + shift
