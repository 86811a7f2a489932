"""Marks: which objects are drawn, in which colour, and where on the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.types import F32, I32, U8, Size
from realtime.id_colours import ID_COLOURS
from realtime.knobs import Knobs
from realtime.render.layout import Box
from realtime.render.look import Look
from realtime.types import Result, Track

FAR_PX = 16_000
"""Coordinates are cut off here: twice the widest canvas."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One object to be drawn: a track, or a bare detection when nothing tracks.

    name: of its label, empty for none; percent: its score there, None where there is none to tell. key: the track's id.
    """

    row: int | None
    class_id: int
    box: Box
    colour: tuple[int, int, int]
    name: str
    percent: int | None = None
    trail: I32 | None = None
    key: int | None = None
    is_selected: bool = False


def marks_of(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    """What to draw, in canvas pixels: tracks, or every detection when nothing tracks."""
    scale = scale_to(result, size)
    if result.tracks is not None:
        visible = [t for t in result.tracks if t.best_score >= knobs.threshold and t.class_id not in knobs.hidden_classes]
        return _track_marks(visible, knobs.selected_id, look, scale)
    instances = result.segmentation.instances
    marks = []
    for row, box in enumerate(scaled_boxes(instances.boxes_px, scale)):
        score, class_id = float(instances.scores[row]), int(instances.class_ids[row])
        if score >= knobs.threshold and class_id not in knobs.hidden_classes:
            colour = colour_of(look.class_bgr[class_id])
            marks.append(Mark(row, class_id, box, colour, look.card.class_name(class_id), _percent(score)))
    return marks


def _track_marks(tracks: Sequence[Track], selected_id: int | None, look: Look, scale: F32) -> list[Mark]:
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
        is_seen, is_selected = track.row is not None, track.id == selected_id
        # A coasting track keeps its thin box only, unless somebody asked for it: a label on nothing is clutter.
        marks.append(
            Mark(
                track.row,
                track.class_id,
                box,
                (look.id_bgr if is_seen else look.unseen_id_bgr)[track.id % ID_COLOURS],
                f"{look.card.class_name(track.class_id)} {track.id}" if is_seen or is_selected else "",
                _percent(track.score) if is_seen else None,
                trail if len(trail) > 1 else None,
                track.id,
                is_selected,
            )
        )
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


def _percent(score: float) -> int | None:
    """The score, but not a score of exactly 1: the network gave none."""
    return None if score >= 1 else round(100 * score)


def colour_of(bgr: U8) -> tuple[int, int, int]:
    blue, green, red = bgr.tolist()
    return blue, green, red


def is_inside(box: Box, size: Size) -> bool:
    """Any of the box can be seen."""
    x0, y0, x1, y1 = box
    return x0 < size.width and y0 < size.height and x1 > 0 and y1 > 0
