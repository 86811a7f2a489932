"""What keys, buttons and sliders do to the session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engines.errors import SegmentationError
from realtime.knobs import MaskStyle
from realtime.viewer.host import SessionHost

KNOB_STEP = 0.05

NEXT_STYLE: dict[MaskStyle, MaskStyle] = {"both": "contour", "contour": "fill", "fill": "both"}
STYLE_NAMES = {"both": "areas with contours", "contour": "contours", "fill": "areas"}

TOGGLES = ("masks", "boxes", "labels", "trails", "background")
"""Commands that turn the knob of the same name on or off."""


class SessionControl:
    """Applies commands to the host's session, if there is one, and to the knobs.

    show_message: shows one line to the user.
    """

    def __init__(self, host: SessionHost, show_message: Callable[[str], None]) -> None:
        self._host = host
        self._show_message = show_message

    def commands(self) -> dict[str, Callable[[], object]]:
        """Slots for commands, by their names in `COMMANDS`."""
        return {name: partial(self.toggle, name) for name in TOGGLES} | {
            "pause": self.pause,
            "step": self.step,
            "mask_style": self.next_style,
            "live_overlay": self.toggle_overlay,
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
        """Show the next frame of a file, pausing it first."""
        session = self._host.session
        if session is not None and not session.state().is_live:
            session.set_paused(True)
            session.step()

    def toggle(self, name: str) -> None:
        """Turn a knob on or off."""
        self._host.turn(**{name: not getattr(self._host.knobs, name)})

    def next_style(self) -> None:
        """Draw masks as areas with contours, as contours, or as areas, in turn."""
        style = NEXT_STYLE[self._host.knobs.mask_style]
        self._host.turn(mask_style=style)
        self._show_message(f"Masks: {STYLE_NAMES[style]}")

    def toggle_overlay(self) -> None:
        """Change between the locked and the live overlay."""
        self.toggle("live_overlay")
        text = "Overlay: live" if self._host.knobs.live_overlay else "Overlay: locked"
        if self._host.knobs.live_overlay and self._host.state().waits_for_model:
            text += ". This file waits for the model; open it with --overlay live to play it at its own speed"
        self._show_message(text)

    def select(self, x: float, y: float) -> None:
        """Select the object at this pixel of the canvas, or none."""
        if self._host.session is not None:
            self._host.session.select_at(x, y)

    def set(self, name: str, value: float) -> None:
        """Set opacity or threshold, limited to 0..1."""
        self._host.turn(**{name: min(1.0, max(0.0, round(value, 2)))})

    def nudge(self, name: str, by: float) -> None:
        """Raise or lower opacity or threshold."""
        self.set(name, getattr(self._host.knobs, name) + by)
        self._show_message(f"{name.capitalize()} {getattr(self._host.knobs, name):.0%}")

    def record(self) -> None:
        """Start or finish a recording."""
        session = self._host.session
        if session is None:
            return
        try:
            if session.state().recording is None:
                self._show_message(f"Recording to {session.start_recording()}")
            elif (path := session.stop_recording()) is not None:
                self._show_message(f"Saved {path}")
        except SegmentationError as error:
            self._show_message(f"Recording failed: {error}")
