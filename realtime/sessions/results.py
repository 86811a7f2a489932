"""FrameResult: one frame with everything that was seen in it, as a program gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from engines.models.card import ModelCard
from engines.types import F32, U8, Bools, Image, scaled_labels
from realtime.errors import RealtimeError
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.types import Event, Result, Track


@dataclass(frozen=True)
class SeenObject:
    """One object in one frame.

    id:       of its track, > 0 and never used again in a run; None without a tracker.
    box_px:   (4,) float32 x_min, y_min, x_max, y_max in frame pixels.
    trail_px: (M, 2) float32 earlier places of its ground point in frame pixels, oldest first.
    velocity_px_s: (2,) float32, how fast its centre moves against the background, in px/s.
    age_s:    for how long its track has been followed.
    is_seen:  False while its track coasts: it was not detected in this frame, and has no mask.
    """

    id: int | None
    class_id: int
    class_name: str
    score: float
    box_px: F32
    trail_px: F32
    velocity_px_s: F32
    age_s: float
    is_seen: bool
    _frame: FrameResult
    _row: int | None

    @property
    def mask(self) -> Bools:
        """(H, W) bool of the frame's size; a new array. Where objects overlap, the one with the higher score has the pixel."""
        if self._row is None:
            return np.zeros((self._frame.result.frame.size.height, self._frame.result.frame.size.width), bool)
        return np.equal(self._frame.label_map, self._row + 1)


@dataclass(frozen=True)
class FrameResult:
    """One frame with everything that was seen in it.

    result: the value in the pipeline, its maps at the network's resolutions. stream: the place of its source, from 0.
    """

    result: Result
    card: ModelCard
    knobs: Knobs
    stream: int = 0

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR; not to be written to."""
        return self.result.frame.image

    @property
    def index(self) -> int:
        """Of the frame in its source, from 0; a gap means dropped frames."""
        return self.result.frame.index

    @property
    def t_s(self) -> float:
        """Presentation time in seconds since the stream's start."""
        return self.result.frame.pts_s

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class id."""
        return self.card.classes

    @property
    def error(self) -> str:
        """Why the model gave no result for this frame, which then has no objects; empty where it gave one."""
        return self.result.error

    @property
    def events(self) -> tuple[Event, ...]:
        """What observers report since the result before."""
        return self.result.events

    @property
    def numbers(self) -> Mapping[str, Mapping[int, float]]:
        """Observer's name → its present numbers: "counts" by class id, "ages" in seconds by track id, and those of your own."""
        return self.result.numbers

    @property
    def objects(self) -> tuple[SeenObject, ...]:
        """The objects to show: tracks whose best score reaches the threshold, or without a tracker the detections that do."""
        tracks = self.result.tracks
        if tracks is not None:
            return tuple(self._of_track(track) for track in tracks if track.best_score >= self.knobs.threshold)
        rows = self.result.segmentation.instances
        none, rest = np.zeros((0, 2), np.float32), np.zeros(2, np.float32)
        return tuple(
            SeenObject(
                None, int(class_id), self.card.class_name(int(class_id)), float(score), box, none, rest, 0.0, True, self, row
            )
            for row, (class_id, score, box) in enumerate(zip(rows.class_ids, rows.scores, rows.boxes_px, strict=True))
            if score >= self.knobs.threshold
        )

    def _of_track(self, track: Track) -> SeenObject:
        age_s = self.numbers.get("ages", {}).get(track.id, 0.0)
        name, speed = self.card.class_name(track.class_id), track.velocity_px_s[:2]
        is_seen = track.row is not None
        return SeenObject(
            track.id, track.class_id, name, track.score, track.box_px, track.trail_px, speed, age_s, is_seen, self, track.row
        )

    @cached_property
    def label_map(self) -> U8:
        """(H, W) uint8 of the frame's size: 0 no object, i + 1 row i of `result.segmentation.instances`."""
        return scaled_labels(self.result.segmentation.instances.label_map, self.result.frame.size)

    @cached_property
    def class_map(self) -> U8 | None:
        """(H, W) uint8 of the frame's size: class id of each pixel, 255 for none; None where the model has no class map."""
        seen = self.result.segmentation.class_map
        return None if seen is None else scaled_labels(seen, self.result.frame.size)

    @cached_property
    def alpha(self) -> U8 | None:
        """(H, W) uint8 of the frame's size: opacity of the foreground; None where the model gives no matte."""
        seen, size = self.result.segmentation.alpha, self.result.frame.size
        return None if seen is None else np.asarray(cv2.resize(seen, (size.width, size.height)), np.uint8)

    def draw(self, width_px: int = 1280, **knobs: Any) -> Image:
        """The frame with masks, boxes, labels and trails drawn over it, as `view` shows it: (h, w, 3) uint8 BGR, a new array.

        width_px: the picture is at most this wide. knobs: fields of `realtime.knobs.Knobs`, such as boxes=False.
        """
        return compose(self.result, replace(self.knobs, **knobs), Look(self.card, width_px)).image

    def to_supervision(self) -> Any:
        """The objects as `supervision.Detections`. Raises RealtimeError where that package is not installed."""
        try:
            from supervision import Detections
        except ImportError as error:
            raise RealtimeError("supervision is not installed", "Install it: pip install supervision") from error
        objects = self.objects
        if not objects:
            return Detections.empty()
        ids = None if self.result.tracks is None else np.array([one.id for one in objects])
        return Detections(
            xyxy=np.stack([one.box_px for one in objects]),
            mask=np.stack([one.mask for one in objects]),
            confidence=np.array([one.score for one in objects], np.float32),
            class_id=np.array([one.class_id for one in objects]),
            tracker_id=ids,
            data={"class_name": np.array([one.class_name for one in objects])},
        )
