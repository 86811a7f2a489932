"""Everything the window can be told to do, with its keys: one table, from which buttons, shortcuts and the help are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QWidget

from realtime.viewer.icons import ICONS, icon

OVERLAY_HINT = (
    "Locked: every picture waits for its own masks.\n"
    "Live: the newest picture at once, with the latest masks moved to where things are now;\nthey fade as they grow old."
)


@dataclass(frozen=True, slots=True)
class Command:
    """name: of the window's method. keys: portable key sequences. on_icon: shown while checked, where it is another one.

    hint: what it means, for the tooltip, where the text alone does not say it.
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
    Command("mask_style", "Contours, areas or both", ("O",)),
    Command("boxes", "Boxes", ("B",), checkable=True),
    Command("labels", "Labels", ("L",), checkable=True),
    Command("trails", "Trails", ("T",), checkable=True),
    Command("background", "Replace the background", ("G",), checkable=True),
    Command("live_overlay", "Overlay: locked / live", ("V",), checkable=True, hint=OVERLAY_HINT),
    Command("more_opacity", "More opaque masks", ("+", "=")),
    Command("less_opacity", "Less opaque masks", ("-",)),
    Command("more_threshold", "Surer objects only", ("]",)),
    Command("less_threshold", "Less sure objects too", ("[",)),
    Command("screenshot", "Screenshot", ("S",)),
    Command("record", "Record", ("R",), checkable=True),
    Command("hud", "Figures", ("H",), checkable=True),
    Command("classes", "Classes", ("C",), checkable=True),
    Command("full_screen", "Full screen", ("F", "F11"), checkable=True),
    Command("back", "Deselect, or go back", ("Esc",)),
    Command("open_file", "Open file…", ("Ctrl+O",)),
    Command("open_url", "Open URL…", ("Ctrl+U",)),
    Command("help", "Keys", ("F1", "?"), checkable=True),
    Command("quit", "Quit", ("Q", "Ctrl+Q")),
)


def key_names(command: Command) -> tuple[str, ...]:
    """The keys as people read them on this system (⌘O for Ctrl+O on a Mac)."""
    return tuple(QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText) for keys in command.keys)


def make_actions(window: QWidget, slots: Mapping[str, Callable[[], object]]) -> dict[str, QAction]:
    """One action per command, added to the window so that its keys work in full screen too. `slots` has one per name."""
    actions: dict[str, QAction] = {}
    for command in COMMANDS:
        action = QAction(command.text, window)
        action.setCheckable(command.checkable)
        action.setShortcuts([QKeySequence(keys) for keys in command.keys])
        action.setToolTip("\n".join(filter(None, (f"{command.text}  ({', '.join(key_names(command))})", command.hint))))
        if command.name in ICONS:
            action.setIcon(icon(command.name, command.on_icon))
        slot = slots[command.name]
        # triggered() passes the check mark, which the slots do not want: they turn what is, not what is shown.
        action.triggered.connect(lambda _checked, slot=slot: slot())
        window.addAction(action)
        actions[command.name] = action
    return actions
