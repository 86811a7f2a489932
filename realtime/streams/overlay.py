"""The live overlay: masks and tracks moved to a newer frame, each object with its own motion, everything with the camera's.

A model that takes 120 ms is late. Drawn unchanged over the newest frame, its masks trail behind; here each is moved to the
predicted place of its track. Their age is part of the result, and they fade with age.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from engines.types import F32, F64, U8, VOID_CLASS, Instances, Segmentation, Size
from realtime.camera_motion import CameraStep, View, camera_step
from realtime.types import Frame, Result, Track

FRESH_S, GONE_S = 0.4, 1.2
"""Up to the first age, masks are as visible as the frame's own; at the second they are gone."""

MOST_GROWTH = 1.3
"""Nothing is scaled up or down by more than this: velocities of sizes are the least certain."""

AROUND_CELLS = 6
"""A soft edge extends this far beyond its object's own cells."""

FAR_CELLS = 20_000
"""The largest motion: beyond every map."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A result whose masks can be moved to later frames. t_s: its frame's time. view: its background, for the camera's motion."""

    result: Result
    t_s: float
    view: View | None

    @classmethod
    def of(cls, result: Result, t_s: float, follows_camera: bool = True) -> Anchor:
        """follows_camera: False where the background does not move, which saves measuring it."""
        return cls(result, t_s, View.of(result.frame.picture, result.segmentation) if follows_camera else None)


def carried(anchor: Anchor, frame: Frame, t_s: float) -> Result:
    """The result expected for `frame`, at `t_s` seconds on the anchor's scale, not earlier than the anchor. Pure.

    Boxes and masks move with their tracks; untracked objects and class maps move with the background only. Places that an object
    has left have no class: what is there has not been seen yet.
    """
    age_s = t_s - anchor.t_s
    before = anchor.result
    if age_s <= 0 or frame.index == before.frame.index:
        return before
    freshness = min(1.0, max(0.0, (GONE_S - age_s) / (GONE_S - FRESH_S)))
    if freshness == 0.0 or frame.size != before.frame.size:
        nothing = Segmentation(Instances.none(Size.of(before.segmentation.instances.label_map)))
        return Result(frame, nothing, None if before.tracks is None else (), 0.0, age_s)
    step = CameraStep() if anchor.view is None else camera_step(anchor.view, frame.picture)
    tracks = None if before.tracks is None else _moved_tracks(before.tracks, age_s, step)
    segmentation = _moved_segmentation(before, tracks or (), step, frame.size)
    return Result(frame, segmentation, tracks, freshness, age_s)


def _moved_tracks(tracks: tuple[Track, ...], age_s: float, step: CameraStep) -> tuple[Track, ...]:
    """The tracks as predicted for `age_s` later. Trails move with the background."""
    if not tracks:
        return ()
    boxes, velocities = np.stack([track.box_px for track in tracks]), np.stack([track.velocity_px_s for track in tracks])
    moved = _moved_boxes(boxes, velocities * np.float32(age_s), step.matrix)
    if not step.is_moving:
        return tuple(track._replace(box_px=box) for track, box in zip(tracks, moved, strict=True))
    trails = np.split(
        _through(np.concatenate([track.trail_px for track in tracks]), step.matrix),
        np.cumsum([len(track.trail_px) for track in tracks])[:-1],
    )
    return tuple(track._replace(box_px=box, trail_px=trail) for track, box, trail in zip(tracks, moved, trails, strict=True))


def _moved_boxes(boxes_px: F32, change_px: F32, camera: F64) -> F32:
    """(N, 4) boxes after a change of centre x, y, width and height by (N, 4), and after the camera's motion."""
    size = boxes_px[:, 2:] - boxes_px[:, :2]
    centre = _through(((boxes_px[:, :2] + boxes_px[:, 2:]) / 2 + change_px[:, :2]).astype(np.float32), camera)
    zoom = float(np.hypot(camera[0, 0], camera[1, 0]))
    half = np.clip(size + change_px[:, 2:], size / MOST_GROWTH, size * MOST_GROWTH) * np.float32(zoom / 2)
    return np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)


def _through(points_px: F32, camera: F64) -> F32:
    """(N, 2) points of the earlier frame in the later one."""
    return (points_px @ camera[:, :2].T + camera[:, 2]).astype(np.float32)


def _moved_segmentation(before: Result, tracks: tuple[Track, ...], step: CameraStep, frame: Size) -> Segmentation:
    seen = before.segmentation
    instances = seen.instances
    boxes = _moved_boxes(instances.boxes_px, np.zeros_like(instances.boxes_px), step.matrix)
    for track in tracks:
        if track.row is not None:
            boxes[track.row] = track.box_px
    moves = _Moves(instances.boxes_px, boxes, frame, step)
    class_map = None if seen.class_map is None else moves.class_map(seen.class_map, instances)
    alpha = None if seen.alpha is None else moves.alpha(seen.alpha, instances.label_map)
    surface = None if seen.surface is None else moves.with_camera(seen.surface, 0)
    label_map = moves.label_map(instances.label_map)
    return Segmentation(replace(instances, boxes_px=boxes, label_map=label_map), class_map, alpha, surface, seen.stage_ms)


class _Cut(NamedTuple):
    """A rectangle of a map to move: cut out at `source`, scaled to `size`; its part `inside` goes to `target`."""

    source: tuple[slice, slice]
    size: tuple[int, int]
    inside: tuple[slice, slice]
    target: tuple[slice, slice]

    def of(self, map_: U8) -> U8:
        """The content for `target`."""
        return _resized(map_[self.source], self.size)[self.inside]


class _Moves:
    """Moves maps. before, after: (N, 4) the boxes of each row in frame pixels."""

    def __init__(self, before: F32, after: F32, frame: Size, step: CameraStep) -> None:
        self._before, self._after, self._frame, self._step = before, after, frame, step

    def label_map(self, labels: U8) -> U8:
        """Each row's mask at its new place; rows of higher score, which come first, cover the others."""
        moved = np.zeros_like(labels)
        for row, cut in self._cuts(labels):
            np.copyto(moved[cut.target], np.uint8(row + 1), where=np.equal(cut.of(labels), row + 1))
        return moved

    def with_camera(self, map_: U8, outside: int) -> U8:
        """A map of the background after the camera's motion."""
        if not self._step.is_moving:
            return map_
        scale = np.array((map_.shape[1] / self._frame.width, map_.shape[0] / self._frame.height))
        matrix = self._step.matrix.copy()
        matrix[0, 1] *= scale[0] / scale[1]
        matrix[1, 0] *= scale[1] / scale[0]
        matrix[:, 2] *= scale
        size = (map_.shape[1], map_.shape[0])
        return np.asarray(cv2.warpAffine(map_, matrix, size, flags=cv2.INTER_NEAREST, borderValue=(outside,)), np.uint8)

    def class_map(self, classes: U8, instances: Instances) -> U8:
        """The background with the camera, objects with their tracks."""
        labels = _resized(instances.label_map, classes.shape[::-1])
        background = cv2.copyTo(np.full_like(classes, VOID_CLASS), labels, classes.copy())
        moved = self.with_camera(np.asarray(background, np.uint8), VOID_CLASS)
        for row, cut in self._cuts(labels):
            np.copyto(moved[cut.target], np.uint8(instances.class_ids[row]), where=np.equal(cut.of(labels), row + 1))
        return moved

    def alpha(self, alpha: U8, labels: U8) -> U8:
        """Each object's part of the matte, soft edge included, at its new place; the rest moves with the camera."""
        labels = _resized(labels, alpha.shape[::-1])
        around = np.ones((2 * AROUND_CELLS + 1,) * 2, np.uint8)
        edged = cv2.dilate(labels, around)
        # Cells without an object nearby belong to the background.
        moved = self.with_camera(np.where(edged > 0, np.uint8(0), alpha), 0).copy()
        for row, cut in self._cuts(alpha, AROUND_CELLS):
            found = cut.of(labels)
            own = (np.equal(found, row + 1) | np.equal(found, 0)) & (cut.of(edged) > 0)
            np.maximum(moved[cut.target], cut.of(alpha) * own, out=moved[cut.target])
        return moved

    def _cuts(self, map_: U8, around: int = 0) -> Iterator[tuple[int, _Cut]]:
        """The rows that remain within a map of that size, lowest score first, with cuts. around: extra cells on each side."""
        height, width = map_.shape
        scale = np.array((width / self._frame.width, height / self._frame.height) * 2)
        limits = np.array((width, height) * 2, np.float64)
        with np.errstate(invalid="ignore"):
            before, after = (np.nan_to_num(boxes * scale) for boxes in (self._before, self._after))
        sources = np.concatenate((np.floor(before[:, :2]) - around, np.ceil(before[:, 2:]) + around), axis=1).clip(0, limits)
        zooms = (after[:, 2:] - after[:, :2]) / np.maximum(before[:, 2:] - before[:, :2], 1e-3)
        zooms = np.tile(np.clip(zooms, 0, 2 * MOST_GROWTH), 2)
        targets = np.rint(((sources - np.tile(before[:, :2], 2)) * zooms + np.tile(after[:, :2], 2)).clip(-FAR_CELLS, FAR_CELLS))
        parts = targets.clip(0, limits)
        boxes = np.stack((sources, targets, parts)).astype(int)
        for row in reversed(range(len(before))):
            (x0, y0, x1, y1), (to_x0, to_y0, to_x1, to_y1), (left, top, right, bottom) = boxes[:, row].tolist()
            if x1 > x0 and y1 > y0 and right > left and bottom > top:
                inside = slice(top - to_y0, bottom - to_y0), slice(left - to_x0, right - to_x0)
                source, target = (slice(y0, y1), slice(x0, x1)), (slice(top, bottom), slice(left, right))
                yield row, _Cut(source, (to_x1 - to_x0, to_y1 - to_y0), inside, target)


def _resized(map_: U8, size: tuple[int, ...]) -> U8:
    """`map_` at (width, height); the same array where it has that size."""
    if map_.shape[::-1] == size:
        return map_
    return np.asarray(cv2.resize(map_, size, interpolation=cv2.INTER_NEAREST), np.uint8)
