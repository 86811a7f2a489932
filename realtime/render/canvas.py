"""Canvas: draws the layers of a picture, each over those before."""

import cv2

from engines.types import Image
from realtime.knobs import Knobs
from realtime.render.annotations import draw_boxes, draw_labels, draw_trails
from realtime.render.layout import Places
from realtime.render.look import Look
from realtime.render.marks import Mark, marks_of
from realtime.render.masks import draw_halo, paint_carpet, paint_classes, paint_lane_lines, paint_objects
from realtime.render.matte import Matte, paint_matte, replace_background
from realtime.render.pixels import resized
from realtime.types import Canvas, Result


def compose(result: Result, knobs: Knobs, look: Look) -> Canvas:
    """Draw masks, trails, boxes and labels over the frame, as `knobs` say. The canvas owns a new image."""
    return Painter()(result, knobs, look)


class Painter:
    """Composes the pictures of one stream. It remembers the places of labels, so that they do not jump."""

    def __init__(self) -> None:
        self._places: Places = {}

    def __call__(self, result: Result, knobs: Knobs, look: Look) -> Canvas:
        """Like `compose`, with labels in the places they had in the previous picture where possible."""
        frame = result.frame
        size = look.canvas_size(frame.size)
        image = resized(frame.image, size)
        matte = _matte(image, result, knobs, look)
        if matte is not None and knobs.background:
            replace_background(image, matte, look.background)
        if result.freshness > 0:
            bare = image.copy() if result.freshness < 1 else None
            marks = marks_of(result, knobs, look, size)
            _paint(image, result, matte, marks, knobs, look)
            self._annotate(image, result, marks, knobs)
            if bare is not None:
                cv2.addWeighted(image, result.freshness, bare, 1 - result.freshness, 0, dst=image)
        return Canvas(image, frame.index, frame.pts_s, frame.captured_ns)

    def _annotate(self, image: Image, result: Result, marks: list[Mark], knobs: Knobs) -> None:
        """Draw trails, boxes, the halo and labels."""
        if knobs.trails:
            draw_trails(image, marks)
        if knobs.boxes:
            draw_boxes(image, marks)
        for mark in marks:
            if mark.is_selected:
                draw_halo(image, result, mark)
        if knobs.labels:
            self._places = draw_labels(image, marks, self._places)


def _matte(image: Image, result: Result, knobs: Knobs, look: Look) -> Matte | None:
    """The matte at the canvas's resolution; None where it is not used. A class map is painted instead of it.

    Where a background is on and the frame's matte is missing, as after a failure of the model, nothing counts as foreground:
    what somebody hides is never shown.
    """
    seen = result.segmentation
    if seen.alpha is None:
        return Matte.nothing() if knobs.background and look.card.gives_matte else None
    paints = knobs.masks and knobs.opacity > 0 and seen.class_map is None
    return Matte.over(image, seen.alpha) if knobs.background or paints else None


def _paint(image: Image, result: Result, matte: Matte | None, marks: list[Mark], knobs: Knobs, look: Look) -> None:
    """Paint areas: classes, the road surface, mattes or masks."""
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
