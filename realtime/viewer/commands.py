"""The window's commands and their keys: one table for buttons, shortcuts and the help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QWidget

from realtime.viewer.icons import ICONS, icon

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
        slot = slots[command.name]
        # triggered() passes the check mark, which slots ignore: they change the present state, not the one shown.
        action.triggered.connect(lambda _checked, slot=slot: slot())
        window.addAction(action)
        actions[command.name] = action
    return actions
