"""The machine that trackers share: predict, associate, learn, confirm, start, forget. A tracker says how alike things are.

    (unseen object) ──seen──▶ TENTATIVE ──seen often enough──▶ CONFIRMED ◀──seen again── LOST
                                  │                                │                       ▲ │
                                  └─unseen too long─▶ removed      └────────unseen─────────┘ └─unseen too long─▶ removed

An id is given on the way into CONFIRMED, once, and never again. The objects of the very first frame are confirmed at once.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from engines.types import F32, Image, Segmentation
from realtime.camera_motion.motion import CameraMotion
from realtime.tracking.common import book as books
from realtime.tracking.common import kalman
from realtime.tracking.common.association import Mask, Pairing, Pairs, Rows, iou_matrix, overlapping, pair_iou
from realtime.tracking.common.book import BOOK, CONFIRMED, LOST, TENTATIVE, Detections
from realtime.tracking.common.clock import StreamClock
from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.trails import Trails
from realtime.types import Track

_SURE_SCORE = 0.6
"""Detections from here on have boxes as good as they get."""

_SURE, _FAINT, _AGAIN, _NEW, _NEVER = range(5)
_ROUND = np.array(((_NEVER, _NEW), (_FAINT, _SURE), (_AGAIN, _SURE)))
"""In which round of the association a pair may be taken, by the track's state and whether the detection is confident."""


class BoxTracker:
    """Tracks boxes by their overlap with where they should be. One thread, one stream.

    Trackers that know more build on it: they override the methods under "What a tracker may say".
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._set = settings
        self._clock = StreamClock()
        self._camera = CameraMotion(settings.camera_motion)
        self._motion = kalman.begin(np.zeros((0, 4)), settings.noise)
        self._predicted = np.zeros((0, 4), np.float32)
        self._book = np.zeros(0, BOOK)
        self._trails = Trails()
        self._last_id = 0
        self._is_first_frame = True

    def update(self, segmentation: Segmentation, t_s: float, image: Image) -> tuple[Track, ...]:
        """Take one frame's objects; return the confirmed tracks seen in it, and those coasting for at most `coast_s`, by id.

        A seen track has its detection's box and row, a coasting one its predicted box and row None.
        """
        tick = self._clock.tick(t_s)
        self._motion = kalman.predict(self._motion.halted() if tick.is_gap else self._motion, tick.dt_s, self._set.noise)
        self._follow_camera(segmentation, image, tick.dt_s)
        self._predicted = self._motion.boxes_px().astype(np.float32)
        self._book["row"] = -1
        seen = Detections.of(segmentation.instances, self._set.low_score)
        self._look(seen, segmentation, image)
        tracks, detections = self._associate(seen)
        self._learn(tracks, seen, detections)
        self._advance()
        self._start(seen, detections)
        self._is_first_frame = False
        return self._shown()

    # What a tracker may say

    def _look(self, seen: Detections, segmentation: Segmentation, image: Image) -> None:
        """Take from a new frame what the methods below need, once the tracks are where they should be in it."""

    def _candidates(self, seen: Detections) -> Pairs:
        """How well detections lie where tracks should be, before classes are looked at."""
        return overlapping(self._predicted, seen.boxes_px, self._padding_px())

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        """(K,) 0 or more: what else speaks for each of the pairs, which compete."""
        return np.zeros(len(pairs.tracks), np.float32)

    def _recover(self, seen: Detections, pairing: Pairing) -> None:
        """One more try, with what no track has claimed."""

    def _measured(self, tracks: Rows, seen: Detections, detections: Rows) -> tuple[F32, Mask]:
        """(K, 4) where the `tracks` were seen, and (K,) whether that says how they move."""
        return seen.boxes_px[detections], np.ones(len(tracks), bool)

    def _learn_motion(self, tracks: Rows, boxes_px: F32, scores: F32) -> None:
        """Correct the motion of `tracks`, seen at `boxes_px`, (K, 4); the book still holds what was known before."""
        self._motion = kalman.update(self._motion, tracks, boxes_px, self._set.noise, self._doubt(scores))

    def _doubt(self, scores: F32) -> F32:
        """How much noisier the boxes of faint detections are. Source of the idea: NSA Kalman (Du et al., 2021)."""
        lack = np.maximum(_SURE_SCORE - scores, 0) / np.float32(_SURE_SCORE)
        doubt: F32 = 1 + self._set.faint_noise * lack
        return doubt

    def _is_excused(self, tracks: Mask) -> Mask:
        """(N,) which of the unseen `tracks` are unseen for a known reason, so that no time runs against them."""
        return np.zeros(len(tracks), bool)

    def _is_suspect(self, tracks: Rows) -> Mask:
        """(K,) which of the tentative tracks should rather wait: they may be no objects of their own."""
        return np.zeros(len(tracks), bool)

    # The machine

    def _follow_camera(self, segmentation: Segmentation, image: Image, dt_s: float) -> None:
        """Move all that is known of places as the background moved."""
        step = self._camera.update(image, segmentation, dt_s)
        if not step.is_sure or not len(self._book) or not step.is_moving:
            return
        self._motion = self._motion.warped(step.matrix)
        self._trails.warp(step.matrix)
        books.warp(self._book, step.matrix)
        self._book["anchor"] = kalman.Motion(self._book["anchor"]).warped(step.matrix).numbers

    def _associate(self, seen: Detections) -> tuple[Rows, Rows]:
        """Which track is which detection: (K,) indices of tracks and of detections, each at most once."""
        pairing = Pairing(len(self._book), len(seen.rows))
        if len(self._book) and len(seen.rows):
            pairs = self._candidates(seen)
            turn = self._rounds(seen, pairs)
            bonus = partial(self._bonus, seen)
            waiting = np.bincount(turn, minlength=_NEVER)
            for number in (_SURE, _FAINT, _AGAIN):
                if waiting[number]:
                    pairing.match(pairs.where(turn == number), bonus)
            self._recover(seen, pairing)
            if waiting[_NEW]:
                pairing.match(pairs.where(turn == _NEW), bonus)
        return pairing.pairs()

    def _rounds(self, seen: Detections, pairs: Pairs) -> Rows:
        """(K,) in which round each pair may be taken; `_NEVER` for those that overlap too little."""
        s, (tracks, detections, overlap) = self._set, pairs
        is_confident = (seen.scores >= s.high_score)[detections].astype(np.intp)
        turn: Rows = _ROUND[self._book["state"][tracks], is_confident]
        least = np.array((s.match_overlap, s.faint_overlap, s.faint_overlap, s.match_overlap, np.inf), np.float32)[turn]
        is_other = self._book["class_id"][tracks] != seen.class_ids[detections]
        least[is_other] = np.maximum(least[is_other], s.other_class_overlap)
        turn[overlap < least] = _NEVER
        again = np.flatnonzero(turn == _AGAIN)
        if len(again):
            plain = pair_iou(self._predicted[tracks[again]], seen.boxes_px[detections[again]])
            turn[again[plain < s.again_overlap]] = _NEVER
        return turn

    def _padding_px(self) -> F32:
        """(N, 2) float32: how far off each track may be, in x and y; see the setting `margin`."""
        size = self._motion.position[:, 2:]
        doubt_px = self._set.doubt * np.sqrt(self._motion.position_variance)
        return np.minimum(self._set.margin * size + doubt_px, self._set.max_margin * size).astype(np.float32)

    def _learn(self, tracks: Rows, seen: Detections, detections: Rows) -> None:
        """Write the matched detections into their tracks."""
        boxes, is_clear = self._measured(tracks, seen, detections)
        self._learn_motion(tracks[is_clear], boxes[is_clear], seen.scores[detections[is_clear]])
        lines = books.next_lines(self._book, tracks, seen, detections, self._clock.now_s)
        lines["anchor"] = self._motion.numbers[tracks]
        self._book[tracks] = lines
        self._trails.add(tracks, _ground_points(self._motion.position[tracks]))

    def _advance(self) -> None:
        """One step of the state machine for every track; ids are given here and nowhere else."""
        s, book, now_s = self._set, self._book, self._clock.now_s
        is_seen, is_tentative = book["row"] >= 0, book["state"] == TENTATIVE
        book["state"] = np.where(is_tentative, TENTATIVE, np.where(is_seen, CONFIRMED, LOST))
        candidates = np.flatnonzero(is_tentative & is_seen)
        if len(candidates):
            candidates = candidates[~self._is_suspect(candidates)]
            hits, age_s = book["hits"][candidates], now_s - book["first_seen_s"][candidates]
            self._confirm(candidates[(hits >= s.confirm_hits) | ((hits >= 2) & (age_s >= s.confirm_s))])
        if not is_seen.all():
            self._motion = self._motion.with_steady_sizes(~is_seen)  # what vanishes shrinks before it does, and is not smaller
            book["suspect_s"][~is_seen] = 0  # a piece that is one with the rest now and then is never an object
            excused = self._is_excused(~is_seen)
            book["excused_s"][excused] = now_s
            budget_s = np.where(is_tentative, s.tentative_s, s.lost_s)
            self._keep(is_seen | (now_s - np.maximum(book["last_seen_s"], book["excused_s"]) <= budget_s))

    def _confirm(self, tracks: Rows) -> None:
        self._book["id"][tracks] = self._last_id + 1 + np.arange(len(tracks))
        self._book["state"][tracks] = CONFIRMED
        self._last_id += len(tracks)

    def _start(self, seen: Detections, matched: Rows) -> None:
        """New tracks for confident detections that no track claimed, unless they lie on one that was claimed or is surer."""
        is_new = seen.scores >= self._set.start_score
        is_new[matched] = False
        if not is_new.any():
            return
        new = np.flatnonzero(is_new)
        others = np.concatenate((matched, new))
        is_duplicate = iou_matrix(seen.boxes_px[new], seen.boxes_px[others]) >= self._set.duplicate_overlap
        new = new[~np.tril(is_duplicate, k=len(matched) - 1).any(axis=1)]  # rows fall in score: of new ones look at those before
        motion = kalman.begin(seen.boxes_px[new], self._set.noise)
        lines = books.first_lines(seen, new, motion.numbers, self._clock.now_s)
        self._motion, self._book = self._motion.joined(motion), np.concatenate((self._book, lines))
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
        found, motion = book["row"][rows], self._motion.take(rows)
        boxes = np.where(found[:, None] >= 0, book["box_px"][rows], motion.boxes_px().astype(np.float32))
        columns = (
            *(book[name][rows].tolist() for name in ("id", "class_id", "score")),
            boxes,
            [row if row >= 0 else None for row in found.tolist()],
            self._trails.of(rows),
            book["best_score"][rows].tolist(),
            motion.velocity.astype(np.float32),
        )
        return tuple(map(Track._make, zip(*columns, strict=True)))


def _ground_points(position: kalman.F64) -> F32:
    """(N, 4) cx, cy, w, h -> (N, 2) float32 px: the middle of each box's lower edge."""
    points = position[:, :2].astype(np.float32)
    points[:, 1] += position[:, 3] / 2
    return points
