"""Canvas: the layers of a picture, one over the other."""

from __future__ import annotations

import cv2

from engines.types import Size
from realtime.knobs import Knobs
from realtime.render.backgrounds import replace_background
from realtime.render.lines import draw_boxes, draw_labels, draw_trails
from realtime.render.look import Look
from realtime.render.marks import is_inside, marks_of
from realtime.render.masks import paint_classes, paint_objects
from realtime.render.matte import Matte, paint_matte
from realtime.render.surface import paint_carpet, paint_lane_lines
from realtime.types import Canvas, Result


def compose(result: Result, knobs: Knobs, look: Look) -> Canvas:
    """Draw masks, trails, boxes and labels over the frame, as `knobs` say. The canvas owns a new image."""
    frame, seen = result.frame, result.segmentation
    size = Size.of(frame.image).fitted_to_width(look.width_px)
    if size == Size.of(frame.image):
        image = frame.image.copy()
    else:
        image = cv2.resize(frame.image, (size.width, size.height), interpolation=cv2.INTER_AREA)
    marks = [mark for mark in marks_of(result, knobs, look, size) if is_inside(mark.box, size)]
    paints = knobs.masks and knobs.opacity > 0
    # Worth its refinement only if it is seen: a class map is painted in its place.
    matte = None
    if seen.alpha is not None and (knobs.background or (paints and seen.class_map is None)):
        matte = Matte.over(image, seen.alpha)
    if matte is not None and knobs.background:
        replace_background(image, matte, look.background)
    if paints:
        if seen.class_map is not None:
            paint_classes(image, seen.class_map, seen.surface, knobs, look)
        elif seen.surface is not None:
            paint_carpet(image, seen.surface, knobs.opacity)
        if seen.surface is not None:
            paint_lane_lines(image, seen.surface, knobs.opacity)
        if matte is not None and seen.class_map is None:
            paint_matte(image, matte, result, marks, knobs, look)
        elif seen.class_map is None:
            paint_objects(image, result, marks, knobs.opacity)
    if knobs.trails:
        draw_trails(image, marks)
    if knobs.boxes:
        draw_boxes(image, marks)
    if knobs.labels:
        draw_labels(image, marks)
    return Canvas(image, frame.index, frame.pts_s, frame.captured_ns)
