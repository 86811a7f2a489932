"""OC-SORT in seconds: observations count more than predictions made while nothing was seen.

A track that is found again is filtered as if it had moved straight from its last observation to the new one; directions between
observations are evidence for a pair; and in the end, a track without a match may be found at its last observation.
Source: Observation-Centric SORT (Cao et al., 2023), sections 4.1 to 4.3; faint detections as in ByteTrack.
"""

from dataclasses import dataclass

import numpy as np

from engines.types import F32, F64, Rows
from realtime.tracking.common import kalman
from realtime.tracking.common.association import Pairing, Pairs, overlapping
from realtime.tracking.common.kalman import Motion
from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.table import TENTATIVE, Detections
from realtime.tracking.common.tracker import BoxTracker

_STEPS = 4
"""Steps between the last observation and the new one, with interpolated observations. More change less than the noise."""

_SURE_HEIGHTS = 0.15
"""A motion by this share of an object's height has a certain direction; a smaller one a less certain one, as boxes flicker."""


@dataclass(frozen=True, slots=True)
class Settings(TrackerSettings):
    """See `TrackerSettings`, and:"""

    direction_weight: float = 0.2
    """Weight of a detection in its track's direction of motion; overlaps weigh up to 1."""
    direction_s: float = 0.15
    """The direction is measured between the last observation and one about this much older."""
    recover_overlap: float = 0.6
    """Least overlap with a track's last box, for detections that match no prediction; 1: off. With the paper's 0.3, objects that
    enter the picture take the ids of those that left it at the same place."""
    refilter_s: float = 0.12
    """A track that was unseen for longer is filtered again, along the straight line to the new observation."""


class OcSort(BoxTracker):
    """The shared loop with the three observation-centric parts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._oc = settings

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        tracks, detections, _ = pairs
        height = self._motion.position[tracks, 3]
        agreement = direction_agreement(self._table["past"][tracks], seen.centres_px(detections), height, self._oc.direction_s)
        return np.float32(self._oc.direction_weight) * agreement

    def _recover(self, seen: Detections, pairing: Pairing) -> None:
        if self._oc.recover_overlap >= 1:
            return
        i = np.flatnonzero(pairing.free_tracks & (self._table["state"] != TENTATIVE))
        j = np.flatnonzero(pairing.free_seen & (seen.scores >= self._set.high_score))
        if len(i) and len(j):
            a, b, overlap = overlapping(self._table["box_px"][i], seen.boxes_px[j])
            left = Pairs(i[a], j[b], overlap)
            is_there = self._table["class_id"][left.tracks] == seen.class_ids[left.seen]
            pairing.match(left.where(is_there & (overlap >= self._oc.recover_overlap)))

    def _update_motion(self, tracks: Rows, boxes_px: F32, scores: F32) -> None:
        gone_s = self._clock.now_s - self._table["last_seen_s"][tracks]
        again = (gone_s > max(self._oc.refilter_s, 1.5 * self._clock.usual_dt_s)) & (gone_s <= self._set.lost_s)
        if again.any():
            rows = tracks[again]
            numbers = self._motion.numbers.copy()
            anchors = Motion(self._table["anchor"][rows])
            from_px, to_px = self._table["box_px"][rows], boxes_px[again]
            numbers[rows] = refiltered(anchors, from_px, to_px, gone_s[again], self._set.noise).numbers
            self._motion = Motion(numbers)
        super()._update_motion(tracks, boxes_px, scores)


def create(settings: Settings) -> OcSort:
    """An OC-SORT without tracks."""
    return OcSort(settings)


def direction_agreement(past: F64, centres_px: F32, heights_px: F64, lag_s: float) -> F32:
    """How well the direction to each of K detections agrees with its track's direction of motion.

    past: (K, PAST, 3) s, x, y of the track, newest first. centres_px: (K, 2) of the detection. heights_px: (K,) of the track.
    Returns (K,) float32 in [0, 1]; 0.5 where a direction is unknown, as for objects at rest.
    """
    age_s = past[:, :1, 0] - past[:, :, 0]
    older = np.minimum((age_s < lag_s).sum(axis=1), past.shape[1] - 1)
    went = past[:, 0, 1:] - past[np.arange(len(past)), older, 1:]
    goes = centres_px - past[:, 0, 1:]
    went_px, goes_px = np.hypot(went[:, 0], went[:, 1]), np.hypot(goes[:, 0], goes[:, 1])
    cosine = (went * goes).sum(axis=1) / np.maximum(went_px * goes_px, 1e-9)
    least_px = _SURE_HEIGHTS * heights_px
    certainty = np.minimum(went_px / least_px, 1) * np.minimum(goes_px / least_px, 1)
    agreement: F32 = (0.5 + 0.5 * cosine * certainty).astype(np.float32)
    return agreement


def refiltered(anchors: Motion, from_px: F32, to_px: F32, gone_s: F64, noise: kalman.Noise) -> Motion:
    """Motions predicted to now, as if their objects had been observed on a straight line since their last observation.

    anchors: K motions when last seen. from_px, to_px: (K, 4) the boxes then and now. gone_s: (K,) the time between.
    """
    motion, rows = anchors, np.arange(len(anchors))
    step_s = gone_s[:, None] / _STEPS
    for step in range(1, _STEPS + 1):
        motion = kalman.predict(motion, step_s, noise)
        if step < _STEPS:
            motion = kalman.update(motion, rows, from_px + (to_px - from_px) * (step / _STEPS), noise)
    return motion
