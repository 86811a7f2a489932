"""Look: what drawing must know of a model and of the canvas."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engines.models.card import ModelCard
from engines.types import U8, VOID_CLASS, Size
from realtime.render.backgrounds import Background, Blur
from realtime.render.blending import Bgr
from realtime.render.id_colours import id_colours
from realtime.render.palette import bgr_table, class_colours

UNSEEN_SHADE = 0.6
"""Boxes of coasting tracks (not seen in this frame) are drawn this much darker."""


@dataclass(frozen=True)
class Look:
    """What drawing must know of a model and of the canvas.

    width_px: the canvas is no wider than this.
    background: what a matte's foreground stands before while the knob of that name is on.
    least_width_px: smaller frames are drawn on a whole number of times their size, so that the canvas is at least this wide, and
        letters and lines are as fine as a screen has them. 0: they keep their size, as files do.
    """

    card: ModelCard
    width_px: int = 1280
    background: Background = field(default_factory=Blur)
    least_width_px: int = 0

    def canvas_size(self, frame: Size) -> Size:
        """Of the picture that a frame is drawn on."""
        if frame.width >= self.width_px:
            return frame.fitted_to_width(self.width_px)
        times = max(1, min(-(-self.least_width_px // frame.width), self.width_px // max(frame.width, frame.height)))
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
        """Of tracks, by `id % ID_COLOURS`."""
        return tuple((blue, green, red) for blue, green, red in id_colours().tolist())

    @cached_property
    def unseen_id_bgr(self) -> tuple[Bgr, ...]:
        """The same of tracks that are not seen in the frame."""
        return tuple(
            (round(blue * UNSEEN_SHADE), round(green * UNSEEN_SHADE), round(red * UNSEEN_SHADE))
            for blue, green, red in self.id_bgr
        )

    @cached_property
    def matte_class(self) -> int:
        """The class that a matte without objects is of: the card's first that is not void."""
        return next((class_id for class_id, name in enumerate(self.card.classes) if name not in self.card.void), 0)

    def shown(self, hidden: frozenset[int]) -> U8:
        """(256,) uint8: 255 for class ids to paint, 0 for void and hidden ones."""
        table = np.zeros(256, np.uint8)
        table[: len(self.card.classes)] = 255
        table[[class_id for class_id in hidden if class_id < len(table)]] = 0
        table[VOID_CLASS] = 0
        return table
