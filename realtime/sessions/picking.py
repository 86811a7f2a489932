"""Picking: the tracked object at a point of the picture, and its facts."""

import math
from dataclasses import dataclass

import numpy as np

from realtime.knobs import Knobs
from realtime.types import Result, Track


@dataclass(frozen=True, slots=True)
class Selected:
    """Facts of the selected object; only its id while it is out of sight.

    age_s: for how long it has been tracked. speed_px_s: of its centre, relative to the background.
    """

    id: int
    class_name: str = ""
    score: float = 0.0
    age_s: float = 0.0
    speed_px_s: float = 0.0

    @property
    def in_sight(self) -> bool:
        return bool(self.class_name)


def track_at(result: Result, x_share: float, y_share: float, knobs: Knobs) -> Track | None:
    """The visible track whose mask covers the point, or else the one with the smallest box around it.

    x_share, y_share: of the picture's width and height, 0 to 1. None where there is no track.
    """
    if not (0 <= x_share < 1 and 0 <= y_share < 1):
        return None
    visible = [t for t in result.tracks or () if t.best_score >= knobs.threshold and t.class_id not in knobs.hidden_classes]
    label_map = result.segmentation.instances.label_map
    if label_map.size:
        row = int(label_map[int(y_share * label_map.shape[0]), int(x_share * label_map.shape[1])]) - 1
        for track in visible:
            if row >= 0 and track.row == row:
                return track
    height, width = result.frame.size.height, result.frame.size.width
    x, y = x_share * width, y_share * height
    around = [t for t in visible if t.box_px[0] <= x < t.box_px[2] and t.box_px[1] <= y < t.box_px[3]]
    return min(around, key=_area, default=None)


def facts_of(result: Result | None, track_id: int, class_name: str) -> Selected:
    """The facts now of the track with that id. class_name: of its class, from the model's card."""
    track = find(result, track_id)
    if track is None or result is None:
        return Selected(track_id)
    age_s = result.numbers.get("ages", {}).get(track_id, 0.0)
    speed = math.hypot(float(track.velocity_px_s[0]), float(track.velocity_px_s[1]))
    return Selected(track_id, class_name, track.score, age_s, speed)


def find(result: Result | None, track_id: int) -> Track | None:
    """The track with that id, if the result has it."""
    tracks = result.tracks if result is not None else None
    return next((track for track in tracks or () if track.id == track_id), None)


def _area(track: Track) -> float:
    return float(np.prod(track.box_px[2:] - track.box_px[:2]))
