"""The window's commands: one table of names and keys for buttons, shortcuts and the help, and what they do to the session."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QWidget

from engines.errors import SegmentationError
from realtime.knobs import MaskStyle
from realtime.viewer.host import SessionHost
from realtime.viewer.icons import ICONS, icon

KNOB_STEP = 0.05

NEXT_STYLE: dict[MaskStyle, MaskStyle] = {"both": "contour", "contour": "fill", "fill": "both"}
STYLE_NAMES = {"both": "areas with contours", "contour": "contours", "fill": "areas"}

TOGGLES = ("masks", "boxes", "labels", "trails", "background")
"""Commands that turn the knob of the same name on or off."""

OVERLAY_HINT = (
    "Locked: each frame is shown with its own masks.\n"
    "Live: the newest frame is shown at once, with the latest masks moved to fit it;\nthey fade with age."
)


@dataclass(frozen=True, slots=True)
class Command:
    """name: key of the window's slot. keys: portable key sequences. on_icon: shown while checked, if different.

    hint: an explanation for the tooltip, where the text alone is not enough.
    """

    name: str
    text: str
    keys: tuple[str, ...]
    checkable: bool = False
    on_icon: str | None = None
    hint: str = ""


COMMANDS = (
    Command("pause", "Pause", ("Space",), checkable=True, on_icon="play"),
    Command("step", "Next frame (files)", (".", "Right")),
    Command("masks", "Masks", ("M",), checkable=True),
    Command("mask_style", "Mask style", ("O",)),
    Command("boxes", "Boxes", ("B",), checkable=True),
    Command("labels", "Labels", ("L",), checkable=True),
    Command("trails", "Trails", ("T",), checkable=True),
    Command("background", "Replace background", ("G",), checkable=True),
    Command("live_overlay", "Overlay: locked / live", ("V",), checkable=True, hint=OVERLAY_HINT),
    Command("more_opacity", "Raise mask opacity", ("+", "=")),
    Command("less_opacity", "Lower mask opacity", ("-",)),
    Command("more_threshold", "Raise score threshold", ("]",)),
    Command("less_threshold", "Lower score threshold", ("[",)),
    Command("screenshot", "Save screenshot", ("S",)),
    Command("record", "Record", ("R",), checkable=True),
    Command("hud", "Performance figures", ("H",), checkable=True),
    Command("classes", "List of classes", ("C",), checkable=True),
    Command("full_screen", "Full screen", ("F", "F11"), checkable=True),
    Command("back", "Go back or deselect", ("Esc",)),
    Command("open_file", "Open file…", ("Ctrl+O",)),
    Command("open_url", "Open URL…", ("Ctrl+U",)),
    Command("help", "Keyboard shortcuts", ("F1", "?"), checkable=True),
    Command("quit", "Quit", ("Q", "Ctrl+Q")),
)


def key_names(command: Command) -> tuple[str, ...]:
    """The keys as written on this system (⌘O for Ctrl+O on a Mac)."""
    return tuple(QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText) for keys in command.keys)


def make_actions(window: QWidget, slots: Mapping[str, Callable[[], object]]) -> dict[str, QAction]:
    """One action per command, added to the window so that its keys also work in full screen. slots: by command name."""
    actions: dict[str, QAction] = {}
    for command in COMMANDS:
        action = QAction(command.text, window)
        action.setCheckable(command.checkable)
        action.setShortcuts([QKeySequence(keys) for keys in command.keys])
        action.setToolTip("\n".join(filter(None, (f"{command.text}  ({', '.join(key_names(command))})", command.hint))))
        if command.name in ICONS:
            action.setIcon(icon(command.name, command.on_icon))
        # triggered() passes the check mark, which slots ignore: they change the present state, not the one shown.
        action.triggered.connect(lambda _checked, slot=slots[command.name]: slot())
        window.addAction(action)
        actions[command.name] = action
    return actions


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
                self._show_message(f"Finishing {path} …")
        except SegmentationError as error:
            self._show_message(f"Recording failed: {error}")
