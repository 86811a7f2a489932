"""F19, F20: a window that is blocked, closed, minimised and resized again and again while pictures come in."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from PyQt6.QtCore import QSize

from realtime.types import Canvas
from realtime.viewer.window import MainWindow

Wait = Callable[..., None]
OpenWindow = Callable[..., MainWindow]


def test_a_blocked_window_keeps_one_frame_and_one_wake_and_then_shows_the_newest_frame(
    open_window: OpenWindow, scripted: Any, script: Any, wait: Wait, rounds: Callable[[int, int], int]
) -> None:
    """The long form blocks it for two seconds each time."""
    scripted.scripts["fast"] = script(fps=240.0)
    open_window("fast")
    wait(lambda: scripted.session.shown_indices)
    took_s = []
    for _ in range(rounds(3, 200)):
        alive = canvases_alive()
        wakes, before, blocked_s = scripted.session.wakes, scripted.session.canvas.put_count, time.monotonic()
        least_s = rounds(0, 2)
        # The producer goes on while the Qt thread is blocked.
        while scripted.session.canvas.put_count - before <= 60 or time.monotonic() - blocked_s < least_s:
            time.sleep(0.01)
        assert scripted.session.wakes - wakes <= 1
        assert scripted.session.canvas.waiting <= 1
        assert canvases_alive() - alive <= 2, "one waits, one is being drawn"
        newest = scripted.session.canvas.put_count - 1
        released_s = time.monotonic()
        wait(lambda newest=newest: scripted.session.shown_indices[-1] >= newest)
        took_s.append(time.monotonic() - released_s)
    assert min(took_s) < 0.05, "the best, since other programs may be running"


def canvases_alive() -> int:
    gc.collect()
    # By type: isinstance reads every object's class, and deprecated ones warn when read.
    return sum(type(thing) is Canvas for thing in gc.get_objects())


def test_a_window_may_be_minimised_and_resized_while_pictures_come_in(
    open_window: OpenWindow, scripted: Any, script: Any, wait: Wait, rounds: Callable[[int, int], int]
) -> None:
    scripted.scripts["fast"] = script(fps=240.0)
    window, dice = open_window("fast"), random.Random(20)
    wait(lambda: scripted.session.shown_indices)
    threads = threading.active_count()
    changes: list[Callable[[], object]] = [
        lambda: window.resize(QSize(dice.randint(1, 2000), dice.randint(1, 1500))),
        window.showMinimized,
        window.showNormal,
        window.showMaximized,
        window.toggle_full_screen,
        window.toggle_legend,
        window.view.toggle_help,
        window.hide,
        window.show,
    ]
    for _ in range(rounds(60, 500)):
        dice.choice(changes)()
        taken = scripted.session.canvas.taken
        wait(lambda taken=taken: scripted.session.canvas.taken > taken)
    window.showNormal()
    shown = len(scripted.session.shown_indices)
    wait(lambda: len(scripted.session.shown_indices) > shown)
    assert scripted.session.shown_indices == sorted(set(scripted.session.shown_indices))
    assert threading.active_count() == threads


def test_a_window_may_be_closed_while_pictures_come_in(
    open_window: OpenWindow, scripted: Any, script: Any, wait: Wait, rounds: Callable[[int, int], int]
) -> None:
    scripted.scripts["fast"] = script(fps=240.0)
    threads = threading.active_count()
    for turn in range(rounds(8, 500)):
        window = open_window("fast")
        session = scripted.session
        if turn % 2:
            wait(lambda session=session: session.shown_indices)
        window.close()
        assert session.gone
        assert threading.active_count() <= threads, "no thread is left"
