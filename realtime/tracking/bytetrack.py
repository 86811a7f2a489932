"""ByteTrack in seconds: confident detections choose their tracks first, faint ones may keep a track alive but never start one.

    (unseen object) ──seen──▶ TENTATIVE ──seen often enough──▶ CONFIRMED ◀──seen again── LOST
                                  │                                │                       ▲ │
                                  └─unseen too long─▶ removed      └────────unseen─────────┘ └─unseen too long─▶ removed

An id is given on the way into CONFIRMED, once, and never again. The objects of the very first frame are confirmed at once.
Source: ByteTrack (Zhang et al., 2022), algorithm 1; grown boxes from C-BIoU (Yang et al., 2023).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from engines.types import F32, I32, Image, Instances, Segmentation
from realtime.errors import SettingsError
from realtime.tracking.common import kalman
from realtime.tracking.common.association import Rows, assign, iou_matrix
from realtime.tracking.common.clock import StreamClock
from realtime.tracking.common.trails import Trails
from realtime.types import Track

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Settings:
    """How ByteTrack decides. Scores and overlaps lie in [0, 1]; overlaps are IoUs of boxes grown by `margin` and `doubt`."""

    high_score: float = 0.4
    """From here on a detection is confident: it may revive a lost track and start a new one."""
    low_score: float = 0.1
    """Below this a detection is noise."""
    margin: float = 0.1
    """Boxes are compared with this much of their width and height added on each side: lenient to jumps and flickering sizes."""
    doubt: float = 2.0
    """So many standard deviations of the predicted position are added to that margin. An object seen only once may have any
    velocity, one that was lost may have changed it: both may be found farther off, the farther the more time has passed."""
    max_margin: float = 1.0
    """Margin and doubt together never add more than this much of the width and height on a side."""
    match_overlap: float = 0.3
    """Least overlap of a confident detection with its track."""
    faint_overlap: float = 0.55
    """Least overlap of a faint detection with its track: what is unsure of itself must lie where it is expected."""
    other_class_overlap: float = 0.75
    """Least overlap with a track of another class: only a box in nearly the same place is the same car, now called truck."""
    duplicate_overlap: float = 0.9
    """From here on (boxes as they are, without margin) two boxes are one object, whatever their classes: no new track starts."""
    confirm_hits: int = 3
    """Sightings that confirm a track."""
    confirm_s: float = 0.1
    """A track seen twice is confirmed when its first sighting is this old, so that slow models need not wait for three frames."""
    tentative_s: float = 0.1
    """A track that is not confirmed is given up when unseen for longer."""
    lost_s: float = 2.0
    """A confirmed track is given up when unseen for longer."""
    coast_s: float = 0.25
    """A confirmed track unseen for at most this long is still returned, at its predicted box and with row None."""
    noise: kalman.Noise = field(default_factory=kalman.Noise)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, kalman.Noise):
                continue
            if not (isinstance(value, (int, float)) and 0 <= value < float("inf")):
                raise SettingsError(f"bytetrack: {setting.name} = {value!r} must be a number, 0 or more")
            if setting.name.endswith(("_score", "_overlap")) and not 0 < value <= 1:
                raise SettingsError(f"bytetrack: {setting.name} = {value} must lie above 0 and not above 1")
        if self.low_score > self.high_score:
            raise SettingsError(f"bytetrack: low_score = {self.low_score} must not exceed high_score = {self.high_score}")


class State(enum.IntEnum):
    """Where a track stands; see the module's figure. A removed track is simply no longer there."""

    TENTATIVE = 0
    CONFIRMED = 1
    LOST = 2


TENTATIVE, CONFIRMED, LOST = (state.value for state in State)

_BOOK = np.dtype(
    [
        ("id", np.int64),  # 0 until confirmed
        ("state", np.uint8),
        ("class_id", np.int32),
        ("class_votes", np.float32),  # how firmly that class leads; see `_vote`
        ("score", np.float32),
        ("best_score", np.float32),
        ("hits", np.int32),
        ("first_seen_s", np.float64),
        ("last_seen_s", np.float64),
        ("row", np.int32),  # in the current frame's Instances, -1 when not seen
        ("box_px", np.float32, 4),  # as last detected
    ]
)
"""What is written down about each track beside its motion and its trail."""

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


class ByteTrack:
    """The tracker. One thread, one stream."""

    def __init__(self, settings: Settings) -> None:
        self._set = settings
        self._clock = StreamClock()
        self._motion = kalman.begin(np.zeros((0, 4)), settings.noise)
        self._book = np.zeros(0, _BOOK)
        self._trails = Trails()
        self._last_id = 0
        self._is_first_frame = True

    def update(self, segmentation: Segmentation, t_s: float, image: Image) -> tuple[Track, ...]:
        """Take one frame's objects; return the confirmed tracks seen in it, and those coasting for at most `coast_s`, by id.

        A seen track has its detection's box and row, a coasting one its predicted box and row None.
        """
        tick = self._clock.tick(t_s)
        self._motion = kalman.predict(self._motion.halted() if tick.is_gap else self._motion, tick.dt_s, self._set.noise)
        self._book["row"] = -1
        seen = Detections.of(segmentation.instances, self._set.low_score)
        tracks, detections = self._associate(seen)
        self._learn(tracks, seen, detections)
        self._advance()
        self._start(seen, detections)
        self._is_first_frame = False
        return self._shown()

    def _associate(self, seen: Detections) -> tuple[Rows, Rows]:
        """Which track is which detection: (K,) indices of tracks and of detections, each at most once."""
        if not len(self._book) or not len(seen.rows):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        s, state = self._set, self._book["state"]
        overlap = iou_matrix(self._motion.boxes_px(), seen.boxes_px, self._padding_px())
        same_class = self._book["class_id"][:, None] == seen.class_ids
        overlap *= same_class | (overlap >= s.other_class_overlap)
        confident = seen.scores >= s.high_score
        free_tracks, free_seen = np.ones(len(self._book), bool), np.ones(len(seen.rows), bool)
        pairs = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]
        for candidates, detections, gate in (
            (state != TENTATIVE, confident, s.match_overlap),
            (state == CONFIRMED, ~confident, s.faint_overlap),
            (state == TENTATIVE, confident, s.match_overlap),
        ):
            i, j = np.flatnonzero(free_tracks & candidates), np.flatnonzero(free_seen & detections)
            if not len(i) or not len(j):
                continue
            a, b = assign(overlap[np.ix_(i, j)], gate)
            free_tracks[i[a]] = free_seen[j[b]] = False
            pairs.append((i[a], j[b]))
        return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])

    def _padding_px(self) -> F32:
        """(N, 2) float32: how far off each track may be, in x and y; see `Settings.margin`."""
        size = self._motion.position[:, 2:]
        doubt_px = self._set.doubt * np.sqrt(self._motion.position_variance)
        return np.minimum(self._set.margin * size + doubt_px, self._set.max_margin * size).astype(np.float32)

    def _learn(self, tracks: Rows, seen: Detections, detections: Rows) -> None:
        """Write the matched detections into their tracks."""
        boxes = seen.boxes_px[detections]
        self._motion = kalman.update(self._motion, tracks, boxes, self._set.noise)
        book = self._book[tracks]  # a copy: fancy indexing
        book["class_id"], book["class_votes"] = _vote(book, seen.class_ids[detections], seen.scores[detections])
        book["score"] = seen.scores[detections]
        book["best_score"] = np.maximum(book["best_score"], book["score"])
        book["hits"] += 1
        book["last_seen_s"] = self._clock.now_s
        book["row"] = seen.rows[detections]
        book["box_px"] = boxes
        self._book[tracks] = book
        self._trails.add(tracks, _ground_points(self._motion.position[tracks]))

    def _advance(self) -> None:
        """One step of the state machine for every track; ids are given here and nowhere else."""
        s, book, now_s = self._set, self._book, self._clock.now_s
        is_seen, is_tentative = book["row"] >= 0, book["state"] == TENTATIVE
        book["state"] = np.where(is_tentative, TENTATIVE, np.where(is_seen, CONFIRMED, LOST))
        candidates = np.flatnonzero(is_tentative & is_seen)
        if len(candidates):
            hits, age_s = book["hits"][candidates], now_s - book["first_seen_s"][candidates]
            self._confirm(candidates[(hits >= s.confirm_hits) | ((hits >= 2) & (age_s >= s.confirm_s))])
        if not is_seen.all():
            budget_s = np.where(is_tentative, s.tentative_s, s.lost_s)
            self._keep(is_seen | (now_s - book["last_seen_s"] <= budget_s))

    def _confirm(self, tracks: Rows) -> None:
        self._book["id"][tracks] = self._last_id + 1 + np.arange(len(tracks))
        self._book["state"][tracks] = CONFIRMED
        self._last_id += len(tracks)

    def _start(self, seen: Detections, matched: Rows) -> None:
        """New tracks for confident detections that no track claimed, unless they lie on one that was claimed or is surer."""
        is_new = seen.scores >= self._set.high_score
        is_new[matched] = False
        if not is_new.any():
            return
        new = np.flatnonzero(is_new)
        others = np.concatenate((matched, new))
        is_duplicate = iou_matrix(seen.boxes_px[new], seen.boxes_px[others]) >= self._set.duplicate_overlap
        new = new[~np.tril(is_duplicate, k=len(matched) - 1).any(axis=1)]  # rows fall in score: of new ones look at those before
        book = np.zeros(len(new), _BOOK)
        book["class_id"], book["class_votes"] = seen.class_ids[new], seen.scores[new]
        book["score"] = book["best_score"] = seen.scores[new]
        book["hits"], book["row"] = 1, seen.rows[new]
        book["first_seen_s"] = book["last_seen_s"] = self._clock.now_s
        book["box_px"] = seen.boxes_px[new]
        motion = kalman.begin(seen.boxes_px[new], self._set.noise)
        self._motion, self._book = self._motion.joined(motion), np.concatenate((self._book, book))
        self._trails.start(_ground_points(motion.position))
        if self._is_first_frame:
            self._confirm(np.arange(len(self._book)))

    def _keep(self, mask: Mask) -> None:
        if not mask.all():
            self._motion, self._book = self._motion.take(mask), self._book[mask]
            self._trails.keep(mask)

    def _shown(self) -> tuple[Track, ...]:
        book = self._book
        shown = (book["state"] != TENTATIVE) & (self._clock.now_s - book["last_seen_s"] <= self._set.coast_s)
        rows = np.flatnonzero(shown)
        rows = rows[np.argsort(book["id"][rows])]
        chosen = book[rows]
        boxes = np.where(chosen["row"][:, None] >= 0, chosen["box_px"], self._motion.boxes_px()[rows].astype(np.float32))
        trails = self._trails.of(rows)
        facts = chosen[["id", "class_id", "score", "row", "best_score"]].tolist()
        return tuple(
            Track(track_id, class_id, score, box, row if row >= 0 else None, trail, best_score)
            for (track_id, class_id, score, row, best_score), box, trail in zip(facts, boxes, trails, strict=True)
        )


def _vote(book: npt.NDArray[np.void], class_ids: I32, scores: F32) -> tuple[I32, F32]:
    """Each track's class and its lead after one more vote, weighted by score. Source: Boyer and Moore's majority vote (1981)."""
    agrees = book["class_id"] == class_ids
    votes = np.where(agrees, book["class_votes"] + scores, book["class_votes"] - scores)
    overthrown = votes < 0
    lead = np.minimum(np.abs(votes), _MAX_VOTES).astype(np.float32)
    return np.where(overthrown, class_ids, book["class_id"]).astype(np.int32), lead


def _ground_points(position: kalman.F64) -> F32:
    """(N, 4) cx, cy, w, h -> (N, 2) float32 px: the middle of each box's lower edge."""
    points = position[:, :2].astype(np.float32)
    points[:, 1] += position[:, 3] / 2
    return points


def create(settings: Settings) -> ByteTrack:
    """A ByteTrack without tracks."""
    return ByteTrack(settings)
