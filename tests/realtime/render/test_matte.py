"""Mattes on the canvas: edges where the picture has them, each object in its colour, exact at 0 and 255."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.render.matte import Matte
from realtime.render.palette import ID_COLOURS, id_colours
from realtime.streams.backdrop import open_background
from realtime.types import Frame, Result, Track

INPUT = InputSpec("image", (96, 64), "nhwc", "uint8", "rgb", "stretch")
PEOPLE = ModelCard("people", "matting", INPUT, {"alpha": "pha"}, ("person",), things=("person",))
ONLY_MASKS = Knobs(opacity=0.5, boxes=False, labels=False, trails=False)
WIDTH, HEIGHT = 640, 360


def grey(width: int = WIDTH, height: int = HEIGHT, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def coarse(*discs: tuple[int, int, int], grid: tuple[int, int] = (96, 54)) -> np.ndarray:
    """(x, y, radius) on the grid: a soft matte."""
    alpha = np.zeros(grid[::-1], np.uint8)
    for x, y, radius in discs:
        cv2.circle(alpha, (x, y), radius, 255, cv2.FILLED)
    return cv2.GaussianBlur(alpha, (5, 5), 0)


def objects(label_map: np.ndarray, scores: tuple[float, ...]) -> Instances:
    scale = np.array((WIDTH / label_map.shape[1], HEIGHT / label_map.shape[0]) * 2, np.float32)
    boxes = []
    for row in range(len(scores)):
        x, y, w, h = cv2.boundingRect((label_map == row + 1).astype(np.uint8))
        boxes.append((x, y, x + w, y + h))
    corners = np.array(boxes, np.float32).reshape(-1, 4) * scale
    return Instances(corners, np.array(scores, np.float32), np.zeros(len(scores), np.int32), label_map)


def two_people() -> tuple[np.ndarray, Instances]:
    alpha = coarse((25, 27, 14), (70, 27, 14))
    label_map = np.where(alpha > 127, np.uint8(1), np.uint8(0))
    label_map[:, 48:] *= 2
    return alpha, objects(label_map, (0.95, 0.9))


def track(row: int, track_id: int, instances: Instances) -> Track:
    return Track(track_id, 0, float(instances.scores[row]), instances.boxes_px[row], row, np.zeros((0, 2), np.float32))


def drawn(
    alpha: np.ndarray,
    instances: Instances,
    knobs: Knobs = ONLY_MASKS,
    tracks: tuple[Track, ...] | None = None,
    image: np.ndarray | None = None,
) -> np.ndarray:
    frame = Frame(grey() if image is None else image, 0, 0.0, 0)
    return compose(Result(frame, Segmentation(instances, alpha=alpha), tracks), knobs, Look(PEOPLE)).image


def tinted(colour: np.ndarray, opacity: float = 0.5, under: float = 100) -> np.ndarray:
    return (1 - opacity) * under + opacity * colour.astype(float)


def test_a_matte_is_painted_with_its_opacity() -> None:
    alpha, seen = two_people()
    image = drawn(alpha, seen)
    colour = Look(PEOPLE).class_bgr[0]
    assert np.abs(image[180, 166] - tinted(colour)).max() <= 2
    assert (image[180, 320] == 100).all(), "between them"
    assert (image[:8] == 100).all()
    half = drawn(np.full((54, 96), 96, np.uint8), Instances.none(Size(96, 54)))  # below one half, so without a contour
    shown = (96 / 255 - 0.1) / 0.8
    assert np.abs(half[100:260, 100:540].astype(float) - tinted(colour, 0.5 * shown)).max() <= 2


def test_an_edge_is_moved_to_the_pictures_edge() -> None:
    """The coarse matte is soft and misplaced: the picture's edge is four pixels, two cells, to the right."""
    image = grey(value=60)
    image[:, 324:] = 200
    alpha = np.zeros((180, 320), np.uint8)
    alpha[:, 160:] = 255  # from pixel 320 on
    refined = Matte.over(image, cv2.GaussianBlur(alpha, (5, 5), 0))
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[refined.place] = refined.alpha
    steps = np.abs(np.diff(whole[HEIGHT // 2].astype(int)))
    assert steps.argmax() == 323, "the step is from pixel 323 to 324, to the pixel"
    assert steps.max() > 80
    plain = cv2.resize(cv2.GaussianBlur(alpha, (5, 5), 0), (WIDTH, HEIGHT))
    assert np.abs(np.diff(plain[HEIGHT // 2].astype(int))).argmax() != 323
    assert (whole[:, :310] == 0).all()
    assert (whole[:, 324:] == 255).all()


def test_an_empty_and_a_full_matte_stay_exact() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert Matte.over(noise, np.zeros((54, 96), np.uint8)).alpha.size == 0
    full = Matte.over(noise, np.full((54, 96), 255, np.uint8))
    assert full.alpha.shape == (HEIGHT, WIDTH)
    assert (full.alpha == 255).all()
    image = drawn(np.zeros((54, 96), np.uint8), Instances.none(Size(96, 54)), image=noise)
    assert np.array_equal(image, noise)


def test_tracked_people_have_the_colours_of_their_ids_including_soft_edges() -> None:
    alpha, seen = two_people()
    image = drawn(alpha, seen, tracks=(track(0, 3, seen), track(1, 4, seen)))
    for x, track_id in ((166, 3), (466, 4)):
        assert np.abs(image[180, x] - tinted(id_colours()[track_id % ID_COLOURS])).max() <= 2
    whole = Matte.over(grey(), alpha)
    soft = np.zeros((HEIGHT, WIDTH), np.uint8)
    soft[whole.place] = whole.alpha
    ys, xs = np.nonzero((soft > 30) & (soft < 110))  # the fringe outside of every object
    colours = id_colours()[np.where(xs < 320, 3, 4)].astype(float)
    share = 0.5 * soft[ys, xs, None] / 255
    assert len(ys) > 100
    assert np.abs(image[ys, xs] - ((1 - share) * 100 + share * colours)).max() <= 3


def test_people_who_touch_are_separated_by_the_label_map() -> None:
    alpha = np.full((54, 96), 255, np.uint8)
    label_map = np.ones((54, 96), np.uint8)
    label_map[:, 48:] = 2
    seen = objects(label_map, (0.9, 0.9))
    image = drawn(alpha, seen, tracks=(track(0, 3, seen), track(1, 4, seen)))
    for x, track_id in ((300, 3), (340, 4)):
        assert np.abs(image[180, x] - tinted(id_colours()[track_id % ID_COLOURS])).max() <= 2


def test_a_matte_is_painted_while_its_track_is_unconfirmed() -> None:
    alpha, seen = two_people()
    image = drawn(alpha, seen, tracks=(track(0, 3, seen),))
    assert np.abs(image[180, 466] - tinted(Look(PEOPLE).class_bgr[0])).max() <= 2


@pytest.mark.parametrize("tracked", [True, False])
def test_an_object_below_the_threshold_is_not_painted_and_does_not_darken_a_neighbour(tracked: bool) -> None:
    alpha, seen = two_people()
    tracks = (track(0, 3, seen),) if tracked else None
    image = drawn(alpha, seen, replace(ONLY_MASKS, threshold=0.92), tracks)
    assert (image[:, 360:] == 100).all()
    assert np.abs(image[180, 166] - tinted(id_colours()[3] if tracked else Look(PEOPLE).class_bgr[0])).max() <= 2


def test_a_hidden_class_opacity_zero_and_masks_off_paint_nothing() -> None:
    alpha, seen = two_people()
    for knobs in (
        replace(ONLY_MASKS, hidden_classes=frozenset({0})),
        replace(ONLY_MASKS, opacity=0.0),
        replace(ONLY_MASKS, masks=False),
    ):
        for instances in (seen, Instances.none(Size(96, 54))):
            assert np.array_equal(drawn(alpha, instances, knobs), grey())


def test_the_contour_is_one_sharp_line() -> None:
    alpha, seen = two_people()
    knobs = replace(ONLY_MASKS, opacity=0.3)
    image = drawn(alpha, seen, knobs)
    colour = Look(PEOPLE).class_bgr[0].astype(float)
    row = image[180, :320].astype(float)
    share = ((row - 100) / (colour - 100)).mean(axis=1)
    strong = np.flatnonzero(share > 0.6)
    assert len(strong) == 2, "one pixel on each side"
    assert share[strong].min() > 0.8
    faint = drawn(alpha, seen, replace(ONLY_MASKS, opacity=0.05))
    assert (np.abs(faint.astype(float) - 100) <= 0.2 * np.abs(colour - 100) + 2).all(), "fades with the area"


@pytest.mark.parametrize(("style", "within", "lines_px"), [("both", 0.3, (1, 1)), ("fill", 0.3, ()), ("contour", 0.0, (2, 2))])
def test_a_matte_is_an_area_a_contour_or_both(style: str, within: float, lines_px: tuple[int, ...]) -> None:
    alpha, seen = two_people()
    image = drawn(alpha, seen, replace(ONLY_MASKS, opacity=0.3, mask_style=style))
    colour = Look(PEOPLE).class_bgr[0].astype(float)
    share = ((image[180, :320].astype(float) - 100) / (colour - 100)).mean(axis=1)
    assert share[166] == pytest.approx(within, abs=0.02)
    strong = np.flatnonzero(share > 0.6)
    assert tuple(map(len, np.split(strong, np.flatnonzero(np.diff(strong) > 1) + 1)) if len(strong) else ()) == lines_px


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([(1, 1), (16, 16), (320, 180), (17, 240), (641, 359), (1000, 3)]),
    st.sampled_from([16, 33, 1280]),
    st.integers(0, 4),
    st.booleans(),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_matte_can_be_drawn_on_any_frame(
    columns: int, rows: int, frame: tuple[int, int], width_px: int, count: int, background: bool
) -> None:
    rng = np.random.default_rng(columns * 97 + rows)
    alpha = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    label_map = rng.integers(0, count + 1, (rows, columns)).astype(np.uint8)
    boxes = np.tile(np.array((0, 0, *frame), np.float32), (count, 1))
    seen = Instances(boxes, np.full(count, 0.8, np.float32), np.zeros(count, np.int32), label_map)
    image = rng.integers(0, 256, (frame[1], frame[0], 3)).astype(np.uint8)
    before = image.copy()
    result = Result(Frame(image, 0, 0.0, 0), Segmentation(seen, alpha=alpha), None)
    canvas = compose(result, Knobs(background=background), Look(PEOPLE, width_px))
    assert Size.of(canvas.image) == Size(*frame).fitted_to_width(width_px)
    assert canvas.image.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", ["blur", "#00b140"])
def test_a_frame_without_its_matte_shows_nothing_of_the_room(name: str) -> None:
    """After a failure of the model the camera's picture was drawn as it is."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    missed = Result(Frame(image, 0, 0.0, 0), Segmentation(Instances.none(Size(96, 54))), None, error="the model failed")
    look = Look(PEOPLE, background=open_background(name))
    seen = compose(missed, replace(ONLY_MASKS, background=True), look).image.astype(int)
    assert seen.std(axis=(0, 1)).max() < 15, "the room is noise of 74"
    assert np.array_equal(compose(missed, ONLY_MASKS, look).image, image), "without a background it is the frame"
