"""Canvas: the layers of a picture, one over the other."""

from __future__ import annotations

import cv2

from engines.types import Image, Size
from realtime.knobs import Knobs
from realtime.render.backgrounds import replace_background
from realtime.render.labels import NOWHERE, draw_labels
from realtime.render.layout import Places
from realtime.render.lines import draw_boxes, draw_trails
from realtime.render.look import Look
from realtime.render.marks import Mark, marks_of
from realtime.render.masks import draw_halo, paint_classes, paint_objects
from realtime.render.matte import Matte, paint_matte
from realtime.render.scaling import resized
from realtime.render.surface import paint_carpet, paint_lane_lines
from realtime.types import Canvas, Result


def compose(result: Result, knobs: Knobs, look: Look) -> Canvas:
    """Draw masks, trails, boxes and labels over the frame, as `knobs` say. The canvas owns a new image."""
    return draw(result, knobs, look, NOWHERE)[0]


class Painter:
    """Composes one stream's pictures, one after the other. It remembers where labels stood, so that they keep their places."""

    def __init__(self) -> None:
        self._places = NOWHERE

    def __call__(self, result: Result, knobs: Knobs, look: Look) -> Canvas:
        """As `compose` does."""
        canvas, self._places = draw(result, knobs, look, self._places)
        return canvas


def draw(result: Result, knobs: Knobs, look: Look, before: Places) -> tuple[Canvas, Places]:
    """`compose`, with labels where they stood `before`; and where they stand now."""
    frame, places = result.frame, before
    size = look.canvas_size(Size.of(frame.image))
    image = resized(frame.image, size)
    matte = _matte(image, result, knobs)
    if matte is not None and knobs.background:
        replace_background(image, matte, look.background)
    if result.freshness > 0:
        bare = image.copy() if result.freshness < 1 else None
        marks = marks_of(result, knobs, look, size)
        _paint(image, result, matte, marks, knobs, look)
        places = _draw_marks(image, result, marks, knobs, before)
        if bare is not None:
            cv2.addWeighted(image, result.freshness, bare, 1 - result.freshness, 0, dst=image)
    return Canvas(image, frame.index, frame.pts_s, frame.captured_ns), places


def _matte(image: Image, result: Result, knobs: Knobs) -> Matte | None:
    """The matte at the canvas's resolution, where it is seen: a class map is painted in its place."""
    seen = result.segmentation
    paints = knobs.masks and knobs.opacity > 0 and seen.class_map is None
    return Matte.over(image, seen.alpha) if seen.alpha is not None and (knobs.background or paints) else None


def _paint(image: Image, result: Result, matte: Matte | None, marks: list[Mark], knobs: Knobs, look: Look) -> None:
    """Areas: classes, the road's surface, mattes or masks."""
    seen = result.segmentation
    if not knobs.masks or knobs.opacity <= 0:
        return
    if seen.class_map is not None:
        paint_classes(image, seen.class_map, seen.surface, knobs, look)
    elif seen.surface is not None:
        paint_carpet(image, seen.surface, knobs.opacity)
    if seen.surface is not None:
        paint_lane_lines(image, seen.surface, knobs.opacity)
    if matte is not None and seen.class_map is None:
        paint_matte(image, matte, result, marks, knobs, look)
    elif seen.class_map is None:
        paint_objects(image, result, marks, knobs)


def _draw_marks(image: Image, result: Result, marks: list[Mark], knobs: Knobs, before: Places) -> Places:
    """Lines and words: trails, boxes, the halo, labels. Returns where labels stand."""
    if knobs.trails:
        draw_trails(image, marks)
    if knobs.boxes:
        draw_boxes(image, marks)
    for mark in marks:
        if mark.is_selected:
            draw_halo(image, result, mark)
    return draw_labels(image, marks, before) if knobs.labels else before
