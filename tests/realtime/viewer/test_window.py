"""What the window does with pictures, sources and sessions: real event loop, real threads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt6.QtCore import QCoreApplication, QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QDropEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QFileDialog, QInputDialog

from realtime.knobs import Knobs
from realtime.types import SourceStatus
from realtime.viewer.style import STATUS_COLOURS, WARNING
from realtime.viewer.window import MainWindow

Wait = Callable[..., None]
OpenWindow = Callable[..., MainWindow]


def test_canvases_reach_the_window_and_are_reported_in_order(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: len(scripted.session.shown_indices) >= 10)
    shown = list(scripted.session.shown_indices)
    assert shown == sorted(set(shown))
    centre = window.view.grab().toImage().pixelColor(window.view.width() // 3, window.view.height() // 2)
    assert centre.red() == 40, "the pattern's red"


def test_a_hidden_window_takes_canvases_but_reports_none_as_shown(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    window.hide()
    shown, taken = len(scripted.session.shown_indices), scripted.session.canvas.taken
    wait(lambda: scripted.session.canvas.taken > taken + 5)
    assert len(scripted.session.shown_indices) == shown
    window.show()
    wait(lambda: len(scripted.session.shown_indices) > shown)


def test_while_starting_the_window_shows_what_it_does(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["slow"] = script(start_s=30.0)
    window = open_window("slow")
    wait(lambda: "1 s" in window.view.card.text.text())
    assert window.view.card.isVisible()
    assert "slow" in window.view.card.title.text()
    assert "opening the model" in window.view.card.text.text()
    assert not window.view.card.retry.isVisible()


def test_a_failure_is_shown_and_retry_opens_again(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["camera"] = script(fails="camera 0 is in use by another program. Close it, then retry")
    window = open_window("camera")
    wait(window.view.card.retry.isVisible)
    assert "in use by another program" in window.view.card.text.text()
    scripted.scripts["camera"] = script()
    QTest.mouseClick(window.view.card.retry, Qt.MouseButton.LeftButton)
    wait(lambda: scripted.session.shown_indices)
    window.refresh()
    assert len(scripted.sessions) == 2
    assert scripted.sessions[0].closed
    assert not window.view.card.isVisible()


def test_an_invalid_source_is_reported_in_the_window(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["gopher://hole"] = script(invalid="gopher://hole: no such kind of source. Known: file, rtsp, http")
    window = open_window()
    window.open_source("gopher://hole")
    wait(window.view.card.retry.isVisible)
    assert "no such kind of source" in window.view.card.text.text()
    window.open_source("pattern")
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)


def test_after_the_end_the_last_frame_stays_and_can_be_replayed(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["film"] = script(frames=5, is_live=False)
    window = open_window("film")
    wait(window.view.banner.button.isVisible)
    assert window.view.banner.text.text() == "End of the video · 640x360 25 fps"
    assert window.view.canvas is not None
    assert window.view.canvas.index == 4
    assert window.view.smooth, "a still picture is interpolated"
    QTest.mouseClick(window.view.banner.button, Qt.MouseButton.LeftButton)
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("retrying", "Reconnecting"),
        ("stalled", "No frames are arriving"),
        ("frozen", "The camera's picture is frozen"),
        ("black", "The camera's picture is black"),
        ("undecodable", "The camera's pictures cannot be decoded"),
    ],
)
def test_a_source_in_trouble_is_reported_over_the_frame(
    open_window: OpenWindow, scripted, script, wait: Wait, state: str, words: str
) -> None:
    scripted.scripts["camera"] = script(status=SourceStatus(state, "attempt 3"))
    window = open_window("camera")
    wait(lambda: window.view.banner.isVisible() and scripted.session.shown_indices)
    assert window.view.banner.text.text() == f"{words} · attempt 3"
    assert STATUS_COLOURS[state] == WARNING


def test_a_model_that_is_opened_again_is_said_over_the_video_which_goes_on(
    open_window: OpenWindow, scripted, script, wait: Wait
) -> None:
    scripted.scripts["camera"] = script(recovering="Recovering, attempt 2 of 3: road: output logits contains NaN")
    window = open_window("camera")
    wait(lambda: window.view.banner.isVisible())
    assert "attempt 2 of 3: road: output logits contains NaN" in window.view.banner.text.text()
    assert not window.view.card.isVisible()
    shown = len(scripted.session.shown_indices)
    wait(lambda: len(scripted.session.shown_indices) > shown + 3)


def test_a_warning_is_shown_over_the_video_which_goes_on(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["camera"] = script(warning="film.mp4 cannot be written: the disk is full. Free some space")
    window = open_window("camera")
    wait(window.view.banner.isVisible)
    assert window.view.banner.text.text().startswith("film.mp4 cannot be written")
    shown = len(scripted.session.shown_indices)
    wait(lambda: len(scripted.session.shown_indices) > shown + 3)


def test_why_a_clip_is_shown_is_said_whole_with_a_button_to_look_again(
    open_window: OpenWindow, scripted, script, wait: Wait
) -> None:
    why = "Sample clip: /dev/video0: no permission. Add yourself to its group, and log in again: sudo usermod -aG video $USER."
    scripted.scripts["auto"] = script(why_shown=why)
    window = open_window("auto", width_px=640, height_px=480)
    wait(lambda: window.view.banner.isVisible() and scripted.session.shown_indices)
    assert window.view.banner.text.text() == why
    needed = window.view.banner.text.heightForWidth(window.view.banner.text.width())
    assert window.view.banner.text.height() >= needed, "no line is cut off"
    assert window.view.rect().contains(window.view.banner.geometry())
    QTest.mouseClick(window.view.banner.button, Qt.MouseButton.LeftButton)
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)


def test_one_class_needs_no_legend_until_it_is_asked_for(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["people"] = script(classes=("person",))
    window = open_window("people", width_px=1200, height_px=700)
    wait(lambda: scripted.session.shown_indices and not window.legend.isVisible())
    window.toggle_legend()
    assert window.legend.isVisible()


def test_a_new_window_fits_on_the_screen(app, scripted, tmp_path: Path) -> None:
    window, room = MainWindow(scripted.open, "fresh", tmp_path), app.primaryScreen().availableSize()
    assert window.width() <= room.width()
    assert window.height() <= room.height()
    window.close()


def test_the_window_fits_the_first_picture_to_the_pixel(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    """Where its legend goes, and its bar becomes two rows."""
    scripted.scripts["people"] = script(classes=("person",), size_px=(700, 400), start_s=0.2)
    window = open_window("people", width_px=780, height_px=700)
    window._fitted = False
    wait(lambda: window.view.canvas is not None)
    wait(lambda: (window.view.width(), window.view.height()) == (700, 400))


def test_changing_the_source_does_not_block_the_window_and_keeps_the_knobs(
    open_window: OpenWindow, scripted, script, wait: Wait
) -> None:
    scripted.scripts["slow to close"] = script(close_s=0.6)
    window = open_window("slow to close")
    QTest.keyClick(window, Qt.Key.Key_B)
    started_s = time.monotonic()
    window.open_source("unwanted")
    window.open_source("pattern")
    assert time.monotonic() - started_s < 0.1
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)
    assert not scripted.overlapped
    assert scripted.session.state().source == "pattern", "the last source opened counts"
    assert not scripted.session.knobs.boxes


def test_another_model_takes_over_no_class_of_the_last_one(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["me.mp4"] = script(model="people", classes=("person",))
    window = open_window("road.mp4")
    window.host.turn(hidden_classes=frozenset({0}), threshold=0.9, boxes=False)
    window.open_source("me.mp4")
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)
    assert (scripted.session.knobs.hidden_classes, scripted.session.knobs.boxes) == (frozenset(), False)
    assert scripted.session.knobs.threshold == Knobs().threshold


def test_a_window_closed_between_two_sources_opens_no_other(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["slow to close"] = script(close_s=0.3)
    window = open_window("slow to close")
    window.open_source("pattern")
    window.close()
    QTest.qWait(50)
    assert len(scripted.sessions) == 1
    assert scripted.session.gone


def test_a_file_dropped_on_the_window_is_opened(open_window: OpenWindow, scripted, wait: Wait, tmp_path: Path) -> None:
    window = open_window()
    film = tmp_path / "my film.mp4"
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(film))])
    left, no_key, copy = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, Qt.DropAction.CopyAction
    assert window.acceptDrops()
    enter = QDragEnterEvent(QPoint(9, 9), copy, mime, left, no_key)
    QCoreApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    QCoreApplication.sendEvent(window, QDropEvent(QPointF(9, 9), copy, mime, left, no_key))
    wait(lambda: len(scripted.sessions) == 2)
    assert scripted.session.state().source == str(film)


def test_an_address_can_be_entered_and_is_opened(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    QTest.keyClick(window, Qt.Key.Key_U, Qt.KeyboardModifier.ControlModifier)
    dialog = window.findChild(QInputDialog)
    assert dialog is not None
    shown = len(scripted.session.shown_indices)
    wait(lambda: len(scripted.session.shown_indices) > shown + 3)  # the video goes on behind the dialog
    dialog.setTextValue(" rtsp://camera/1 ")
    dialog.accept()
    wait(lambda: len(scripted.sessions) == 2)
    assert scripted.session.state().source == "rtsp://camera/1"


def test_a_file_can_be_chosen_and_is_opened(open_window: OpenWindow, scripted, wait: Wait, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.touch()
    window = open_window()
    QTest.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    dialog.setDirectory(str(tmp_path))
    dialog.selectFile(str(film))
    dialog.accept()
    wait(lambda: len(scripted.sessions) == 2)
    assert Path(scripted.session.state().source) == film


@pytest.mark.parametrize("size_px", [(480, 360), (640, 480), (1280, 720), (3840, 2160)])
def test_nothing_is_clipped_at_any_size(open_window: OpenWindow, scripted, wait: Wait, size_px: tuple[int, int]) -> None:
    window = open_window(width_px=size_px[0], height_px=size_px[1])
    window.view.toggle_help()
    wait(lambda: scripted.session.shown_indices)
    assert (window.width(), window.height()) == size_px
    for part in (*window.bar.findChildren(type(window.source_label)), window.view.help, window.bar.threshold, window.bar.opacity):
        assert part.width() >= min(part.minimumSizeHint().width(), size_px[0] - 32), part
        assert window.rect().contains(part.mapTo(window, part.rect().topLeft())), part
        assert window.rect().contains(part.mapTo(window, part.rect().bottomRight())), part
    keys = window.view.help.area
    assert keys.widget().sizeHint().width() <= keys.viewport().width(), "the keys scroll up and down only"


def test_the_window_can_be_resized_and_hidden_while_streaming(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["fast"] = script(fps=240.0)
    window = open_window("fast")
    dice = random.Random(1)
    for _ in range(150):
        dice.choice(
            (
                lambda: window.resize(dice.randint(480, 1400), dice.randint(360, 900)),
                window.showMinimized,
                window.showNormal,
                window.hide,
                window.show,
                window.toggle_full_screen,
            )
        )()
        QCoreApplication.processEvents()
    window.showNormal()
    newest = scripted.session.canvas.put_count
    wait(lambda: scripted.session.shown_indices[-1] >= newest)


def test_windows_can_be_opened_and_closed_while_streaming(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["fast"] = script(fps=240.0)
    for _ in range(15):
        window = open_window("fast")
        wait(lambda: scripted.session.shown_indices)
        window.close()
        assert scripted.session.closed
