"""Drawing is pure, and exact where it can be; golden images show the rest (UPDATE_GOLDEN=1 rewrites them: check them by eye)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.models.card import InputSpec, ModelCard
from engines.types import VOID_CLASS, Instances, Segmentation, Size
from realtime.knobs import Knobs, MaskStyle
from realtime.render import UNSEEN_SHADE, Look, Painter, compose
from realtime.render.palette import ID_COLOURS, id_colours
from realtime.render.text import label, percent_label
from realtime.types import Frame, Result, Track, as_box

INPUT = InputSpec("image", (64, 48), "nhwc", "uint8", "rgb", "stretch")
STREET = ModelCard(
    "street",
    "semantic",
    INPUT,
    {"labels": "labels"},
    ("road", "pavement", "building", "sky", "car", "person", "tree"),
    things=("car", "person"),
    palette={
        "road": "#804080",
        "pavement": "#f423e8",
        "building": "#8c8c8c",
        "sky": "#4682b4",
        "car": "#0064ff",
        "person": "#dc143c",
        "tree": "#6b8e23",
    },
)
OBJECTS = ModelCard("objects", "yolo_seg", INPUT, {"predictions": "p", "prototypes": "q"}, ("person", "bicycle", "car"))
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
ONLY_MASKS = Knobs(opacity=0.5, boxes=False, labels=False, trails=False)
NOTHING = Knobs(masks=False, boxes=False, labels=False, trails=False)


def grey(width: int = 320, height: int = 180, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def frame_of(image: np.ndarray) -> Frame:
    return Frame(image, 7, 0.25, 123)


def objects(*boxes: tuple[int, int, int, int], width: int = 320, height: int = 180) -> Instances:
    """Ellipses that fill their boxes, classes 0, 1, 2, 0 ..., scores 0.9, 0.8 ..."""
    label_map = np.zeros((height, width), np.uint8)
    for row, (x0, y0, x1, y1) in reversed(list(enumerate(boxes))):
        centre, axes = ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2 - 1, (y1 - y0) // 2 - 1)
        cv2.ellipse(label_map, centre, axes, 0, 0, 360, row + 1, cv2.FILLED)
    count = len(boxes)
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([0.9 - 0.1 * row for row in range(count)], np.float32),
        np.arange(count, dtype=np.int32) % 3,
        label_map,
    )


def track(row: int | None, box: np.ndarray, *, track_id: int = 5, class_id: int = 0, score: float = 0.9, trail: int = 0) -> Track:
    foot = np.array(((box[0] + box[2]) / 2, box[3]), np.float32)
    points = np.array([foot - ((trail - i) * 4, 0) for i in range(trail)], np.float32).reshape(-1, 2)
    return Track(track_id, class_id, score, box, row, points, best_score=score)


def colour_of(track_id: int) -> np.ndarray:
    return id_colours()[track_id % ID_COLOURS].astype(float)


def test_without_anything_to_draw_the_canvas_is_a_copy_of_the_frame() -> None:
    image = grey()
    canvas = compose(Result(frame_of(image), Segmentation(objects((10, 10, 60, 60))), None), NOTHING, Look(OBJECTS))
    assert (canvas.index, canvas.pts_s, canvas.captured_ns) == (7, 0.25, 123)
    assert np.array_equal(canvas.image, image)
    assert not np.shares_memory(canvas.image, image)


def test_the_frame_and_the_masks_are_never_written_to() -> None:
    image, seen = grey(), objects((20, 20, 120, 120), (100, 60, 200, 160))
    class_map = np.full((48, 64), 3, np.uint8)
    for array in (image, class_map, seen.label_map, seen.boxes_px):
        array.setflags(write=False)
    tracks = (track(0, seen.boxes_px[0], trail=9), track(None, as_box(200, 20, 260, 90), track_id=6, trail=5))
    for segmentation in (Segmentation(seen), Segmentation(seen, class_map)):
        for result in (Result(frame_of(image), segmentation, tracks), Result(frame_of(image), segmentation, None)):
            for width in (320, 160):
                first = compose(result, Knobs(), Look(STREET, width))
                again = compose(result, Knobs(), Look(STREET, width))
                assert np.array_equal(first.image, again.image)
    assert (image == 100).all()


def test_masks_cover_their_pixels_in_their_colours() -> None:
    seen = objects((20, 20, 120, 120), (180, 40, 300, 160))
    look = Look(OBJECTS)
    canvas = compose(Result(frame_of(grey()), Segmentation(seen), None), ONLY_MASKS, look)
    inner = [cv2.erode((seen.label_map == row + 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0 for row in (0, 1)]
    for row, where in enumerate(inner):
        expected = 0.5 * 100 + 0.5 * look.class_bgr[row].astype(float)
        assert np.abs(canvas.image[where] - expected).max() <= 1
    assert (canvas.image[seen.label_map == 0] == 100).all(), "pixels outside masks are unchanged"
    edge = (seen.label_map == 1) & ~(cv2.erode((seen.label_map == 1).astype(np.uint8), CROSS) > 0)
    assert (canvas.image[edge] == look.class_bgr[0]).all(), "a sharp edge in the full colour"


def test_where_masks_overlap_the_one_with_the_higher_score_is_seen() -> None:
    seen = objects((20, 20, 120, 120), (80, 20, 180, 120))
    look = Look(OBJECTS)
    canvas = compose(Result(frame_of(grey()), Segmentation(seen), None), ONLY_MASKS, look)
    assert np.abs(canvas.image[70, 100] - (50 + 0.5 * look.class_bgr[0].astype(float))).max() <= 1


def test_a_whole_mask_is_painted_although_its_track_has_another_box() -> None:
    seen = objects((40, 40, 160, 160))
    result = Result(frame_of(grey()), Segmentation(seen), (track(0, as_box(80, 80, 100, 100)),))
    canvas = compose(result, ONLY_MASKS, Look(OBJECTS))
    assert (canvas.image[seen.label_map == 1] != 100).any(axis=1).all()


def test_tracked_objects_have_the_colour_of_their_id() -> None:
    seen = objects((40, 40, 160, 160))
    for track_id in (1, 2, ID_COLOURS + 1):
        result = Result(frame_of(grey()), Segmentation(seen), (track(0, seen.boxes_px[0], track_id=track_id),))
        canvas = compose(result, ONLY_MASKS, Look(OBJECTS))
        assert np.abs(canvas.image[100, 100] - (50 + 0.5 * colour_of(track_id))).max() <= 1


def test_an_object_without_a_track_is_not_drawn_while_a_tracker_runs() -> None:
    seen = objects((40, 40, 160, 160))
    image = grey()
    canvas = compose(Result(frame_of(image), Segmentation(seen), ()), Knobs(), Look(OBJECTS))
    assert np.array_equal(canvas.image, image)


def test_a_coasting_track_has_a_darker_box_and_no_mask() -> None:
    box = as_box(40, 40, 160, 160)
    knobs = Knobs(labels=False, trails=False)
    canvas = compose(Result(frame_of(grey()), Segmentation(objects()), (track(None, box),)), knobs, Look(OBJECTS))
    assert np.abs(canvas.image[40, 100] - UNSEEN_SHADE * colour_of(5)).max() <= 1
    assert (canvas.image[60:140, 60:140] == 100).all()


def test_a_trail_ends_at_the_bottom_of_the_box() -> None:
    box = as_box(100, 40, 160, 120)
    knobs = Knobs(masks=False, boxes=False, labels=False)
    canvas = compose(Result(frame_of(grey()), Segmentation(objects()), (track(None, box, trail=12),)), knobs, Look(OBJECTS))
    drawn = np.argwhere((canvas.image != 100).any(axis=2))
    assert 118 <= drawn[:, 0].min() <= drawn[:, 0].max() <= 122
    assert drawn[:, 1].min() <= 86
    assert drawn[:, 1].max() >= 126


@pytest.mark.parametrize("tracked", [True, False])
def test_a_hidden_class_is_not_drawn_at_all(tracked: bool) -> None:
    seen, image = objects((40, 40, 160, 160)), grey()
    tracks = (track(0, seen.boxes_px[0], trail=5),) if tracked else None
    knobs = Knobs(hidden_classes=frozenset({0}))
    assert np.array_equal(compose(Result(frame_of(image), Segmentation(seen), tracks), knobs, Look(OBJECTS)).image, image)


@pytest.mark.parametrize("tracked", [True, False])
def test_an_object_below_the_threshold_is_not_drawn(tracked: bool) -> None:
    seen, image = objects((40, 40, 160, 160)), grey()
    result = Result(frame_of(image), Segmentation(seen), (track(0, seen.boxes_px[0]),) if tracked else None)
    assert np.array_equal(compose(result, Knobs(threshold=0.95), Look(OBJECTS)).image, image)
    assert not np.array_equal(compose(result, Knobs(threshold=0.85), Look(OBJECTS)).image, image)


def test_opacity_zero_paints_no_mask() -> None:
    seen, image = objects((40, 40, 160, 160)), grey()
    knobs = replace(ONLY_MASKS, opacity=0.0)
    for segmentation in (Segmentation(seen), Segmentation(seen, np.zeros((48, 64), np.uint8))):
        assert np.array_equal(compose(Result(frame_of(image), segmentation, None), knobs, Look(STREET)).image, image)


def test_classes_are_painted_in_the_cards_colours_except_void_and_hidden_ones() -> None:
    class_map = np.zeros((180, 320), np.uint8)
    class_map[:, 100:200], class_map[:, 200:] = 4, VOID_CLASS
    look = Look(STREET)
    for hidden, painted in ((frozenset(), True), (frozenset({4}), False)):
        knobs = replace(ONLY_MASKS, hidden_classes=hidden)
        image = compose(Result(frame_of(grey()), Segmentation(objects(), class_map), None), knobs, look).image
        assert np.abs(image[:, :100] - (50 + 0.5 * np.array((128, 64, 128)))).max() <= 1
        car = 50 + 0.5 * np.array((255, 100, 0)) if painted else np.array((100, 100, 100))
        assert np.abs(image[:, 100:200] - car).max() <= 1
        assert (image[:, 200:] == 100).all()


def test_a_coarse_class_map_never_bleeds_into_unpainted_areas() -> None:
    class_map = np.full((18, 32), VOID_CLASS, np.uint8)
    class_map[:, :16] = 4
    image = compose(Result(frame_of(grey()), Segmentation(objects(), class_map), None), ONLY_MASKS, Look(STREET)).image
    assert (image[:, 160:] == 100).all()
    painted = image[:, :160].reshape(-1, 3).astype(float)
    assert np.abs(painted - (50 + 0.5 * np.array((255, 100, 0)))).max() <= 2, "nor does black bleed into painted areas"


@pytest.mark.parametrize(
    ("frame", "width_px", "expected"),
    [((640, 360), 320, (320, 180)), ((640, 360), 1280, (640, 360)), ((101, 57), 101, (101, 57)), ((1000, 3), 160, (160, 2))],
)
def test_the_canvas_has_a_maximum_width(frame: tuple[int, int], width_px: int, expected: tuple[int, int]) -> None:
    result = Result(frame_of(grey(*frame)), Segmentation(objects(width=frame[0], height=frame[1])), None)
    assert Size.of(compose(result, Knobs(), Look(OBJECTS, width_px)).image) == Size(*expected)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((176, 144), (704, 576)),
        ((640, 360), (640, 360)),
        ((32, 100), (224, 700)),  # an upright one has room above and below
        ((640, 480), (640, 480)),
        ((600, 338), (1200, 676)),
        ((16, 16), (640, 640)),
    ],
)
def test_small_frames_are_enlarged_for_a_screen(frame: tuple[int, int], expected: tuple[int, int]) -> None:
    """And masks move with their objects."""
    width, height = frame
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    result = Result(frame_of(grey(*frame)), Segmentation(objects(box, width=width, height=height)), None)
    canvas = compose(result, ONLY_MASKS, Look(OBJECTS, 1280, least_width_px=640))
    assert Size.of(canvas.image) == Size(*expected)
    x, y, w, h = cv2.boundingRect((canvas.image != 100).any(axis=2).astype(np.uint8))
    times = expected[0] / width
    assert np.abs(np.array((x, y, x + w, y + h)) - np.array(box) * times).max() <= times + 1


def test_everything_is_scaled_to_a_smaller_canvas() -> None:
    seen = objects((80, 80, 320, 320), width=640, height=360)
    result = Result(frame_of(grey(640, 360)), Segmentation(seen), None)
    canvas = compose(result, replace(ONLY_MASKS, boxes=True), Look(OBJECTS, 320))
    drawn = np.argwhere((canvas.image != 100).any(axis=2))
    assert np.abs(drawn.min(axis=0) - 40).max() <= 1
    assert np.abs(drawn.max(axis=0) - 159).max() <= 1


def test_a_model_of_more_classes_than_a_byte_holds_can_be_drawn() -> None:
    card = ModelCard("many", "yolo_seg", INPUT, OBJECTS.outputs, tuple(f"class {i}" for i in range(600)))
    seen = replace(objects((40, 40, 160, 160)), class_ids=np.array([599], np.int32))
    canvas = compose(Result(frame_of(grey()), Segmentation(seen), None), Knobs(), Look(card))
    assert (canvas.image != 100).any()


def test_a_track_outside_the_picture_is_not_drawn() -> None:
    for box in (as_box(-90, 20, -10, 90), as_box(330, 20, 400, 90), as_box(20, -90, 90, -1), as_box(20, 181, 90, 260)):
        canvas = compose(Result(frame_of(grey()), Segmentation(objects()), (track(None, box),)), Knobs(), Look(OBJECTS))
        assert (canvas.image == 100).all(), "not even a label at the edge"


COORDINATES = st.floats(-1e7, 1e7, width=32) | st.integers(-60, 400).map(float)
BOXES = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), max_size=5)


@given(BOXES, st.sampled_from([(16, 16), (320, 180), (17, 240), (1, 1)]), st.booleans(), st.sampled_from([16, 33, 1280]))
@hypothesis_settings(max_examples=150, deadline=None)
def test_boxes_anywhere_can_be_drawn_on_any_frame(
    boxes: list[tuple[float, float, float, float]], size: tuple[int, int], tracked: bool, width_px: int
) -> None:
    width, height = size
    count = len(boxes)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    corners = np.concatenate((np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])), axis=1)
    label_map = (np.arange(width * height) % (count + 1)).reshape(height, width).astype(np.uint8)
    seen = Instances(corners, np.full(count, 0.7, np.float32), np.arange(count, dtype=np.int32) % 3, label_map)
    tracks = tuple(track(row if row % 2 else None, corners[row], track_id=row + 1, trail=6) for row in range(count))
    image = grey(width, height)
    canvas = compose(Result(frame_of(image), Segmentation(seen), tracks if tracked else None), Knobs(), Look(OBJECTS, width_px))
    assert Size.of(canvas.image) == Size(width, height).fitted_to_width(width_px)
    assert canvas.image.dtype == np.uint8
    assert (image == 100).all()


def test_a_whole_label_is_drawn_where_the_layout_puts_it() -> None:
    seen = objects((40, 60, 160, 160))
    tracks = (track(0, seen.boxes_px[0], track_id=7),)
    knobs = Knobs(masks=False, boxes=False, trails=False)
    image = compose(Result(frame_of(grey()), Segmentation(seen), tracks), knobs, Look(OBJECTS)).image
    drawn = np.argwhere((image != 100).any(axis=2))
    name, percent = label("person 7", 11, tuple(colour_of(7).astype(int).tolist())), percent_label(90, 11, (0, 0, 0))
    assert drawn.min(axis=0).tolist() == [60 - name.shape[0], 40], "on its box"
    assert (np.ptp(drawn, axis=0) + 1).tolist() == [name.shape[0], name.shape[1] + percent.shape[1]]
    assert np.array_equal(image[60 - name.shape[0] : 60, 40 : 40 + name.shape[1]], name)


def test_a_painter_keeps_the_places_of_labels_and_otherwise_draws_like_compose() -> None:
    look, painter = Look(OBJECTS), Painter()
    knobs = Knobs(trails=False)
    for step in range(6):
        tracks = (
            track(None, as_box(40, 100, 80, 170), track_id=1),
            track(0, as_box(20, 60, 60, 90), track_id=2),
            track(1, as_box(95 + 6 * (step % 2), 60, 135, 90), track_id=3),
        )
        result = Result(frame_of(grey()), Segmentation(objects((20, 60, 60, 90), (95, 60, 135, 90))), tracks)
        painted, composed = painter(result, knobs, look).image, compose(result, knobs, look).image
        if step == 0:
            assert np.array_equal(painted, composed)
        without = replace(knobs, labels=False)
        assert np.array_equal(painter(result, without, look).image, compose(result, without, look).image)


@pytest.mark.parametrize("style", ["both", "contour", "fill"])
def test_masks_are_areas_or_contours_or_both(style: MaskStyle) -> None:
    seen = objects((20, 20, 120, 120), (180, 40, 300, 160))
    look = Look(OBJECTS)
    image = compose(Result(frame_of(grey()), Segmentation(seen), None), replace(ONLY_MASKS, mask_style=style), look).image
    mask = (seen.label_map == 1).astype(np.uint8)
    inner = cv2.erode(mask, CROSS) > 0
    rim = (mask > 0) & ~inner
    blended, full = 50 + 0.5 * look.class_bgr[0].astype(float), look.class_bgr[0].astype(float)
    assert np.abs(image[inner] - (100 if style == "contour" else blended)).max() <= 1
    assert np.abs(image[rim] - (blended if style == "fill" else full)).max() <= 1


def test_many_objects_are_painted_like_a_single_one() -> None:
    """Tiles with one owner and with several are filled in different ways, with the same result."""
    boxes = [(4 + 24 * column, 4 + 22 * row, 24 + 24 * column, 24 + 22 * row) for row in range(8) for column in range(13)]
    seen = objects(*boxes)
    seen = replace(seen, scores=np.linspace(0.9, 0.5, len(boxes)).astype(np.float32))
    look = Look(OBJECTS)
    together = compose(Result(frame_of(grey()), Segmentation(seen), None), ONLY_MASKS, look).image
    for row in (0, 50, 103):
        alone = replace(seen, scores=np.where(np.arange(len(boxes)) == row, 0.9, 0).astype(np.float32))
        single = compose(Result(frame_of(grey()), Segmentation(alone), None), ONLY_MASKS, look).image
        where = seen.label_map == row + 1
        assert np.abs(together[where].astype(int) - single[where].astype(int)).max() <= 1


@pytest.mark.parametrize("freshness", [1.0, 0.6, 0.2, 0.0])
def test_everything_drawn_fades_with_the_freshness(freshness: float) -> None:
    seen = objects((40, 60, 160, 160))
    result = Result(frame_of(grey()), Segmentation(seen), (track(0, seen.boxes_px[0], trail=20),))
    fresh = compose(result, Knobs(), Look(OBJECTS)).image.astype(float)
    faded = compose(replace(result, freshness=freshness), Knobs(), Look(OBJECTS)).image
    assert np.abs(faded - (freshness * fresh + (1 - freshness) * 100)).max() <= 1


def test_a_trail_fades_towards_its_old_end() -> None:
    box = as_box(200, 40, 260, 120)
    knobs = Knobs(masks=False, boxes=False, labels=False)
    image = compose(Result(frame_of(grey()), Segmentation(objects()), (track(None, box, trail=40),)), knobs, Look(OBJECTS)).image
    along = np.abs(image[116:125].astype(int) - 100).max(axis=(0, 2))
    steps = [int(along[x : x + 20].max()) for x in range(75, 225, 30)]
    assert steps == sorted(steps)
    assert steps[0] < 0.4 * steps[-1]


@pytest.mark.parametrize("row", [0, None])
def test_the_selected_object_has_a_halo_around_it(row: int | None) -> None:
    seen = objects((100, 40, 160, 140))
    result = Result(frame_of(grey()), Segmentation(seen), (track(row, seen.boxes_px[0]),))
    plain, chosen = (compose(result, Knobs(labels=False, selected_id=i), Look(OBJECTS)).image for i in (None, 5))
    changed = (plain != chosen).any(axis=2)
    white = (chosen == 255).all(axis=2)
    assert white.sum() > 150
    assert changed[white].all()
    if row is not None:
        assert not white[seen.label_map > 0].any(), "around the object, not over it"
    assert np.array_equal(plain, compose(result, Knobs(labels=False, selected_id=6), Look(OBJECTS)).image)


def test_lines_and_letters_grow_with_the_canvas() -> None:
    heights, strokes = [], []
    for width in (640, 1280, 1920):
        seen = objects((width // 4, width // 4, width // 2, width // 2), width=width, height=width * 9 // 16)
        result = Result(frame_of(grey(width, width * 9 // 16)), Segmentation(seen), None)
        labels = compose(result, Knobs(masks=False, boxes=False), Look(OBJECTS, 1920)).image
        heights.append(int(np.ptp(np.argwhere((labels != 100).any(axis=2))[:, 0])) + 1)
        boxes = compose(result, Knobs(masks=False, labels=False), Look(OBJECTS, 1920)).image
        strokes.append(int((boxes[width // 3] != 100).any(axis=1).sum()) // 2)
    assert heights == sorted(set(heights))
    assert strokes == [1, 2, 3]


# Golden images: drawn scenes, so that no photograph is needed.


def painted_street() -> np.ndarray:
    """320x180: sky, houses, a tree, a road with a dashed line, two cars and a person."""
    image = np.zeros((180, 320, 3), np.uint8)
    image[:90] = np.linspace((235, 190, 140), (240, 225, 205), 90)[:, None]
    image[90:] = np.linspace((95, 95, 98), (62, 62, 64), 90)[:, None]
    cv2.fillPoly(image, [np.array(((0, 90), (0, 40), (60, 34), (110, 60), (110, 90)))], (120, 140, 165))
    cv2.fillPoly(image, [np.array(((320, 90), (320, 30), (262, 40), (215, 66), (215, 90)))], (105, 120, 150))
    for x, y in ((14, 50), (34, 48), (58, 50), (284, 50), (304, 46)):
        cv2.rectangle(image, (x, y), (x + 9, y + 12), (70, 80, 90), cv2.FILLED)
    cv2.circle(image, (132, 66), 20, (60, 110, 60), cv2.FILLED)
    cv2.rectangle(image, (130, 80), (134, 92), (45, 65, 85), cv2.FILLED)
    cv2.fillPoly(image, [np.array(((0, 180), (0, 120), (130, 90), (146, 90), (60, 180)))], (150, 150, 152))
    for y in (100, 118, 142):
        cv2.line(image, (166 - (y - 100) // 6, y), (164 - (y - 100) // 4, y + 10 + (y - 100) // 5), (225, 225, 225), 2)
    for (x0, y0, x1, y1), colour in zip(CARS, ((40, 40, 150), (150, 120, 60)), strict=True):
        cv2.rectangle(image, (x0, y0 + (y1 - y0) // 3), (x1, y1 - 3), colour, cv2.FILLED)
        cv2.rectangle(image, (x0 + 8, y0), (x1 - 8, y0 + (y1 - y0) // 3), tuple(v // 2 for v in colour), cv2.FILLED)
    cv2.ellipse(image, (51, 128), (7, 18), 0, 0, 360, (50, 60, 90), cv2.FILLED)
    cv2.circle(image, (51, 106), 6, (150, 170, 200), cv2.FILLED)
    return cv2.GaussianBlur(image, (3, 3), 0)


CARS = ((182, 92, 272, 158), (148, 84, 182, 108))
PERSON = (43, 99, 60, 147)


def street_objects() -> Instances:
    label_map = np.zeros((180, 320), np.uint8)
    for row, (x0, y0, x1, y1) in enumerate(CARS):
        cv2.rectangle(label_map, (x0, y0 + (y1 - y0) // 3), (x1 - 1, y1 - 1), row + 1, cv2.FILLED)
        cv2.rectangle(label_map, (x0 + 8, y0), (x1 - 9, y0 + (y1 - y0) // 3), row + 1, cv2.FILLED)
    cv2.ellipse(label_map, (51, 128), (8, 19), 0, 0, 360, 3, cv2.FILLED)
    cv2.circle(label_map, (51, 106), 7, 3, cv2.FILLED)
    boxes = np.array((*CARS, PERSON), np.float32)
    return Instances(boxes, np.array((0.94, 0.81, 0.66), np.float32), np.array((2, 2, 0), np.int32), label_map)


def street_classes() -> np.ndarray:
    """At half the frame's resolution, like a network's."""
    class_map = np.full((180, 320), 3, np.uint8)
    cv2.fillPoly(class_map, [np.array(((0, 90), (0, 40), (60, 34), (110, 60), (110, 90)))], 2)
    cv2.fillPoly(class_map, [np.array(((320, 90), (320, 30), (262, 40), (215, 66), (215, 90)))], 2)
    cv2.circle(class_map, (132, 66), 20, 6, cv2.FILLED)
    class_map[90:] = 0
    cv2.fillPoly(class_map, [np.array(((0, 180), (0, 120), (130, 90), (146, 90), (60, 180)))], 1)
    labels = street_objects().label_map
    class_map[(labels == 1) | (labels == 2)] = 4
    class_map[labels == 3] = 5
    class_map[172:] = VOID_CLASS
    return class_map[::2, ::2].copy()


def street_surface() -> np.ndarray:
    """The camera's lane and its lines, at half the frame's resolution."""
    surface = np.zeros((90, 160), np.uint8)
    cv2.fillPoly(surface, [np.array(((32, 90), (74, 48), (84, 48), (118, 90)))], 1)
    cv2.line(surface, (74, 48), (34, 88), 2, 2)
    cv2.line(surface, (84, 48), (116, 88), 2, 2)
    surface[cv2.resize(street_objects().label_map, (160, 90), interpolation=cv2.INTER_NEAREST) > 0] = 0
    return surface


def street_alpha() -> np.ndarray:
    """The objects as a matte with soft edges, at a third of the frame's resolution."""
    opaque = (street_objects().label_map > 0).astype(np.uint8) * 255
    return cv2.GaussianBlur(cv2.resize(opaque, (107, 60), interpolation=cv2.INTER_AREA), (3, 3), 0)


def street_tracks(class_ids: tuple[int, int]) -> tuple[Track, ...]:
    car, person = class_ids
    boxes = street_objects().boxes_px
    return (
        track(0, boxes[0], track_id=1, class_id=car, score=0.94, trail=16),
        track(1, boxes[1], track_id=2, class_id=car, score=0.81, trail=8),
        track(2, boxes[2], track_id=3, class_id=person, score=0.66, trail=10),
        track(None, as_box(276, 92, 312, 124), track_id=4, class_id=car, score=0.5, trail=6),
    )


GOLDEN = {
    "instances_tracked": (OBJECTS, Segmentation(street_objects()), street_tracks((2, 0)), Knobs()),
    "instances_alone": (OBJECTS, Segmentation(street_objects()), None, Knobs()),
    "semantic_tracked": (STREET, Segmentation(street_objects(), street_classes()), street_tracks((4, 5)), Knobs()),
    "surface": (STREET, Segmentation(street_objects(), street_classes(), surface=street_surface()), None, Knobs(labels=False)),
    "matte_tracked": (OBJECTS, Segmentation(street_objects(), alpha=street_alpha()), street_tracks((2, 0)), Knobs()),
    "matte_background_blurred": (
        OBJECTS,
        Segmentation(street_objects(), alpha=street_alpha()),
        None,
        Knobs(masks=False, boxes=False, labels=False, background=True),
    ),
    "semantic_no_sky": (
        STREET,
        Segmentation(street_objects(), street_classes()),
        None,
        Knobs(hidden_classes=frozenset({3}), boxes=False, labels=False),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_pictures_match_the_golden_images(name: str, repo_root: Path) -> None:
    card, segmentation, tracks, knobs = GOLDEN[name]
    image = compose(Result(frame_of(painted_street()), segmentation, tracks), knobs, Look(card)).image
    path = repo_root / "tests" / "golden" / f"{name}.png"
    if os.environ.get("UPDATE_GOLDEN"):
        cv2.imwrite(str(path), image, (cv2.IMWRITE_PNG_COMPRESSION, 9))
    golden = cv2.imread(str(path))
    assert golden is not None, f"{path.name} is missing: run with UPDATE_GOLDEN=1 and check it by eye"
    assert golden.shape == image.shape
    differs = (np.abs(golden.astype(int) - image.astype(int)).max(axis=2) > 12).mean()
    assert differs < 0.005, f"{differs:.1%} of the picture differs; if that is intended, run with UPDATE_GOLDEN=1 and look at it"
