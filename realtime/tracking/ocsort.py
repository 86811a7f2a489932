"""OC-SORT in seconds: what was observed is trusted more than what was predicted while nothing was seen.

A track that turns up again is filtered as if it had gone straight from where it was last seen to where it is now; directions
between observations speak for a pair; and at the end, what is left over may be found where it was last seen.
Source: Observation-Centric SORT (Cao et al., 2023), sections 4.1 to 4.3; faint detections as in ByteTrack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.types import F32
from realtime.tracking.common import kalman
from realtime.tracking.common.association import Pairing, Pairs, Rows, overlapping
from realtime.tracking.common.book import TENTATIVE, Detections
from realtime.tracking.common.observations import direction_agreement, refiltered
from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.tracker import BoxTracker


@dataclass(frozen=True, slots=True)
class Settings(TrackerSettings):
    """See `TrackerSettings`, and:"""

    direction_weight: float = 0.2
    """What it is worth when a detection lies in the direction in which its track was going; overlaps are worth up to 1."""
    direction_s: float = 0.15
    """The direction is that between the last sighting and one about this much older."""
    recover_overlap: float = 0.6
    """Least overlap with a track's last box, for detections that no prediction fits; 1: none is recovered that way. The paper's
    0.3 lets those who come into the picture take the ids of those who left it at the same place."""
    refilter_s: float = 0.12
    """A track that was unseen for longer is filtered again, along the straight line to where it turned up."""


class OcSort(BoxTracker):
    """The shared machine with its three observation-centred parts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._oc = settings

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        tracks, detections, _ = pairs
        height = self._motion.position[tracks, 3]
        agreement = direction_agreement(self._book["past"][tracks], seen.centres_px(detections), height, self._oc.direction_s)
        return np.float32(self._oc.direction_weight) * agreement

    def _recover(self, seen: Detections, pairing: Pairing) -> None:
        if self._oc.recover_overlap >= 1:
            return
        i = np.flatnonzero(pairing.free_tracks & (self._book["state"] != TENTATIVE))
        j = np.flatnonzero(pairing.free_seen & (seen.scores >= self._set.high_score))
        if len(i) and len(j):
            a, b, overlap = overlapping(self._book["box_px"][i], seen.boxes_px[j])
            left = Pairs(i[a], j[b], overlap)
            is_there = self._book["class_id"][left.tracks] == seen.class_ids[left.seen]
            pairing.match(left.where(is_there & (overlap >= self._oc.recover_overlap)))

    def _learn_motion(self, tracks: Rows, boxes_px: F32, scores: F32) -> None:
        gone_s = self._clock.now_s - self._book["last_seen_s"][tracks]
        again = (gone_s > max(self._oc.refilter_s, 1.5 * self._clock.usual_dt_s)) & (gone_s <= self._set.lost_s)
        if again.any():
            rows = tracks[again]
            numbers = self._motion.numbers.copy()
            anchors = kalman.Motion(self._book["anchor"][rows])
            numbers[rows] = refiltered(
                anchors, self._book["box_px"][rows], boxes_px[again], gone_s[again], self._set.noise
            ).numbers
            self._motion = kalman.Motion(numbers)
        super()._learn_motion(tracks, boxes_px, scores)


def create(settings: Settings) -> OcSort:
    """An OC-SORT without tracks."""
    return OcSort(settings)
