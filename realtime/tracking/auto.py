"""The tracker for whatever is there: OC-SORT with masks, and with objects that melt into each other or are cut in pieces.

Masks are compared where boxes are not enough (`common.silhouettes`); what a segmentation does to objects that touch or are hidden
in part is undone (`common.blobs`). Without masks, and with objects that stay whole, it is OC-SORT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.types import F32, Image, Segmentation, Size
from realtime.tracking import ocsort
from realtime.tracking.common.association import Mask, Pairs, Rows, containment, iou_matrix, pair_iou
from realtime.tracking.common.blobs import hosts_of, is_merged, pieces_of, settled
from realtime.tracking.common.book import CONFIRMED, GRID, LOOK, LOST, TENTATIVE, Detections
from realtime.tracking.common.looks import likeness, looks
from realtime.tracking.common.silhouettes import are_known, mask_overlap, silhouettes

_LOOK_S = 0.1
"""Looks change slowly: each track's is learned anew after so long."""

_KEPT_LOOK = 0.6
"""How much of a look stays when it is learned anew."""

_UNLIKE = 0.1
_SURE_OVERLAP = 0.7
"""A lost track whose box, without margin, overlaps a detection by less than this, and that looks so unlike it, is another one."""

_HOST_BONUS = 0.3
_SAME_BLOB = 0.6
"""Least IoU with its last detection for a host to count as going on, which earns it the bonus over its guests."""


@dataclass(frozen=True, slots=True)
class Settings(ocsort.Settings):
    """See `ocsort.Settings`, and:"""

    recover_overlap: float = 1.0
    """As in `ocsort.Settings`. Off: on real pedestrians it won nothing over grown boxes."""
    mask_weight: float = 1.0
    """What masks that agree are worth beside boxes that do."""
    look_weight: float = 0.8
    """What the same colours are worth beside boxes that agree."""
    blob_inside: float = 0.7
    """Least share of a vanished track within another one's detection for the two to have melted."""
    blob_s: float = 8.0
    """A track that melted into another one is kept for at most this long."""
    piece_inside: float = 0.8
    """Least share of a new detection within a seen track of its class for it to look like a piece of that."""
    piece_s: float = 0.6
    """What looks like a piece all the time is an object of its own after this long."""


class AutoTracker(ocsort.OcSort):
    """OC-SORT, masks, blobs and pieces."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._auto = settings
        self._image = np.zeros((1, 1, 3), np.uint8)
        self._masks = np.zeros((0, GRID, GRID), bool)
        self._looks = np.zeros((0, LOOK), np.float32)
        self._is_looked_at = np.zeros(0, bool)

    def _look(self, seen: Detections, segmentation: Segmentation, image: Image) -> None:
        self._image = image
        self._masks = silhouettes(seen.boxes_px, seen.rows, segmentation.instances.label_map, Size.of(image))
        self._looks = np.zeros((len(seen.rows), LOOK), np.float32)
        self._is_looked_at = np.zeros(len(seen.rows), bool)

    def _looks_of(self, seen: Detections, detections: Rows) -> F32:
        """(K, LOOK) how `detections` look; each is looked at once, and only when somebody asks."""
        is_wanted = np.zeros(len(seen.rows), bool)
        is_wanted[detections] = True
        new = np.flatnonzero(is_wanted & ~self._is_looked_at)
        if len(new):
            self._looks[new] = looks(self._image, seen.boxes_px[new], self._masks[new])
            self._is_looked_at[new] = True
        asked: F32 = self._looks[detections]
        return asked

    def _candidates(self, seen: Detections) -> Pairs:
        """As usual; a host may also be found where it was last seen with its guests, a lost track not in somebody unlike it."""
        pairs, hosts = super()._candidates(seen), self._hosts()
        if len(hosts):
            is_host = np.isin(pairs.tracks, hosts)
            known, others = pairs.where(is_host), pairs.where(~is_host)
            overlap = iou_matrix(self._book["box_px"][hosts], seen.boxes_px)
            rows = np.searchsorted(hosts, known.tracks)
            overlap[rows, known.seen] = np.maximum(overlap[rows, known.seen], known.overlap)
            i, j = np.nonzero(overlap)
            pairs = others.joined(Pairs(hosts[i], j, overlap[i, j]))
        return self._without_unlike(seen, pairs)

    def _without_unlike(self, seen: Detections, pairs: Pairs) -> Pairs:
        kept = self._book["state"][pairs.tracks] != LOST
        lost = np.flatnonzero(~kept & (pairs.overlap >= self._set.match_overlap))  # with less a pair is not taken anyway
        if not len(lost):
            return pairs
        is_sure = pair_iou(self._predicted[pairs.tracks[lost]], seen.boxes_px[pairs.seen[lost]]) >= _SURE_OVERLAP
        kept[lost[is_sure]] = True
        unsure = lost[~is_sure]
        if len(unsure):
            looks_now = self._looks_of(seen, pairs.seen[unsure])
            kept[unsure] = likeness(self._book["look"][pairs.tracks[unsure]], looks_now) >= _UNLIKE
        return pairs.where(kept)

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        bonus = super()._bonus(seen, pairs)
        i, j, overlap = pairs
        masks = mask_overlap(self._book["silhouette"][i], self._predicted[i], self._masks[j], seen.boxes_px[j])
        bonus += np.float32(self._auto.mask_weight) * np.where(np.isnan(masks), overlap, masks)
        bonus += np.float32(self._auto.look_weight) * likeness(self._book["look"][i], self._looks_of(seen, j))
        hosts = self._hosts()
        if len(hosts):
            goes_on = np.isin(i, hosts) & (pair_iou(self._book["box_px"][i], seen.boxes_px[j]) >= _SAME_BLOB)
            bonus += np.float32(_HOST_BONUS) * goes_on
        return bonus

    def _hosts(self) -> Rows:
        guests = self._book["blob_id"]
        return np.flatnonzero(np.isin(self._book["id"], guests[guests > 0])) if guests.any() else np.zeros(0, np.intp)

    def _measured(self, tracks: Rows, seen: Detections, detections: Rows) -> tuple[F32, Mask]:
        boxes = self._whole(tracks, seen, detections)
        crowded = self._find_guests(tracks, boxes)
        if crowded.any():
            book = self._book
            hosts = np.flatnonzero(crowded)
            guests = [np.flatnonzero(book["blob_id"] == book["id"][tracks[host]]) for host in hosts]
            blobs = [(np.append(rows, tracks[host]), boxes[host]) for rows, host in zip(guests, hosts, strict=True)]
            self._motion = settled(self._motion, blobs)
        return boxes, ~crowded

    def _whole(self, tracks: Rows, seen: Detections, detections: Rows) -> F32:
        """What `tracks` were given, with the pieces that lie loose beside it."""
        is_sure = self._book["state"][tracks] == CONFIRMED
        loose = np.ones(len(seen.rows), bool)
        loose[detections[self._book["state"][tracks] != TENTATIVE]] = False
        boxes = seen.boxes_px[detections]
        if not loose.any() or not is_sure.any():
            return boxes
        pieces = np.flatnonzero(loose)
        allowed = (seen.class_ids[detections][:, None] == seen.class_ids[pieces]) & is_sure[:, None]
        return pieces_of(self._predicted[tracks], boxes, seen.boxes_px[pieces], allowed, self._auto.piece_inside)

    def _find_guests(self, tracks: Rows, boxes: F32) -> Mask:
        """Note who melted into whom; returns (K,) whether each of the seen `tracks` has a guest in what it was given, `boxes`."""
        book, now_s = self._book, self._clock.now_s
        crowded = np.zeros(len(tracks), bool)
        is_unseen = book["state"] != TENTATIVE
        is_unseen[tracks] = False
        guests = book["blob_id"]
        if not is_unseen.any() or not len(tracks):
            return crowded
        recent_s = max(self._set.coast_s, 2 * self._clock.usual_dt_s)
        fresh = np.flatnonzero(is_unseen & (guests == 0) & (now_s - book["last_seen_s"] <= recent_s))
        seen_ids = book["id"][tracks]
        if len(fresh):
            allowed = (book["class_id"][fresh][:, None] == book["class_id"][tracks]) & (seen_ids > 0)
            predicted = self._predicted
            host = hosts_of(predicted[fresh], predicted[tracks], boxes, allowed, self._auto.blob_inside)
            found = host >= 0
            guests[fresh[found]] = seen_ids[host[found]]
            book["blob_since_s"][fresh[found]] = now_s
        for guest in np.flatnonzero(is_unseen & (guests > 0)):
            host = np.flatnonzero(seen_ids == guests[guest])
            if len(host):
                around, own = boxes[host], self._predicted[tracks[host]]
                merged = bool(is_merged(own, around)[0])
                crowded[host] |= merged
                if not merged and containment(self._predicted[[guest]], around)[0, 0] < _SAME_BLOB:
                    guests[guest] = 0
        return crowded

    def _is_excused(self, tracks: Mask) -> Mask:
        is_guest = tracks & (self._book["blob_id"] > 0)
        return is_guest & (self._clock.now_s - self._book["blob_since_s"] <= self._auto.blob_s)

    def _is_suspect(self, tracks: Rows) -> Mask:
        book, now_s = self._book, self._clock.now_s
        hosts = np.flatnonzero((book["state"] == CONFIRMED) & (book["row"] >= 0))
        if not len(hosts):
            return np.zeros(len(tracks), bool)
        inside = containment(book["box_px"][tracks], self._predicted[hosts]) >= self._auto.piece_inside
        inside &= book["class_id"][tracks][:, None] == book["class_id"][hosts]
        looks = inside.any(axis=1)
        waited_s = book["suspect_s"][tracks] + np.where(looks, self._clock.usual_dt_s, 0)
        book["suspect_s"][tracks] = waited_s
        suspect: Mask = looks & (waited_s < self._auto.piece_s)
        book["hits"][tracks[suspect]] = 1  # its probation starts once it looks like an object
        book["first_seen_s"][tracks[suspect]] = now_s
        return suspect

    def _learn(self, tracks: Rows, seen: Detections, detections: Rows) -> None:
        super()._learn(tracks, seen, detections)
        masks = self._masks[detections]
        known = are_known(masks)
        self._book["silhouette"][tracks[known]] = masks[known]
        now_s = self._clock.now_s
        due = (now_s - self._book["looked_s"][tracks] >= _LOOK_S) & (seen.scores[detections] >= self._set.high_score)
        if due.any():
            rows, kept = tracks[due], np.float32(_KEPT_LOOK)
            new = self._looks_of(seen, detections[due])
            self._book["look"][rows] = kept * self._book["look"][rows] + (1 - kept) * new
            self._book["looked_s"][rows] = now_s

    def _start(self, seen: Detections, matched: Rows) -> None:
        before = len(self._book)
        super()._start(seen, matched)
        if len(self._book) == before:
            return
        detections = np.searchsorted(seen.rows, self._book["row"][before:])
        self._book["silhouette"][before:] = self._masks[detections]
        self._book["look"][before:] = self._looks_of(seen, detections)
        self._book["looked_s"][before:] = self._clock.now_s


def create(settings: Settings) -> AutoTracker:
    """An auto tracker without tracks."""
    return AutoTracker(settings)
