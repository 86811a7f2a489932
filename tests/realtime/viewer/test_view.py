"""The picture on the screen is the newest canvas, reported once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from PyQt6.QtCore import QSize
from PyQt6.QtGui import QFontMetrics, QImage, QPixmap
from PyQt6.QtWidgets import QApplication

from engines.types import Image
from realtime.flow.meter import Meter, Reading
from realtime.sessions.session import SessionState
from realtime.types import Canvas, SourceStatus
from realtime.viewer.hud import PAD_PX, WIDTH_PX, _facts, _fitting, render_hud
from realtime.viewer.style import text_font
from realtime.viewer.view import VideoView


def canvas_of(image: Image, index: int = 0) -> Canvas:
    image.flags.writeable = False  # like a real canvas
    return Canvas(image, index, 0.0, time.monotonic_ns())


def random_picture(width_px: int, height_px: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), np.uint8)


def pixels_of(picture: QPixmap) -> Image:
    """What was painted, as an (H, W, 3) BGR array."""
    image = picture.toImage().convertToFormat(QImage.Format.Format_RGB32)
    bits = image.constBits()
    assert bits is not None
    rows = np.frombuffer(bits.asstring(image.sizeInBytes()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 4 * image.width()].reshape(image.height(), image.width(), 4)[..., :3].copy()


@pytest.fixture
def view(app: QApplication) -> VideoView:
    view = VideoView()
    view.resize(320, 180)
    return view


@pytest.mark.parametrize("width_px", [320, 318, 317])
def test_a_canvas_of_the_views_size_is_painted_bit_for_bit(view: VideoView, width_px: int) -> None:
    picture = random_picture(width_px, 180)
    view.resize(width_px, 180)
    view.show_canvas(canvas_of(picture))
    assert np.array_equal(pixels_of(view.grab()), picture)


def test_the_next_canvas_replaces_the_picture_in_the_same_buffer(view: VideoView) -> None:
    view.show_canvas(canvas_of(random_picture(320, 180, seed=1)))
    view.grab()
    second = random_picture(320, 180, seed=2)
    view.show_canvas(canvas_of(second))
    assert np.array_equal(pixels_of(view.grab()), second)


def test_canvases_can_change_their_size(view: VideoView) -> None:
    view.show_canvas(canvas_of(random_picture(100, 100)))
    view.grab()
    smaller = random_picture(160, 90)
    view.show_canvas(canvas_of(smaller))
    twice = smaller.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(pixels_of(view.grab()), twice), "nearest: each pixel becomes two by two"


def test_a_scale_that_is_no_whole_number_is_interpolated(view: VideoView) -> None:
    """With the nearest pixel, every other column would be twice as wide as its neighbour."""
    stripes = np.zeros((120, 214, 3), np.uint8)
    stripes[:, ::2] = 255
    view.show_canvas(canvas_of(stripes))
    assert len(np.unique(pixels_of(view.grab())[90])) > 2


@pytest.mark.parametrize(("size_px", "picture_px"), [((400, 180), (40, 0, 320, 180)), ((320, 300), (0, 60, 320, 180))])
def test_the_aspect_is_kept_between_dark_bars(view: VideoView, size_px: tuple[int, int], picture_px: tuple[int, ...]) -> None:
    view.resize(*size_px)
    white = np.full((180, 320, 3), 255, np.uint8)
    view.show_canvas(canvas_of(white))
    x, y, w, h = picture_px
    painted = pixels_of(view.grab())
    assert (painted[y : y + h, x : x + w] == 255).all()
    painted[y : y + h, x : x + w] = 0
    assert painted.max() < 32, "nothing bright outside the picture"


def test_a_canvas_is_reported_once_when_painted_and_never_if_replaced(view: VideoView) -> None:
    reported: list[int] = []
    view.painted.connect(lambda canvas: reported.append(canvas.index))
    view.show_canvas(canvas_of(random_picture(32, 18), 1))
    view.show_canvas(canvas_of(random_picture(32, 18), 2))
    assert reported == []
    view.grab()
    view.grab()
    assert reported == [2]


def test_an_empty_view_is_dark_and_reports_nothing(view: VideoView) -> None:
    reported: list[Canvas] = []
    view.painted.connect(reported.append)
    view.show_canvas(canvas_of(random_picture(32, 18)))
    view.clear()
    assert pixels_of(view.grab()).max() < 32
    assert reported == []


def hud_on(background: int, view: VideoView, room_px: int = 400, width_px: int = 1200) -> tuple[Image, QPixmap]:
    meter = Meter()
    for stage in ("decode", "infer", "draw"):
        meter.add({stage: 12.3})
    state = SessionState("running", source="street.mp4", source_status=SourceStatus("live"), model="road", backend="openvino")
    hud = render_hud(state, meter.reading(captured=10, processed=10), 1.0, QSize(width_px, room_px))
    view.resize(640, 480)
    view.show_canvas(canvas_of(np.full((480, 640, 3), background, np.uint8)))
    view.set_hud(hud)
    return pixels_of(view.grab()), hud


def test_unusable_pictures_are_among_the_drops() -> None:
    facts = {name: text for name, text, _ in _facts(SessionState("running"), Reading(rejected=3))}
    assert facts["dropped"] == "0 model · 0 screen · 3 unusable"


@pytest.mark.parametrize("background", [0, 128, 255])
def test_the_figures_are_readable_on_any_picture(view: VideoView, background: int) -> None:
    painted, hud = hud_on(background, view)
    panel = painted[12 : 12 + hud.height(), 12 : 12 + WIDTH_PX]
    paper = luminance(np.median(panel.reshape(-1, 3), axis=0))
    ink = luminance(panel.reshape(-1, 3).max(axis=0))
    assert (ink + 0.05) / (paper + 0.05) >= 7, "WCAG AAA contrast of text on panel"
    assert (painted[:, 12 + WIDTH_PX :] == background).all(), "the picture beside the panel is unchanged"


def test_the_stage_table_is_left_out_if_there_is_no_room(view: VideoView) -> None:
    _, full = hud_on(0, view)
    _, short = hud_on(0, view, room_px=full.height() - 1)
    assert short.height() < full.height()
    assert short.width() == full.width()


def luminance(bgr: Image) -> float:
    """Relative luminance of one colour, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (bgr / 255).tolist()]
    blue, green, red = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_painting_does_not_wait_for_the_hud(view: VideoView, wait: Callable[..., None]) -> None:
    view.show()
    painted: list[Canvas] = []
    view.painted.connect(painted.append)
    view.show_canvas(canvas_of(random_picture(320, 180)))
    wait(lambda: painted, limit_s=1)
    view.close()


def test_the_hud_says_that_the_model_is_opened_again_and_how_many_frames_it_failed_on() -> None:
    state = SessionState("running", recovering="Recovering, attempt 1 of 3: the device is lost")
    facts = {name: (text, dot) for name, text, dot in _facts(state, Meter().reading(captured=9, processed=6, failed=3))}
    assert facts["engine"][0] == state.recovering
    assert facts["engine"][1], "a dot in a colour of warning"
    assert facts["dropped"][0].startswith("3 failed · ")


def test_over_a_small_picture_the_panel_leaves_most_of_it_free(view: VideoView) -> None:
    large, small = (hud_on(0, view, 400, width_px)[1] for width_px in (1200, 640))
    assert small.height() <= 140 < large.height()


def test_what_a_long_description_says_is_on_two_rows_and_nothing_is_clipped(view: VideoView) -> None:
    """Of an anamorphic clip; and the input, with what was done to it."""
    detail = "1280x720 mpeg2video 29.97 fps, stored as 720x576"
    status = SourceStatus("connecting", detail)
    state = SessionState("running", source_status=status, input="384x640, padding left out")
    facts = _facts(state, Reading())
    rows = _fitting(facts, 1000)
    metrics = QFontMetrics(text_font(12))
    for _, text, dot in rows:
        assert metrics.horizontalAdvance(text) <= WIDTH_PX - 2 * PAD_PX - 60 - (14 if dot else 0), text
    assert " ".join(text for _, text, _ in rows) == " ".join(text for _, text, _ in facts), "nothing is lost"
    assert len(rows) > len(facts)
    room_px = 18.0 * len(rows)
    assert _fitting(facts, room_px) == rows
    names = [name for name, _, _ in _fitting(facts, room_px - 1)]
    assert "input" not in names, "the least important goes first"
    assert "state" in names
