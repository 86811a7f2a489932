"""Look: what drawing needs to know about a model and a canvas, and the sizes of lines and letters."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engines.models.card import ModelCard
from engines.types import U8, VOID_CLASS, Size
from realtime.render.backgrounds import Background, Blur
from realtime.render.palette import bgr_table, class_colours, id_colours
from realtime.render.pixels import Bgr, colour_of

UNSEEN_SHADE = 0.6
"""Brightness of the boxes of coasting tracks (not seen in this frame), relative to their colours."""


@dataclass(frozen=True)
class Look:
    """What drawing needs to know about a model and a canvas.

    width_px: maximum width of the canvas.
    background: replaces the background of a matte while the knob of that name is on.
    least_width_px: a smaller frame is enlarged a whole number of times, so that the canvas is at least this wide where that does
        not make it higher than 16:9 of `width_px`; letters and lines are then as fine as the screen allows. 0: frames keep
        their size, as in files.
    """

    card: ModelCard
    width_px: int = 1280
    background: Background = field(default_factory=Blur)
    least_width_px: int = 0

    def canvas_size(self, frame: Size) -> Size:
        """Size of the canvas for a frame of this size."""
        if frame.width >= self.width_px:
            return frame.fitted_to_width(self.width_px)
        wanted, height_px = -(-self.least_width_px // frame.width), self.width_px * 9 // 16
        times = max(1, min(wanted, self.width_px // frame.width, height_px // frame.height))
        return Size(times * frame.width, times * frame.height)

    @cached_property
    def class_bgr(self) -> U8:
        """(N, 3) uint8: class id → colour, black where there is no class; N is 256, or the number of classes if greater."""
        colours = bgr_table(class_colours(self.card))
        table = np.zeros((max(256, len(colours)), 3), np.uint8)
        table[: len(colours)] = colours
        return table

    @cached_property
    def id_bgr(self) -> tuple[Bgr, ...]:
        """Colours of tracks, by `id % ID_COLOURS`."""
        return tuple(colour_of(row) for row in id_colours())

    @cached_property
    def unseen_id_bgr(self) -> tuple[Bgr, ...]:
        """Colours of coasting tracks, by `id % ID_COLOURS`."""
        return tuple(colour_of(row) for row in np.rint(id_colours() * UNSEEN_SHADE).astype(np.uint8))

    @cached_property
    def matte_class(self) -> int:
        """Class of a matte without objects: the card's first class that is not void."""
        return next((class_id for class_id, name in enumerate(self.card.classes) if name not in self.card.void), 0)

    def shown(self, hidden: frozenset[int]) -> U8:
        """(256,) uint8: 255 for class ids to paint, 0 for void and hidden ones."""
        table = np.zeros(256, np.uint8)
        table[: len(self.card.classes)] = 255
        table[[class_id for class_id in hidden if class_id < len(table)]] = 0
        table[VOID_CLASS] = 0
        return table


def unit(canvas: Size) -> float:
    """Scale of lines and letters: 1 on a canvas of 1280x720, proportional to the square root of its area.

    A phone's upright picture gets the same lines as one on its side.
    """
    return math.sqrt(canvas.width * canvas.height) / 960


def stroke_px(canvas: Size) -> int:
    """Width of boxes and trails: 2 at 720p."""
    return max(1, round(2 * unit(canvas)))


def rim_px(canvas: Size) -> int:
    """Width of masks' contours: 1 at 720p, 2 at 1080p."""
    return max(1, round(1.1 * unit(canvas)))


def text_px(canvas: Size) -> int:
    """Height of letters: 16 at 720p, at least 11, which can still be read."""
    return max(11, round(16 * unit(canvas)))
