"""Render: a result becomes a picture. Pure: frame in, canvas out, nothing kept (caches of text apart).

Masks are painted through one look-up table and one blend, whatever the number of objects; the frame itself is never written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from engines.card import ModelCard
from engines.types import F32, I32, U8, VOID_CLASS, Image, Size
from realtime.knobs import Knobs
from realtime.palette import ID_COLOURS, bgr_table, class_colours, id_colours
from realtime.text import label
from realtime.types import Canvas, Result, Track

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))

UNSEEN_SHADE = 0.6
"""Boxes of coasting tracks (not seen in this frame) are drawn this much darker."""

FAR_PX = 16_000
"""Coordinates are cut off here: twice the widest canvas."""


@dataclass(frozen=True)
class Look:
    """What drawing must know of a model and of the canvas.

    width_px: the canvas is no wider than this; smaller frames keep their size.
    """

    card: ModelCard
    width_px: int = 1280

    @cached_property
    def class_bgr(self) -> U8:
        """(N, 3) uint8: class id → colour, black where there is no class; N is 256, or the number of classes if greater."""
        colours = bgr_table(class_colours(self.card))
        table = np.zeros((max(256, len(colours)), 3), np.uint8)
        table[: len(colours)] = colours
        return table

    @cached_property
    def id_bgr(self) -> U8:
        return id_colours()

    def shown(self, hidden: frozenset[int]) -> U8:
        """(256,) uint8: 255 for class ids to paint, 0 for void and hidden ones."""
        table = np.zeros(256, np.uint8)
        table[: len(self.card.classes)] = 255
        table[list(hidden)] = 0
        table[VOID_CLASS] = 0
        return table


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


def compose(result: Result, knobs: Knobs, look: Look) -> Canvas:
    """Draw masks, trails, boxes and labels over the frame, as `knobs` say. The canvas owns a new image."""
    frame = result.frame
    size = Size.of(frame.image).fitted_to_width(look.width_px)
    if size == Size.of(frame.image):
        image = frame.image.copy()
    else:
        image = cv2.resize(frame.image, (size.width, size.height), interpolation=cv2.INTER_AREA)
    marks = [mark for mark in _marks(result, knobs, look, size) if _is_inside(mark.box, size)]
    if knobs.masks and knobs.opacity > 0:
        if result.segmentation.class_map is not None:
            _paint_classes(image, result.segmentation.class_map, knobs, look)
        else:
            _paint_objects(image, result, marks, knobs.opacity)
    if knobs.trails:
        _draw_trails(image, marks)
    if knobs.boxes:
        _draw_boxes(image, marks)
    if knobs.labels:
        _draw_labels(image, marks)
    return Canvas(image, frame.index, frame.pts_s, frame.captured_ns)


def _marks(result: Result, knobs: Knobs, look: Look, size: Size) -> list[Mark]:
    """What to draw, in canvas pixels: tracks, or every detection when nothing tracks."""
    scale = _scale(result, size)
    if result.tracks is not None:
        visible = [t for t in result.tracks if t.best_score >= knobs.threshold and t.class_id not in knobs.hidden_classes]
        return _track_marks(visible, look, scale)
    instances = result.segmentation.instances
    marks = []
    for row, box in enumerate(_scaled_boxes(instances.boxes_px, scale)):
        score, class_id = float(instances.scores[row]), int(instances.class_ids[row])
        if score >= knobs.threshold and class_id not in knobs.hidden_classes:
            text = look.card.class_name(class_id) + _percent(score)
            marks.append(Mark(row, class_id, box, _colour(look.class_bgr[class_id]), text))
    return marks


def _track_marks(tracks: Sequence[Track], look: Look, scale: F32) -> list[Mark]:
    """One mark a track. All coordinates are scaled in two calls, since twenty small ones would cost ten times as much."""
    if not tracks:
        return []
    boxes = _scaled_boxes(np.stack([track.box_px for track in tracks]), scale)
    trails = np.split(
        _to_canvas(np.concatenate([track.trail_px for track in tracks]), scale),
        np.cumsum([len(track.trail_px) for track in tracks])[:-1],
    )
    marks = []
    for track, box, trail in zip(tracks, boxes, trails, strict=True):
        shade = 1.0 if track.row is not None else UNSEEN_SHADE
        colour = _colour(look.id_bgr[track.id % ID_COLOURS], shade)
        # A coasting track keeps its thin box only: a label on nothing is clutter.
        text = f"{look.card.class_name(track.class_id)} {track.id}{_percent(track.score)}" if track.row is not None else ""
        marks.append(Mark(track.row, track.class_id, box, colour, text, trail if len(trail) > 1 else None))
    return marks


def _scale(result: Result, size: Size) -> F32:
    """(2,) canvas pixels per frame pixel, along x and y."""
    frame = Size.of(result.frame.image)
    return np.array((size.width / frame.width, size.height / frame.height), np.float32)


def _to_canvas(points_px: F32, scale: F32) -> I32:
    """(N, 2) points in frame pixels → whole canvas pixels. OpenCV takes 32-bit ones, and a track may coast far out."""
    return np.asarray(np.clip(np.rint(points_px * scale), -FAR_PX, FAR_PX), np.int32)


def _scaled_boxes(boxes_px: F32, scale: F32) -> list[Box]:
    """(N, 4) boxes in frame pixels → canvas pixels."""
    corners = _to_canvas(boxes_px.reshape(-1, 2), scale).reshape(-1, 4).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in corners]


def _percent(score: float) -> str:
    """The score, but not a score of exactly 1: the network gave none."""
    return "" if score >= 1 else f"  {score:.0%}"


def _colour(bgr: U8, shade: float = 1.0) -> tuple[int, int, int]:
    blue, green, red = (round(float(value) * shade) for value in bgr)
    return blue, green, red


def _is_inside(box: Box, size: Size) -> bool:
    """Any of the box can be seen."""
    x0, y0, x1, y1 = box
    return x0 < size.width and y0 < size.height and x1 > 0 and y1 > 0


def _paint_objects(image: Image, result: Result, marks: list[Mark], opacity: float) -> None:
    """Blend each seen object's mask in its own colour, with a crisp edge, box by box: the cost grows with the area of objects."""
    height, width = image.shape[:2]
    instances = result.segmentation.instances
    boxes = _scaled_boxes(instances.boxes_px, _scale(result, Size.of(image)))
    label_map = instances.label_map
    if label_map.shape != (height, width):
        label_map = cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST)
    inner_map = cv2.erode(label_map, _CROSS)
    for mark in marks:
        if mark.row is None:
            continue
        # A pixel around the box: its corners and the map's are rounded apart.
        x0, y0, x1, y1 = boxes[mark.row]  # not the mark's: a track's own box may be another one
        x0, y0, x1, y1 = max(0, x0 - 1), max(0, y0 - 1), min(width, x1 + 1), min(height, y1 + 1)
        if x1 <= x0 or y1 <= y0:
            continue
        mask = np.equal(label_map[y0:y1, x0:x1], mark.row + 1).view(np.uint8)
        inner = np.equal(inner_map[y0:y1, x0:x1], mark.row + 1).view(np.uint8)
        region = image[y0:y1, x0:x1]
        colour = np.empty(region.shape, np.uint8)
        colour.reshape(y1 - y0, -1)[:] = _row_of(mark.colour, width)[: 3 * (x1 - x0)]
        blended = cv2.addWeighted(region, 1 - opacity, colour, opacity, 0)
        # Pure colour, then the blend over all but the rim: what stays is a crisp edge.
        cv2.copyTo(colour, mask, region)
        cv2.copyTo(blended, inner, region)


@lru_cache(maxsize=256)
def _row_of(colour: tuple[int, int, int], width: int) -> U8:
    """(3 * width,) uint8: one row of pixels of that colour, to be copied into the rows of a rectangle."""
    return np.tile(np.array(colour, np.uint8), width)


def _paint_classes(image: Image, class_map: U8, knobs: Knobs, look: Look) -> None:
    """Blend class colours over the whole picture. Coloured at the map's resolution, then upsampled: soft edges for free."""
    shown = look.shown(knobs.hidden_classes)
    height, width = image.shape[:2]
    mask = cv2.LUT(class_map, shown)
    colours = cv2.applyColorMap(class_map, look.class_bgr[:256].reshape(256, 1, 3))
    is_everywhere = cv2.countNonZero(mask) == mask.size
    if class_map.shape != (height, width):
        if not is_everywhere:  # let painted colours run one pixel over the rest, or its black would darken their edges
            colours = cv2.copyTo(colours, mask, cv2.dilate(cv2.copyTo(colours, mask), _SQUARE))
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        if not is_everywhere:
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    if is_everywhere:
        cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0, dst=image)
    else:
        cv2.copyTo(cv2.addWeighted(image, 1 - knobs.opacity, colours, knobs.opacity, 0), mask, image)


def _stroke_px(image: Image) -> int:
    return max(1, round(int(image.shape[0]) / 360))


def _draw_trails(image: Image, marks: Iterable[Mark]) -> None:
    for mark in marks:
        if mark.trail is not None:
            cv2.polylines(image, [mark.trail.reshape(-1, 1, 2)], False, mark.colour, _stroke_px(image), cv2.LINE_AA)


def _draw_boxes(image: Image, marks: Iterable[Mark]) -> None:
    stroke_px = _stroke_px(image)
    for mark in marks:
        x0, y0, x1, y1 = mark.box
        # One-pixel rectangles inside each other: a thick one is drawn as four thick lines, at three times the cost.
        for inset in range(stroke_px if mark.row is not None else 1):
            if x1 - 1 - inset < x0 + inset or y1 - 1 - inset < y0 + inset:
                break
            cv2.rectangle(image, (x0 + inset, y0 + inset), (x1 - 1 - inset, y1 - 1 - inset), mark.colour, 1)


def _draw_labels(image: Image, marks: Iterable[Mark]) -> None:
    """Each label stands on its box or, where it would cover another, inside or below it; never over the picture's edge."""
    height, width = image.shape[:2]
    size_px = max(11, round(height / 45))
    placed: list[Box] = []
    for mark in marks:
        if not mark.text:
            continue
        patch = label(mark.text, size_px, mark.colour)[:height, :width]
        box = _label_box(mark.box, patch.shape[1], patch.shape[0], width, height, placed)
        placed.append(box)
        image[box[1] : box[3], box[0] : box[2]] = patch


def _label_box(of: Box, label_width: int, label_height: int, width: int, height: int, placed: list[Box]) -> Box:
    """Where a label goes: the first free one of three places, or the first of them when none is free."""
    x0, y0, _, y1 = of
    left = min(max(0, x0), width - label_width)
    above = y0 - label_height if y0 >= label_height else y0
    boxes = []
    for top in (above, y0 + 1, y1):
        top = min(max(0, top), height - label_height)
        box = (left, top, left + label_width, top + label_height)
        if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in placed):
            return box
        boxes.append(box)
    return boxes[0]
