"""The default tracker: OC-SORT with masks and colours, and with merged detections and fragments.

Masks and colours are compared where boxes are not enough (`common.appearance`); merges and splits of objects that touch or are
partly hidden are undone (`common.merging`). Without masks, and with objects that stay whole, it is OC-SORT.
"""

from dataclasses import dataclass

import numpy as np

from engines.pictures.raw import PictureLike, as_image, size_of
from engines.types import F32, Bools, Rows, Segmentation
from realtime.tracking import ocsort
from realtime.tracking.common.appearance import are_known, colour_similarity, colours_of, mask_overlap, silhouettes
from realtime.tracking.common.association import Pairs, areas, containment, iou_matrix, pair_iou
from realtime.tracking.common.merging import owners_of, spread_within, with_fragments
from realtime.tracking.common.table import COLOURS, CONFIRMED, GRID, LOST, TENTATIVE, Detections

_COLOURS_S = 0.1
"""Colours change slowly: those of each track are updated at this interval."""

_KEPT_COLOURS = 0.6
"""The share of the previous colours in an update."""

_MIN_SIMILARITY = 0.1
_SURE_OVERLAP = 0.7
"""A lost track with a smaller overlap (without margin) and a smaller similarity of colours than these is another object."""

_MERGED_AREA = 1.25
"""A detection this many times as large as its track is not the track alone."""

_OWNER_BONUS = 0.3
_SAME_BOX = 0.6
"""Least IoU of an owner's last detection with a new one to continue its merged detection, which earns the bonus."""


@dataclass(frozen=True, slots=True)
class Settings(ocsort.Settings):
    """See `ocsort.Settings`, and:"""

    recover_overlap: float = 1.0
    """As in `ocsort.Settings`. Off: on real pedestrians it gained nothing over enlarged boxes."""
    mask_weight: float = 1.0
    """Weight of the masks' overlap; that of the boxes weighs 1."""
    look_weight: float = 0.8
    """Weight of the colours' similarity; the overlap of the boxes weighs 1."""
    blob_inside: float = 0.7
    """Least share of a vanished track within another track's detection for the two to be merged."""
    blob_s: float = 8.0
    """A merged track is kept for at most this long."""
    piece_inside: float = 0.8
    """Least share of a new detection within a seen track of its class to be taken for a fragment of it."""
    piece_s: float = 0.6
    """A detection that is taken for a fragment all the time becomes an object after this long."""


class AutoTracker(ocsort.OcSort):
    """OC-SORT with masks, colours, merged detections and fragments."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._auto = settings
        self._image: PictureLike = np.zeros((1, 1, 3), np.uint8)
        self._masks = np.zeros((0, GRID, GRID), bool)
        self._colours = np.zeros((0, COLOURS), np.float32)  # NaN where not measured yet

    def _prepare(self, seen: Detections, segmentation: Segmentation, image: PictureLike) -> None:
        self._image = image
        self._masks = silhouettes(seen.boxes_px, seen.rows, segmentation.instances.label_map, size_of(image))
        self._colours = np.full((len(seen.rows), COLOURS), np.nan, np.float32)

    def _colours_of(self, seen: Detections, detections: Rows) -> F32:
        """(K, COLOURS) the colours of `detections`, measured once per frame and only where needed."""
        new = np.unique(detections[np.isnan(self._colours[detections, 0])])
        if len(new):
            self._colours[new] = colours_of(as_image(self._image), seen.boxes_px[new], self._masks[new])
        colours: F32 = self._colours[detections]
        return colours

    def _candidates(self, seen: Detections) -> Pairs:
        """As in OC-SORT; an owner also matches at its last merged detection, a lost track not an object of other colours."""
        pairs, owners = super()._candidates(seen), self._owners()
        if len(owners):
            is_owner = np.isin(pairs.tracks, owners)
            known, others = pairs.where(is_owner), pairs.where(~is_owner)
            overlap = iou_matrix(self._table["box_px"][owners], seen.boxes_px)
            rows = np.searchsorted(owners, known.tracks)
            overlap[rows, known.seen] = np.maximum(overlap[rows, known.seen], known.overlap)
            i, j = np.nonzero(overlap)
            pairs = others.joined(Pairs(owners[i], j, overlap[i, j]))
        return self._without_other_colours(seen, pairs)

    def _without_other_colours(self, seen: Detections, pairs: Pairs) -> Pairs:
        kept = self._table["state"][pairs.tracks] != LOST
        lost = np.flatnonzero(~kept & (pairs.overlap >= self._set.match_overlap))  # pairs with less are not matched anyway
        if not len(lost):
            return pairs
        is_sure = pair_iou(self._predicted[pairs.tracks[lost]], seen.boxes_px[pairs.seen[lost]]) >= _SURE_OVERLAP
        kept[lost[is_sure]] = True
        unsure = lost[~is_sure]
        if len(unsure):
            colours = self._colours_of(seen, pairs.seen[unsure])
            kept[unsure] = colour_similarity(self._table["colours"][pairs.tracks[unsure]], colours) >= _MIN_SIMILARITY
        return pairs.where(kept)

    def _bonus(self, seen: Detections, pairs: Pairs) -> F32:
        bonus = super()._bonus(seen, pairs)
        i, j, overlap = pairs
        masks = mask_overlap(self._table["silhouette"][i], self._predicted[i], self._masks[j], seen.boxes_px[j])
        bonus += np.float32(self._auto.mask_weight) * np.where(np.isnan(masks), overlap, masks)
        bonus += np.float32(self._auto.look_weight) * colour_similarity(self._table["colours"][i], self._colours_of(seen, j))
        owners = self._owners()
        if len(owners):
            continues = np.isin(i, owners) & (pair_iou(self._table["box_px"][i], seen.boxes_px[j]) >= _SAME_BOX)
            bonus += np.float32(_OWNER_BONUS) * continues
        return bonus

    def _owners(self) -> Rows:
        """The tracks whose detection was a merged one."""
        merged_id = self._table["merged_id"]
        return np.flatnonzero(np.isin(self._table["id"], merged_id[merged_id > 0])) if merged_id.any() else np.zeros(0, np.intp)

    def _measured(self, tracks: Rows, seen: Detections, detections: Rows) -> tuple[F32, Bools]:
        boxes = self._whole(tracks, seen, detections)
        is_group = self._find_merges(tracks, boxes)
        if is_group.any():
            table, owners = self._table, np.flatnonzero(is_group)
            merged = [np.flatnonzero(table["merged_id"] == table["id"][tracks[owner]]) for owner in owners]
            groups = [(np.append(rows, tracks[owner]), boxes[owner]) for rows, owner in zip(merged, owners, strict=True)]
            self._motion = spread_within(self._motion, groups)
        return boxes, ~is_group

    def _whole(self, tracks: Rows, seen: Detections, detections: Rows) -> F32:
        """The detections of `tracks`, joined with the free fragments beside them."""
        is_sure = self._table["state"][tracks] == CONFIRMED
        loose = np.ones(len(seen.rows), bool)
        loose[detections[self._table["state"][tracks] != TENTATIVE]] = False
        boxes = seen.boxes_px[detections]
        if not loose.any() or not is_sure.any():
            return boxes
        fragments = np.flatnonzero(loose)
        allowed = (seen.class_ids[detections][:, None] == seen.class_ids[fragments]) & is_sure[:, None]
        return with_fragments(self._predicted[tracks], boxes, seen.boxes_px[fragments], allowed, self._auto.piece_inside)

    def _find_merges(self, tracks: Rows, boxes: F32) -> Bools:
        """Update `merged_id`; returns (K,) whether the detection of each seen track, `boxes`, covers a merged track as well."""
        table, now_s = self._table, self._clock.now_s
        is_group = np.zeros(len(tracks), bool)
        is_unseen = table["state"] != TENTATIVE
        is_unseen[tracks] = False
        merged_id = table["merged_id"]
        if not is_unseen.any() or not len(tracks):
            return is_group
        recent_s = max(self._set.coast_s, 2 * self._clock.usual_dt_s)
        fresh = np.flatnonzero(is_unseen & (merged_id == 0) & (now_s - table["last_seen_s"] <= recent_s))
        seen_ids = table["id"][tracks]
        if len(fresh):
            allowed = (table["class_id"][fresh][:, None] == table["class_id"][tracks]) & (seen_ids > 0)
            owner = owners_of(self._predicted[fresh], self._predicted[tracks], boxes, allowed, self._auto.blob_inside)
            found = owner >= 0
            merged_id[fresh[found]] = seen_ids[owner[found]]
            table["merged_since_s"][fresh[found]] = now_s
        for track in np.flatnonzero(is_unseen & (merged_id > 0)):
            owner = np.flatnonzero(seen_ids == merged_id[track])
            if len(owner):
                around, own = boxes[owner], self._predicted[tracks[owner]]
                merged = bool(areas(around)[0] >= _MERGED_AREA * areas(own)[0])
                is_group[owner] |= merged
                if not merged and containment(self._predicted[[track]], around)[0, 0] < _SAME_BOX:
                    merged_id[track] = 0
        return is_group

    def _is_merged(self, tracks: Bools) -> Bools:
        merged = tracks & (self._table["merged_id"] > 0)
        return merged & (self._clock.now_s - self._table["merged_since_s"] <= self._auto.blob_s)

    def _is_fragment(self, tracks: Rows) -> Bools:
        table, now_s = self._table, self._clock.now_s
        wholes = np.flatnonzero((table["state"] == CONFIRMED) & (table["row"] >= 0))
        if not len(wholes):
            return np.zeros(len(tracks), bool)
        inside = containment(table["box_px"][tracks], self._predicted[wholes]) >= self._auto.piece_inside
        inside &= table["class_id"][tracks][:, None] == table["class_id"][wholes]
        is_inside = inside.any(axis=1)
        waited_s = table["fragment_s"][tracks] + np.where(is_inside, self._clock.usual_dt_s, 0)
        table["fragment_s"][tracks] = waited_s
        is_fragment: Bools = is_inside & (waited_s < self._auto.piece_s)
        table["hits"][tracks[is_fragment]] = 1  # sightings count once it is an object
        table["first_seen_s"][tracks[is_fragment]] = now_s
        return is_fragment

    def _update_matched(self, tracks: Rows, seen: Detections, detections: Rows) -> None:
        super()._update_matched(tracks, seen, detections)
        masks = self._masks[detections]
        known = are_known(masks)
        self._table["silhouette"][tracks[known]] = masks[known]
        now_s = self._clock.now_s
        due = (now_s - self._table["colours_s"][tracks] >= _COLOURS_S) & (seen.scores[detections] >= self._set.high_score)
        if due.any():
            rows, kept = tracks[due], np.float32(_KEPT_COLOURS)
            new = self._colours_of(seen, detections[due])
            self._table["colours"][rows] = kept * self._table["colours"][rows] + (1 - kept) * new
            self._table["colours_s"][rows] = now_s

    def _start(self, seen: Detections, matched: Rows) -> None:
        before = len(self._table)
        super()._start(seen, matched)
        if len(self._table) == before:
            return
        detections = np.searchsorted(seen.rows, self._table["row"][before:])
        self._table["silhouette"][before:] = self._masks[detections]
        self._table["colours"][before:] = self._colours_of(seen, detections)
        self._table["colours_s"][before:] = self._clock.now_s


def create(settings: Settings) -> AutoTracker:
    """An auto tracker without tracks."""
    return AutoTracker(settings)
