"""The loop that trackers share: predict, associate, update, confirm, start, remove. A tracker defines how similarity is measured.

    (unseen object) ──seen──▶ TENTATIVE ──seen often enough──▶ CONFIRMED ◀──seen again── LOST
                                  │                                │                       ▲ │
                                  └─unseen too long─▶ removed      └────────unseen─────────┘ └─unseen too long─▶ removed

A track gets its id when it is first CONFIRMED; an id is never used again. Objects of the first frame are confirmed at once.
"""

from functools import partial

import numpy as np

from engines.pictures.raw import PictureLike
from engines.types import F32, F64, Bools, Rows, Segmentation
from realtime.camera_motion import CameraMotion
from realtime.tracking.common import kalman
from realtime.tracking.common.association import Pairing, Pairs, iou_matrix, overlapping, pair_iou
from realtime.tracking.common.clock import StepClock
from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.table import CONFIRMED, LOST, TENTATIVE, TRACK, Detections, Trails, new_rows, updated_rows, warp
from realtime.types import Track

_SURE_SCORE = 0.6
"""Detections with at least this score have the most precise boxes."""

_SURE, _FAINT, _REVIVE, _NEW, _NEVER = range(5)
_ROUND = np.array(((_NEVER, _NEW), (_FAINT, _SURE), (_REVIVE, _SURE)))
"""The round of the association in which a pair may be matched, by the track's state and whether the detection is confident."""


class BoxTracker:
    """Tracks boxes by their overlap with predicted boxes. One thread, one stream.

    Other trackers extend it: they override the methods under "Hooks of trackers".
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._set = settings
        self._clock = StepClock()
        self._camera = CameraMotion(settings.camera_motion)
        self._motion = kalman.begin(np.zeros((0, 4)), settings.noise)
        self._predicted = np.zeros((0, 4), np.float32)
        self._table = np.zeros(0, TRACK)
        self._trails = Trails()
        self._last_id = 0
        self._is_first_frame = True

    def update(self, segmentation: Segmentation, t_s: float, image: PictureLike) -> tuple[Track, ...]:
        """Take one frame's objects; return the confirmed tracks seen in it, and those that coast for at most `coast_s`, by id.

        A seen track has its detection's box and row, a coasting one its predicted box and row None.
        """
        tick = self._clock.tick(t_s)
        self._motion = kalman.predict(self._motion.halted() if tick.is_gap else self._motion, tick.dt_s, self._set.noise)
        self._follow_camera(segmentation, image, tick.dt_s)
        self._predicted = self._motion.boxes_px().astype(np.float32)
        self._table["row"] = -1
        seen = Detections.of(segmentation.instances, self._set.low_score)
        self._prepare(seen, segmentation, image)
        tracks, detections = self._associate(seen)
        self._update_matched(tracks, seen, detections)
        self._advance()
        self._start(seen, detections)
        self._is_first_frame = False
        return self._shown()

    # Hooks of trackers

    def _prepare(self, seen: Detections, segmentation: Segmentation, image: PictureLike) -> None:
        """Take from a new frame what the methods below need. The tracks are already predicted to it."""

    def _candidates(self, seen: Detections) -> Pairs:
        """Overlaps of detections with predicted tracks, regardless of classes."""
        return overlapping(self._predicted, seen.boxes_px, self._padding_px())

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        """(K,) 0 or more: evidence for each of the competing pairs beside its overlap."""
        return np.zeros(len(pairs.tracks), np.float32)

    def _recover(self, seen: Detections, pairing: Pairing) -> None:
        """Another round, with the detections that are still free."""

    def _measured(self, tracks: Rows, seen: Detections, detections: Rows) -> tuple[F32, Bools]:
        """(K, 4) the measured boxes of `tracks`, and (K,) whether each may update its track's motion."""
        return seen.boxes_px[detections], np.ones(len(tracks), bool)

    def _update_motion(self, tracks: Rows, boxes_px: F32, scores: F32) -> None:
        """Correct the motion of `tracks`, seen at `boxes_px`, (K, 4); the table still has the state before this frame.

        Boxes of faint detections have more noise. Source of the idea: NSA Kalman (Du et al., 2021).
        """
        shortfall = np.maximum(_SURE_SCORE - scores, 0) / np.float32(_SURE_SCORE)
        doubt = 1 + self._set.faint_noise * shortfall
        self._motion = kalman.update(self._motion, tracks, boxes_px, self._set.noise, doubt)

    def _is_merged(self, tracks: Bools) -> Bools:
        """(N,) which of the unseen `tracks` are within a merged detection: their time until removal does not run."""
        return np.zeros(len(tracks), bool)

    def _is_fragment(self, tracks: Rows) -> Bools:
        """(K,) which of the tentative tracks may be fragments of other objects: their confirmation waits."""
        return np.zeros(len(tracks), bool)

    # The loop

    def _follow_camera(self, segmentation: Segmentation, image: PictureLike, dt_s: float) -> None:
        """Move all known positions as the background moved."""
        step = self._camera.update(image, segmentation, dt_s)
        if not step.is_sure or not len(self._table) or not step.is_moving:
            return
        self._motion = self._motion.warped(step.matrix)
        self._trails.warp(step.matrix)
        warp(self._table, step.matrix)
        self._table["anchor"] = kalman.Motion(self._table["anchor"]).warped(step.matrix).numbers

    def _associate(self, seen: Detections) -> tuple[Rows, Rows]:
        """The matches: (K,) indices of tracks and of detections, each at most once."""
        pairing = Pairing(len(self._table), len(seen.rows))
        if len(self._table) and len(seen.rows):
            pairs = self._candidates(seen)
            rounds = self._rounds_of(seen, pairs)
            bonus = partial(self._bonus, seen)
            waiting = np.bincount(rounds, minlength=_NEVER)
            for number in (_SURE, _FAINT, _REVIVE):
                if waiting[number]:
                    pairing.match(pairs.where(rounds == number), bonus)
            self._recover(seen, pairing)
            if waiting[_NEW]:
                pairing.match(pairs.where(rounds == _NEW), bonus)
        return pairing.pairs()

    def _rounds_of(self, seen: Detections, pairs: Pairs) -> Rows:
        """(K,) the round in which each pair may be matched; `_NEVER` for those that overlap too little."""
        s, (tracks, detections, overlap) = self._set, pairs
        is_confident = (seen.scores >= s.high_score)[detections].astype(np.intp)
        rounds: Rows = _ROUND[self._table["state"][tracks], is_confident]
        least = np.array((s.match_overlap, s.faint_overlap, s.faint_overlap, s.match_overlap, np.inf), np.float32)[rounds]
        is_other = self._table["class_id"][tracks] != seen.class_ids[detections]
        least[is_other] = np.maximum(least[is_other], s.other_class_overlap)
        rounds[overlap < least] = _NEVER
        again = np.flatnonzero(rounds == _REVIVE)
        if len(again):
            plain = pair_iou(self._predicted[tracks[again]], seen.boxes_px[detections[again]])
            rounds[again[plain < s.again_overlap]] = _NEVER
        return rounds

    def _padding_px(self) -> F32:
        """(N, 2) float32: the possible offset of each track in x and y; see the setting `margin`."""
        size = self._motion.position[:, 2:]
        doubt_px = self._set.doubt * np.sqrt(self._motion.position_variance)
        return np.minimum(self._set.margin * size + doubt_px, self._set.max_margin * size).astype(np.float32)

    def _update_matched(self, tracks: Rows, seen: Detections, detections: Rows) -> None:
        """Update the tracks with their matched detections."""
        boxes, is_clear = self._measured(tracks, seen, detections)
        self._update_motion(tracks[is_clear], boxes[is_clear], seen.scores[detections[is_clear]])
        rows = updated_rows(self._table, tracks, seen, detections, self._clock.now_s)
        rows["anchor"] = self._motion.numbers[tracks]
        self._table[tracks] = rows
        self._trails.add(tracks, _ground_points(self._motion.position[tracks]))

    def _advance(self) -> None:
        """One step of the state machine for every track."""
        s, table, now_s = self._set, self._table, self._clock.now_s
        is_seen, is_tentative = table["row"] >= 0, table["state"] == TENTATIVE
        table["state"] = np.where(is_tentative, TENTATIVE, np.where(is_seen, CONFIRMED, LOST))
        candidates = np.flatnonzero(is_tentative & is_seen)
        if len(candidates):
            candidates = candidates[~self._is_fragment(candidates)]
            hits, age_s = table["hits"][candidates], now_s - table["first_seen_s"][candidates]
            self._confirm(candidates[(hits >= s.confirm_hits) | ((hits >= 2) & (age_s >= s.confirm_s))])
        if not is_seen.all():
            self._motion = self._motion.with_steady_sizes(~is_seen)  # a box shrinks before it vanishes, its object does not
            table["fragment_s"][~is_seen] = 0  # a fragment that is joined to the rest now and then never becomes an object
            table["merged_until_s"][self._is_merged(~is_seen)] = now_s
            budget_s = np.where(is_tentative, s.tentative_s, s.lost_s)
            kept = is_seen | (now_s - np.maximum(table["last_seen_s"], table["merged_until_s"]) <= budget_s)
            if not kept.all():
                self._motion, self._table = self._motion.take(kept), table[kept]
                self._trails.keep(kept)

    def _confirm(self, tracks: Rows) -> None:
        self._table["id"][tracks] = self._last_id + 1 + np.arange(len(tracks))
        self._table["state"][tracks] = CONFIRMED
        self._last_id += len(tracks)

    def _start(self, seen: Detections, matched: Rows) -> None:
        """New tracks for confident free detections, except duplicates of a matched detection or of one with a higher score."""
        is_new = seen.scores >= self._set.start_score
        is_new[matched] = False
        if not is_new.any():
            return
        new = np.flatnonzero(is_new)
        others = np.concatenate((matched, new))
        is_duplicate = iou_matrix(seen.boxes_px[new], seen.boxes_px[others]) >= self._set.duplicate_overlap
        # Scores fall from row to row, so a new one is compared with earlier ones only.
        new = new[~np.tril(is_duplicate, k=len(matched) - 1).any(axis=1)]
        motion = kalman.begin(seen.boxes_px[new], self._set.noise)
        rows = new_rows(seen, new, motion.numbers, self._clock.now_s)
        self._motion, self._table = self._motion.joined(motion), np.concatenate((self._table, rows))
        self._trails.start(_ground_points(motion.position))
        if self._is_first_frame:
            self._confirm(np.arange(len(self._table)))

    def _shown(self) -> tuple[Track, ...]:
        table = self._table
        shown = (table["state"] != TENTATIVE) & (self._clock.now_s - table["last_seen_s"] <= self._set.coast_s)
        rows = np.flatnonzero(shown)
        rows = rows[np.argsort(table["id"][rows])]
        found, motion = table["row"][rows], self._motion.take(rows)
        boxes = np.where(found[:, None] >= 0, table["box_px"][rows], motion.boxes_px().astype(np.float32))
        columns = (
            *(table[name][rows].tolist() for name in ("id", "class_id", "score")),
            boxes,
            [row if row >= 0 else None for row in found.tolist()],
            self._trails.of(rows),
            table["best_score"][rows].tolist(),
            motion.velocity.astype(np.float32),
        )
        return tuple(map(Track._make, zip(*columns, strict=True)))


def _ground_points(position: F64) -> F32:
    """(N, 4) cx, cy, w, h -> (N, 2) float32 px: the middle of each box's lower edge."""
    points = position[:, :2].astype(np.float32)
    points[:, 1] += position[:, 3] / 2
    return points
