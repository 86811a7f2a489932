"""What keys, buttons, sliders and the legend do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QToolButton

from realtime.knobs import Knobs
from realtime.viewer.commands import COMMANDS, make_actions
from realtime.viewer.window import MainWindow

Wait = Callable[..., None]
OpenWindow = Callable[..., MainWindow]


@pytest.mark.parametrize(("key", "knob"), [("M", "masks"), ("B", "boxes"), ("L", "labels"), ("T", "trails")])
def test_keys_toggle_parts_of_the_drawing(open_window: OpenWindow, scripted, key: str, knob: str) -> None:
    window = open_window()
    for expected in (False, True):
        QTest.keyClick(window, getattr(Qt.Key, f"Key_{key}"))
        assert getattr(scripted.session.knobs, knob) is expected
        assert window.commands[knob].isChecked() is expected


def test_the_background_can_be_replaced_only_with_a_matte(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    window = open_window()
    QTest.keyClick(window, Qt.Key.Key_G)
    assert not scripted.session.knobs.background
    assert not window.commands["background"].isEnabled()
    scripted.scripts["portrait"] = script(gives_matte=True)
    window.open_source("portrait")
    wait(lambda: window.host.state().gives_matte)
    for expected in (True, False):
        window.refresh()
        QTest.keyClick(window, Qt.Key.Key_G)
        assert scripted.session.knobs.background is expected
        assert window.commands["background"].isChecked() is expected


def test_a_knob_changes_the_picture(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)

    def road_is_painted() -> bool:
        picture = window.view.picture_rect()
        at = picture.topLeft() + QPointF(picture.width() * 0.9, picture.height() * 0.1)
        return window.view.grab().toImage().pixelColor(at.toPoint()).red() == 128

    wait(road_is_painted)
    QTest.keyClick(window, Qt.Key.Key_M)
    wait(lambda: not road_is_painted())


def test_sliders_and_keys_set_opacity_and_threshold(open_window: OpenWindow, scripted) -> None:
    window = open_window()
    window.bar.threshold.slider.setValue(70)
    window.bar.opacity.slider.setValue(98)
    assert (scripted.session.knobs.threshold, scripted.session.knobs.opacity) == (0.7, 0.98)
    QTest.keyClick(window, Qt.Key.Key_Plus)
    QTest.keyClick(window, Qt.Key.Key_BracketLeft)
    assert (scripted.session.knobs.threshold, scripted.session.knobs.opacity) == (0.65, 1.0), "at most 1"
    assert (window.bar.threshold.slider.value(), window.bar.opacity.slider.value()) == (65, 100)


def test_the_legend_hides_and_shows_classes(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window(width_px=1200)
    wait(lambda: window.legend.list.count() == 3)
    car = window.legend.list.item(1)
    assert car is not None
    assert car.text() == "car"
    car.setCheckState(Qt.CheckState.Unchecked)
    assert scripted.session.knobs.hidden_classes == {1}
    window.legend.none_button.click()
    assert scripted.session.knobs.hidden_classes == {0, 1, 2}
    window.legend.all_button.click()
    assert scripted.session.knobs.hidden_classes == frozenset()
    window.refresh()
    assert car.checkState() == Qt.CheckState.Checked


def test_a_long_legend_can_be_searched_and_typing_changes_no_knobs(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    window = open_window(width_px=1200)
    wait(lambda: window.legend.list.count() == 3)
    assert not window.legend.search.isVisible(), "three classes need no search"
    names = tuple(f"thing {i}" for i in range(30))
    scripted.scripts["many classes"] = script(classes=names)
    window.open_source("many classes")
    wait(lambda: window.legend.list.count() == 30)
    QTest.mouseClick(window.legend.search, Qt.MouseButton.LeftButton)
    QTest.keyClicks(window.legend.search, "thing 2")
    matching = [item.text() for item in window.legend._items() if not item.isHidden()]
    assert matching == [name for name in names if name.startswith("thing 2")]
    assert scripted.session.knobs == Knobs(), "the letters are not shortcuts here"
    window.legend.none_button.click()
    assert scripted.session.knobs.hidden_classes == {2, *range(20, 30)}, "only classes that match"


def test_space_pauses_and_a_step_lets_one_frame_through(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["film"] = script(is_live=False)
    window = open_window("film")
    wait(lambda: len(scripted.session.shown_indices) > 3)
    window.refresh()
    QTest.keyClick(window, Qt.Key.Key_Space)
    assert scripted.session.state().paused
    QTest.qWait(50)
    count = scripted.session.canvas.put_count
    QTest.qWait(50)
    assert scripted.session.canvas.put_count == count
    for key in (Qt.Key.Key_Period, Qt.Key.Key_Right):
        QTest.keyClick(window, key)
        count += 1
        wait(lambda count=count: scripted.session.canvas.put_count == count)
    QTest.keyClick(window, Qt.Key.Key_Space)
    wait(lambda: scripted.session.canvas.put_count > count + 3)


def test_a_live_source_cannot_be_stepped(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    window.refresh()
    assert window.commands["pause"].isEnabled()
    assert not window.commands["step"].isEnabled()
    window.control.step()
    assert not scripted.session.state().paused


def test_a_screenshot_is_the_canvas(open_window: OpenWindow, scripted, wait: Wait, tmp_path: Path) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    window.refresh()
    canvas = window.view.canvas
    QTest.keyClick(window, Qt.Key.Key_S)
    wait(lambda: "Saved" in window.status.currentMessage())
    (path,) = (tmp_path / "out").iterdir()
    saved = cv2.imread(str(path))
    assert canvas is not None
    assert saved is not None
    assert np.array_equal(saved, canvas.image)
    assert str(path) in window.status.currentMessage()


def test_screenshots_of_one_moment_replace_none(open_window: OpenWindow, scripted, wait: Wait, tmp_path: Path) -> None:
    """Two of a paused picture within a second had one name."""
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    assert window.view.canvas is not None
    for _ in range(3):
        window.screenshots.save(window.view.canvas)
    window.screenshots.close()
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_recording_that_is_complete_is_reported_once(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    scripted.session.news = "Saved film.mp4; it lacks 3 frames"
    window.refresh()
    assert window.status.currentMessage() == "Saved film.mp4; it lacks 3 frames"
    window.show_message("another")
    window.refresh()
    assert window.status.currentMessage() == "another"


def test_a_screenshot_that_cannot_be_written_is_reported(open_window: OpenWindow, scripted, wait: Wait, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    window.screenshot()
    wait(lambda: window.status.currentMessage().startswith("Screenshot not saved to"))


def test_recording_starts_and_stops_and_reports_a_failure(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    window.refresh()
    QTest.keyClick(window, Qt.Key.Key_R)
    assert window.view.recording.isVisible()
    assert "film.mp4" in window.status.currentMessage()
    QTest.keyClick(window, Qt.Key.Key_R)
    assert not window.view.recording.isVisible()
    window.open_source("unwritable")
    wait(lambda: len(scripted.sessions) == 2 and scripted.session.shown_indices)
    window.refresh()
    QTest.keyClick(window, Qt.Key.Key_R)
    assert "the disk is full" in window.status.currentMessage()


def test_full_screen_shows_the_picture_alone_and_escape_leaves_it(open_window: OpenWindow, wait: Wait) -> None:
    window = open_window()
    QTest.keyClick(window, Qt.Key.Key_F)
    assert window.isFullScreen()
    assert not window.bar.isVisible()
    QTest.keyClick(window, Qt.Key.Key_Question)
    assert window.view.help.isVisible(), "keys work without the bar"
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert window.isFullScreen()
    assert not window.view.help.isVisible()
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isFullScreen()
    QTest.mouseDClick(window.view, Qt.MouseButton.LeftButton)
    assert window.isFullScreen()
    QTest.mouseDClick(window.view, Qt.MouseButton.LeftButton)
    assert window.bar.isVisible()


def test_the_hud_is_drawn_at_most_four_times_a_second(open_window: OpenWindow, scripted, script, wait: Wait) -> None:
    scripted.scripts["fast"] = script(fps=240.0)
    window = open_window("fast")
    wait(lambda: window.view._hud is not None)
    huds = set()
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        QTest.qWait(5)
        huds.add(window.view._hud.cacheKey())
    assert 2 <= len(huds) <= 5
    QTest.keyClick(window, Qt.Key.Key_H)
    assert window.view._hud is None


def test_no_two_commands_have_the_same_key(app: QApplication, open_window: OpenWindow) -> None:
    keys = [key for command in COMMANDS for key in command.keys]
    assert len(keys) == len(set(keys))
    window = open_window()
    assert all(window.commands[command.name].shortcuts() for command in COMMANDS)
    with pytest.raises(KeyError):
        make_actions(window, {})


def test_a_key_changes_the_mask_style(open_window: OpenWindow, scripted) -> None:
    window = open_window()
    for expected in ("contour", "fill", "both"):
        QTest.keyClick(window, Qt.Key.Key_O)
        assert scripted.session.knobs.mask_style == expected
        assert window.status.currentMessage().startswith("Masks: ")


def test_the_overlay_is_locked_or_live_and_its_tooltip_explains_both(open_window: OpenWindow, scripted) -> None:
    window = open_window()
    for expected in (True, False):
        QTest.keyClick(window, Qt.Key.Key_V)
        assert scripted.session.knobs.live_overlay is expected
        assert window.commands["live_overlay"].isChecked() is expected
    tip = window.commands["live_overlay"].toolTip()
    assert tip.startswith("Overlay: locked / live")
    assert "is shown with its own masks" in tip
    assert "moved to fit it" in tip


def test_the_live_overlay_comes_with_advice_if_a_file_waits_for_the_model(open_window: OpenWindow, scripted, script) -> None:
    scripted.scripts["film.mp4"] = script(is_live=False)
    camera = open_window("camera")
    QTest.keyClick(camera, Qt.Key.Key_V)
    assert camera.status.currentMessage() == "Overlay: live"
    film = open_window("film.mp4")
    for expected in ("Overlay: live. This file waits for the model; open it with --overlay live", "Overlay: locked"):
        QTest.keyClick(film, Qt.Key.Key_V)
        assert film.status.currentMessage().startswith(expected)


def test_a_click_selects_an_object_and_another_or_escape_deselects(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    wait(lambda: scripted.session.shown_indices)
    picture = window.view.picture_rect()

    def click(x_share: float) -> None:
        at = QPointF(picture.x() + picture.width() * x_share, picture.y() + picture.height() * 0.9).toPoint()
        QTest.mouseClick(window.view, Qt.MouseButton.LeftButton, pos=at)

    click(0.25)
    assert scripted.session.knobs.selected_id == 7
    click(0.75)
    assert scripted.session.knobs.selected_id is None
    click(0.25)
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert scripted.session.knobs.selected_id is None
    QTest.keyClick(window, Qt.Key.Key_F1)
    middle = window.view.help.geometry().center()
    QTest.mouseClick(window.view.help, Qt.MouseButton.LeftButton, pos=window.view.help.mapFromParent(middle))
    assert scripted.session.knobs.selected_id is None, "a click on the help selects nothing"


def test_a_selection_ends_with_its_session(open_window: OpenWindow, scripted, wait: Wait) -> None:
    window = open_window()
    scripted.session.select_at(1, 1)
    window.open_source("pattern")
    wait(lambda: len(scripted.sessions) == 2)
    assert scripted.session.knobs.selected_id is None, "the next session has other ids"


@pytest.mark.parametrize("width_px", [480, 640, 1280])
def test_no_visible_button_is_clipped(open_window: OpenWindow, width_px: int) -> None:
    window = open_window(width_px=width_px, height_px=400)
    assert window.width() == width_px
    buttons = [button for button in window.bar.findChildren(QToolButton) if button.isVisible()]
    assert len(buttons) >= 12
    for button in buttons:
        assert window.bar.rect().contains(button.geometry()), button.toolTip()
