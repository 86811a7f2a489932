"""What keys, buttons and sliders do to the session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from engines.errors import SegmentationError
from realtime.knobs import MaskStyle
from realtime.viewer.host import SessionHost

KNOB_STEP = 0.05

NEXT_STYLE: dict[MaskStyle, MaskStyle] = {"both": "contour", "contour": "fill", "fill": "both"}
STYLE_WORDS = {"both": "areas with contours", "contour": "contours", "fill": "areas"}


class SessionControl:
    """Turns the knobs of whatever session the host has; does nothing between two sessions.

    say: shows one line to the person.
    """

    def __init__(self, host: SessionHost, say: Callable[[str], None]) -> None:
        self._host = host
        self._say = say

    def commands(self) -> dict[str, Callable[[], object]]:
        """The commands (by their names in `COMMANDS`) that are for the session."""
        return {
            "pause": self.pause,
            "step": self.step,
            "masks": partial(self.turn, "masks"),
            "mask_style": self.turn_style,
            "live_overlay": self.turn_overlay,
            "boxes": partial(self.turn, "boxes"),
            "labels": partial(self.turn, "labels"),
            "trails": partial(self.turn, "trails"),
            "background": partial(self.turn, "background"),
            "more_opacity": partial(self.nudge, "opacity", KNOB_STEP),
            "less_opacity": partial(self.nudge, "opacity", -KNOB_STEP),
            "more_threshold": partial(self.nudge, "threshold", KNOB_STEP),
            "less_threshold": partial(self.nudge, "threshold", -KNOB_STEP),
            "record": self.record,
        }

    def pause(self) -> None:
        if self._host.session is not None:
            self._host.session.set_paused(not self._host.session.state().paused)

    def step(self) -> None:
        """One frame on; a running film is paused first."""
        session = self._host.session
        if session is not None and not session.state().is_live:
            session.set_paused(True)
            session.step()

    def turn(self, name: str) -> None:
        """Masks, boxes, labels, trails or the background: on if off, off if on."""
        self._change(name, not getattr(self._host.knobs, name))

    def turn_style(self) -> None:
        """Masks as areas with contours, as contours, as areas: one after the other."""
        style = NEXT_STYLE[self._host.knobs.mask_style]
        self._change("mask_style", style)
        self._say(f"Masks: {STYLE_WORDS[style]}")

    def turn_overlay(self) -> None:
        """Locked if live, live if locked."""
        self.turn("live_overlay")
        if not self._host.knobs.live_overlay:
            self._say("Overlay: locked")
        elif self._host.state().waits_for_model:
            self._say("Overlay: live; this recording waits for the model: open it with --overlay live to see it at its own speed")
        else:
            self._say("Overlay: live")

    def select(self, x: float, y: float) -> None:
        """The object at this pixel of the canvas, or none."""
        if self._host.session is not None:
            self._host.session.select_at(x, y)

    def deselect(self) -> None:
        self._change("selected_id", None)

    def set(self, name: str, value: float) -> None:
        """Opacity or threshold; kept within 0..1."""
        self._change(name, min(1.0, max(0.0, round(value, 2))))

    def nudge(self, name: str, by: float) -> None:
        """Opacity or threshold, a little up or down."""
        self.set(name, getattr(self._host.knobs, name) + by)
        self._say(f"{name.capitalize()} {getattr(self._host.knobs, name):.0%}")

    def hide_classes(self, hidden: frozenset[int]) -> None:
        self._change("hidden_classes", hidden)

    def record(self) -> None:
        """Start recording, or finish it."""
        session = self._host.session
        if session is None:
            return
        try:
            if session.state().recording is None:
                self._say(f"Recording to {session.start_recording()}")
            elif (path := session.stop_recording()) is not None:
                self._say(f"Recorded {path}")
        except SegmentationError as error:
            self._say(f"Not recorded: {error}")

    def _change(self, name: str, value: Any) -> None:
        self._host.turn(**{name: value})
