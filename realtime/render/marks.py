"""Marks: which objects are drawn, in which colour, and where on the canvas."""

from typing import NamedTuple

import numpy as np

from engines.types import F32, I32, Size
from realtime.knobs import Knobs
from realtime.render.layout import Box
from realtime.render.look import Look
from realtime.render.palette import ID_COLOURS
from realtime.render.pixels import Bgr, colour_of
from realtime.types import Result

MAX_PX = 16_000
"""Limit of coordinates, twice the widest canvas: OpenCV takes 32-bit integers, and a track may coast far out."""


class Mark(NamedTuple):
    """One object to draw: a track, or a detection when there is no tracker.

    name: of its label, empty for none. percent: its score there, None if the label has none. key: the track's id.
    """

    row: int | None
    box: Box
    colour: Bgr
    name: str
    percent: int | None = None
    trail: I32 | None = None
    key: int | None = None
    is_selected: bool = False


def marks_of(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    """What to draw, in canvas pixels: tracks, or all detections when there is no tracker, if any part is on the canvas."""
    marks = _detection_marks(result, knobs, look, size) if result.tracks is None else _track_marks(result, knobs, look, size)
    return [mark for mark in marks if _is_inside(mark.box, size)]


def _detection_marks(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    instances = result.segmentation.instances
    marks = []
    for row, box in enumerate(scaled_boxes(instances.boxes_px, scale_to(result, size))):
        score, class_id = float(instances.scores[row]), int(instances.class_ids[row])
        if score >= knobs.threshold and class_id not in knobs.hidden_classes:
            colour = colour_of(look.class_bgr[class_id])
            marks.append(Mark(row, box, colour, look.card.class_name(class_id), _percent(score)))
    return marks


def _track_marks(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    """One mark per track. All coordinates are scaled in two calls: twenty small ones would cost ten times as much."""
    tracks = [
        track
        for track in result.tracks or ()
        if track.best_score >= knobs.threshold and track.class_id not in knobs.hidden_classes
    ]
    if not tracks:
        return []
    scale = scale_to(result, size)
    boxes = scaled_boxes(np.concatenate([track.box_px for track in tracks]).reshape(-1, 4), scale)
    points = _to_canvas(np.concatenate([track.trail_px for track in tracks]), scale) if knobs.trails else None
    marks, first = [], 0
    for track, box in zip(tracks, boxes, strict=True):
        is_seen, is_selected = track.row is not None, track.id == knobs.selected_id
        after = first + len(track.trail_px)
        # A coasting track has only its thin box, unless it is selected: a label where nothing is seen is clutter.
        marks.append(
            Mark(
                track.row,
                box,
                (look.id_bgr if is_seen else look.unseen_id_bgr)[track.id % ID_COLOURS],
                f"{look.card.class_name(track.class_id)} {track.id}" if is_seen or is_selected else "",
                _percent(track.score) if is_seen else None,
                points[first:after] if points is not None and after > first + 1 else None,
                track.id,
                is_selected,
            )
        )
        first = after
    return marks


def scale_to(result: Result, size: Size) -> F32:
    """(2,) canvas pixels per frame pixel, along x and y."""
    frame = result.frame.size
    return np.array((size.width / frame.width, size.height / frame.height), np.float32)


def _to_canvas(points_px: F32, scale: F32) -> I32:
    """(N, 2) points in frame pixels → whole canvas pixels."""
    return np.asarray(np.clip(np.rint(points_px * scale), -MAX_PX, MAX_PX), np.int32)


def scaled_boxes(boxes_px: F32, scale: F32) -> list[Box]:
    """(N, 4) boxes in frame pixels → whole canvas pixels."""
    corners = _to_canvas(boxes_px.reshape(-1, 2), scale).reshape(-1, 4).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in corners]


def _percent(score: float) -> int | None:
    """The score in per cent; None for exactly 1, which means that the network gives no scores."""
    return None if score >= 1 else round(100 * score)


def _is_inside(box: Box, size: Size) -> bool:
    """Whether any part of the box is on the canvas."""
    x0, y0, x1, y1 = box
    return x0 < size.width and y0 < size.height and x1 > 0 and y1 > 0
