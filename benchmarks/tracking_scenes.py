"""Clips to track on: real pedestrians with YOLO's detections, and the synthetic street with detections made of its ground truth.

Every tracker gets the same detections of a scene. Those of real clips are cached in out/, by the model's hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from engines.families import DecodeSettings
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import U8, Image, Instances, Segmentation
from realtime.judging.files import TrackRows, read_truth
from realtime.sources import open_source
from realtime.sources.synthetic import SyntheticSource, SyntheticTruth

CACHE = Path("out/tracking")
LEAST_SCORE = 0.1
PERSON = 0
"""COCO's class id."""

SEEN_VISIBILITY = 0.25
"""Visible share of a street's object: with less, it is neither detected nor part of the ground truth."""

FAINT_VISIBILITY = 0.5


@dataclass(frozen=True)
class View:
    """One frame. index: from 0. segmentation: the detections."""

    index: int
    t_s: float
    segmentation: Segmentation
    image: Image


class Scene(Protocol):
    """name; fps of the source; frames, once; the ground truth, known when all frames have been read."""

    name: str
    fps: float
    frame_count: int

    def frames(self) -> Iterator[View]: ...

    def truth(self) -> TrackRows: ...


class Clip:
    """A folder with CLIP.mp4 and gt.txt; the people detected by a YOLO of COCO's classes."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.name = folder.name
        self._video = folder / f"{folder.name}.mp4"
        self._truth = read_truth(folder)
        self._seen = list(_detections(self._video, model))
        self.frame_count = len(self._seen)
        self.fps = open_source(str(self._video)).fps or 25.0

    def frames(self) -> Iterator[View]:
        for frame, seen in zip(open_source(str(self._video)), self._seen, strict=True):
            yield View(frame.index, frame.pts_s, Segmentation(seen), frame.image)

    def truth(self) -> TrackRows:
        return self._truth.rows


class SyntheticStreet:
    """synthetic://street with noisy ground truth as detections: off by 2 % of the size, 3 % missed, 10 % with low scores."""

    def __init__(self, options: str, seed: int, name: str = "street") -> None:
        self.name = f"{name} {seed}"
        self._source = cast(SyntheticSource, open_source(f"synthetic://street?{options}&seed={seed}"))
        self.fps, self.frame_count = self._source.fps or 30.0, self._source.frame_count or 0
        self._seed = seed
        self._true: list[tuple[int, SyntheticTruth]] = []

    def frames(self) -> Iterator[View]:
        rng = np.random.default_rng(self._seed)
        for frame in self._source:
            truth = self._source.truth(frame.index)
            self._true.append((frame.index, truth))
            yield View(frame.index, frame.pts_s, Segmentation(noisy(truth, rng)), frame.image)

    def truth(self) -> TrackRows:
        rows = [
            (index + 1, track_id, x, y, x_max - x, y_max - y, visibility >= SEEN_VISIBILITY)
            for index, true in self._true
            for track_id, (x, y, x_max, y_max), visibility in zip(
                true.ids, true.boxes_px.astype(float), true.visibility, strict=True
            )
        ]
        table = np.array(rows, np.float64).reshape(-1, 7)
        frames, ids = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        return TrackRows(Path(self.name), frames, ids, table[:, 2:6], table[:, 6], None)


def noisy(truth: SyntheticTruth, rng: np.random.Generator) -> Instances:
    """The ground truth as a detector would report it."""
    count = len(truth.ids)
    size = truth.boxes_px[:, 2:] - truth.boxes_px[:, :2]
    boxes = truth.boxes_px + rng.normal(0, 0.02, (count, 4)) * np.tile(size, 2)
    is_faint = (rng.random(count) < 0.1) | (truth.visibility < FAINT_VISIBILITY)
    scores = np.where(is_faint, rng.uniform(0.12, 0.38, count), rng.uniform(0.5, 0.95, count)).astype(np.float32)
    is_seen = (truth.visibility >= SEEN_VISIBILITY) & (rng.random(count) >= 0.03) & (size.min(axis=1) >= 2)
    rows = np.flatnonzero(is_seen)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return Instances(boxes[rows].astype(np.float32), scores[rows], truth.class_ids[rows], renumbered(truth.label_map, rows))


def renumbered(label_map: U8, rows: npt.NDArray[np.intp]) -> U8:
    """The label map of these rows only, in their new order."""
    table = np.zeros(256, np.uint8)
    table[rows + 1] = np.arange(1, len(rows) + 1)
    return table[label_map]


def _detections(video: Path, model_path: Path) -> Iterator[Instances]:
    """The people of each frame, from the cache where possible."""
    digest = hashlib.sha256(model_path.read_bytes() + video.read_bytes()).hexdigest()[:12]
    file = CACHE / f"{video.stem}-{digest}.npz"
    if not file.is_file():
        seen = list(_segmented(video, model_path))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            file,
            counts=[len(one) for one in seen],
            boxes_px=np.concatenate([one.boxes_px for one in seen]),
            scores=np.concatenate([one.scores for one in seen]),
            label_maps=np.stack([one.label_map for one in seen]),
        )
    with np.load(file) as kept:
        ends = np.cumsum(kept["counts"])
        boxes, scores = np.split(kept["boxes_px"], ends[:-1]), np.split(kept["scores"], ends[:-1])
        for box, score, label_map in zip(boxes, scores, kept["label_maps"], strict=True):
            yield Instances(box, score, np.full(len(score), PERSON, np.int32), label_map)


def _segmented(video: Path, model_path: Path) -> Iterator[Instances]:
    with Segmenter(load_model(model_path)) as segmenter:
        for frame in open_source(str(video)):
            seen = segmenter(frame.image, DecodeSettings(score_threshold=LEAST_SCORE)).instances
            rows = np.flatnonzero(seen.class_ids == PERSON)
            yield Instances(seen.boxes_px[rows], seen.scores[rows], seen.class_ids[rows], renumbered(seen.label_map, rows))
