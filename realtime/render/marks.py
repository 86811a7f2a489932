"""Marks: which objects are drawn, in which colour, and where on the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.types import F32, I32, U8, Size
from realtime.knobs import Knobs
from realtime.palette import ID_COLOURS
from realtime.render.look import Look
from realtime.types import Result, Track

UNSEEN_SHADE = 0.6
"""Boxes of coasting tracks (not seen in this frame) are drawn this much darker."""

FAR_PX = 16_000
"""Coordinates are cut off here: twice the widest canvas."""

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in canvas pixels."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One object to be drawn: a track, or a bare detection when nothing tracks."""

    row: int | None
    class_id: int
    box: Box
    colour: tuple[int, int, int]
    text: str
    trail: I32 | None = None


def marks_of(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    """What to draw, in canvas pixels: tracks, or every detection when nothing tracks."""
    scale = scale_to(result, size)
    if result.tracks is not None:
        visible = [t for t in result.tracks if t.best_score >= knobs.threshold and t.class_id not in knobs.hidden_classes]
        return _track_marks(visible, look, scale)
    instances = result.segmentation.instances
    marks = []
    for row, box in enumerate(scaled_boxes(instances.boxes_px, scale)):
        score, class_id = float(instances.scores[row]), int(instances.class_ids[row])
        if score >= knobs.threshold and class_id not in knobs.hidden_classes:
            text = look.card.class_name(class_id) + _percent(score)
            marks.append(Mark(row, class_id, box, colour_of(look.class_bgr[class_id]), text))
    return marks


def _track_marks(tracks: Sequence[Track], look: Look, scale: F32) -> list[Mark]:
    """One mark a track. All coordinates are scaled in two calls, since twenty small ones would cost ten times as much."""
    if not tracks:
        return []
    boxes = scaled_boxes(np.stack([track.box_px for track in tracks]), scale)
    trails = np.split(
        to_canvas(np.concatenate([track.trail_px for track in tracks]), scale),
        np.cumsum([len(track.trail_px) for track in tracks])[:-1],
    )
    marks = []
    for track, box, trail in zip(tracks, boxes, trails, strict=True):
        shade = 1.0 if track.row is not None else UNSEEN_SHADE
        colour = colour_of(look.id_bgr[track.id % ID_COLOURS], shade)
        # A coasting track keeps its thin box only: a label on nothing is clutter.
        text = f"{look.card.class_name(track.class_id)} {track.id}{_percent(track.score)}" if track.row is not None else ""
        marks.append(Mark(track.row, track.class_id, box, colour, text, trail if len(trail) > 1 else None))
    return marks


def scale_to(result: Result, size: Size) -> F32:
    """(2,) canvas pixels per frame pixel, along x and y."""
    frame = Size.of(result.frame.image)
    return np.array((size.width / frame.width, size.height / frame.height), np.float32)


def to_canvas(points_px: F32, scale: F32) -> I32:
    """(N, 2) points in frame pixels → whole canvas pixels. OpenCV takes 32-bit ones, and a track may coast far out."""
    return np.asarray(np.clip(np.rint(points_px * scale), -FAR_PX, FAR_PX), np.int32)


def scaled_boxes(boxes_px: F32, scale: F32) -> list[Box]:
    """(N, 4) boxes in frame pixels → canvas pixels."""
    corners = to_canvas(boxes_px.reshape(-1, 2), scale).reshape(-1, 4).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in corners]


def _percent(score: float) -> str:
    """The score, but not a score of exactly 1: the network gave none."""
    return "" if score >= 1 else f"  {score:.0%}"


def colour_of(bgr: U8, shade: float = 1.0) -> tuple[int, int, int]:
    blue, green, red = (round(float(value) * shade) for value in bgr)
    return blue, green, red


def is_inside(box: Box, size: Size) -> bool:
    """Any of the box can be seen."""
    x0, y0, x1, y1 = box
    return x0 < size.width and y0 < size.height and x1 > 0 and y1 > 0
