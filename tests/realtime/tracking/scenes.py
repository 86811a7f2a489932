"""Scenes with known identities and dropped frames, and the exact IDF1 of a tracker's result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from engines.types import Image, Instances, Segmentation
from realtime.tracking.common.association import iou_matrix
from realtime.types import Track, Tracker

WIDTH_PX, HEIGHT_PX = 1280, 720
NO_IMAGE: Image = np.zeros((1, 1, 3), np.uint8)

Boxes = npt.NDArray[np.float32]


def segmentation(boxes: npt.ArrayLike, scores: npt.ArrayLike = 0.9, class_ids: npt.ArrayLike = 0) -> Segmentation:
    """Objects at `boxes` (N, 4); one score and class for all, or one each. The label map is empty."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    count = len(corners)
    return Segmentation(
        Instances(
            corners,
            np.broadcast_to(np.asarray(scores, np.float32), count).copy(),
            np.broadcast_to(np.asarray(class_ids, np.int32), count).copy(),
            np.zeros((1, 1), np.uint8),
        )
    )


@dataclass(frozen=True)
class View:
    """One frame of a scene: the truth and the detections."""

    t_s: float
    ids: npt.NDArray[np.int64]
    boxes: Boxes
    seen: Segmentation


@dataclass(frozen=True)
class Street:
    """Objects that cross a picture at constant velocities (px/s: `speeds_px_s`); every pass is a new identity.

    Detections are off by 2 % of the size, 3 % are missing, and one in ten is faint.
    """

    seed: int
    objects: int = 12
    seconds: float = 10.0
    fps: float = 30.0
    certain: bool = False
    """All scores are 1, as for components of a class map."""
    speeds_px_s: tuple[float, float] = (60, 400)
    pillars: int = 0
    """The number of upright pillars, 80 px wide and evenly spaced, that hide objects."""

    def frames(self, dropped: float = 0.0) -> Iterator[View]:
        """All frames except a random part; the same ones for the same seed."""
        rng = np.random.default_rng(self.seed)
        size = rng.uniform((30, 40), (90, 130), (self.objects, 2))
        speed = rng.uniform(*self.speeds_px_s, self.objects) * rng.choice((-1, 1), self.objects)
        slope = rng.uniform(-0.1, 0.1, self.objects)
        start = rng.uniform((0, 100), (WIDTH_PX, HEIGHT_PX - 100), (self.objects, 2))
        lap_px = WIDTH_PX + 2 * size[:, 0].max()  # invisible for a while before it comes back as another object
        for index in range(round(self.seconds * self.fps)):
            t_s = index / self.fps
            travelled = start[:, 0] + speed * t_s
            lap = np.floor(travelled / lap_px)
            x = travelled - lap * lap_px - size[:, 0].max()
            middle = np.stack((x, start[:, 1] + slope * x), axis=1)
            boxes = np.concatenate((middle - size / 2, middle + size / 2), axis=1).astype(np.float32)
            ids = (np.arange(self.objects) + 1000 * (lap + 50)).astype(np.int64)
            inside = (middle[:, 0] > 0) & (middle[:, 0] < WIDTH_PX)
            for pillar_px in (np.arange(self.pillars) + 0.5) * WIDTH_PX / max(self.pillars, 1):
                inside &= np.abs(middle[:, 0] - pillar_px) > 40
            is_kept = rng.random() >= dropped
            seen = self._detected(rng, boxes[inside], size[inside])
            if is_kept:
                yield View(t_s, ids[inside], boxes[inside], seen)

    def _detected(self, rng: np.random.Generator, boxes: Boxes, size: npt.NDArray[np.float64]) -> Segmentation:
        noisy = boxes + rng.normal(0, 0.02, boxes.shape) * np.tile(size, 2)
        scores = np.where(rng.random(len(boxes)) < 0.1, rng.uniform(0.15, 0.35, len(boxes)), rng.uniform(0.6, 0.95, len(boxes)))
        found = rng.random(len(boxes)) >= 0.03
        return segmentation(noisy[found], 1.0 if self.certain else scores[found])


def follow(tracker: Tracker, views: Iterable[View], t_s: Iterable[float] | None = None) -> list[tuple[View, tuple[Track, ...]]]:
    """Each view with the tracks seen in it. t_s: other times than the views' own."""
    views = list(views)
    times = [view.t_s for view in views] if t_s is None else t_s
    return [
        (view, tuple(track for track in tracker.update(view.seen, t, NO_IMAGE) if track.row is not None))
        for view, t in zip(views, times, strict=False)
    ]


def idf1(followed: Iterable[tuple[View, tuple[Track, ...]]], least_iou: float = 0.5) -> float:
    """The share of boxes whose identity is right, in 0..1. Source: Ristani et al. (2016), section 3."""
    overlaps: dict[tuple[int, int], int] = {}
    true_boxes: dict[int, int] = {}
    track_boxes: dict[int, int] = {}
    for view, tracks in followed:
        for true_id in view.ids.tolist():
            true_boxes[true_id] = true_boxes.get(true_id, 0) + 1
        for track in tracks:
            track_boxes[track.id] = track_boxes.get(track.id, 0) + 1
        boxes = np.array([track.box_px for track in tracks], np.float32).reshape(-1, 4)
        for i, j in np.argwhere(iou_matrix(view.boxes, boxes) >= least_iou).tolist():
            pair = (int(view.ids[i]), tracks[j].id)
            overlaps[pair] = overlaps.get(pair, 0) + 1
    rows, columns = {k: i for i, k in enumerate(true_boxes)}, {k: i for i, k in enumerate(track_boxes)}
    gain = np.zeros((len(rows), len(columns)))
    for (true_id, track_id), count in overlaps.items():
        gain[rows[true_id], columns[track_id]] = count
    right = gain[linear_sum_assignment(gain, maximize=True)].sum()
    return float(2 * right / (sum(true_boxes.values()) + sum(track_boxes.values())))
