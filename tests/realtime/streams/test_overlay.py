"""The live overlay: masks and boxes move with their objects and the camera, and fade with age."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.types import VOID_CLASS, Instances, Segmentation
from realtime.streams.overlay import FRESH_S, GONE_S, Anchor, carried
from realtime.types import Frame, Result, Track, as_box

HEIGHT, WIDTH = 240, 320
MAP = 2
"""Maps have half the frame's resolution."""

Boxes = list[tuple[int, int, int, int]]


def picture(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Discs of all sizes: corners everywhere."""
    rng = np.random.default_rng(seed)
    image = np.zeros((HEIGHT + 80, WIDTH + 80, 3), np.uint8)
    for _ in range(400):
        centre = (int(rng.integers(WIDTH + 80)), int(rng.integers(HEIGHT + 80)))
        cv2.circle(image, centre, int(rng.integers(2, 14)), rng.integers(0, 256, 3).tolist(), cv2.FILLED)
    return image


def frame(index: int = 0, shift_px: tuple[int, int] = (0, 0)) -> Frame:
    """The picture seen by a camera that makes it move by `shift_px`."""
    x, y = 40 - shift_px[0], 40 - shift_px[1]
    return Frame(np.ascontiguousarray(picture()[y : y + HEIGHT, x : x + WIDTH]), index, index / 30, index)


def result(boxes: Boxes, velocities: list[tuple[float, float, float, float]] | None = None, **maps: object) -> Result:
    labels = np.zeros((HEIGHT // MAP, WIDTH // MAP), np.uint8)
    for row, (x0, y0, x1, y1) in reversed(list(enumerate(boxes))):
        labels[y0 // MAP : y1 // MAP, x0 // MAP : x1 // MAP] = row + 1
    count = len(boxes)
    instances = Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count).astype(np.float32),
        np.ones(count, np.int32),
        labels,
    )
    tracks = tuple(
        Track(row + 7, 1, 0.9, as_box(*box), row, np.zeros((3, 2), np.float32), velocity_px_s=np.array(velocity, np.float32))
        for row, (box, velocity) in enumerate(zip(boxes, velocities or [], strict=False))
    )
    return Result(frame(), Segmentation(instances, **maps), tracks)  # type: ignore[arg-type]


def anchor(before: Result, follows_camera: bool = False) -> Anchor:
    return Anchor.of(before, 10.0, follows_camera)


def test_the_anchor_frame_is_unchanged() -> None:
    before = result([(40, 40, 80, 80)], [(100, 0, 0, 0)])
    assert carried(anchor(before), before.frame, 10.0) is before
    assert carried(anchor(before), frame(3), 9.9) is before


def test_boxes_and_masks_move_and_grow_with_their_track() -> None:
    before = result([(40, 40, 80, 80), (200, 100, 240, 200)], [(100, 40, 0, 0), (0, 0, 40, 80)])
    after = carried(anchor(before), frame(6), 10.2)
    assert after.tracks is not None
    np.testing.assert_allclose(after.tracks[0].box_px, (60, 48, 100, 88), atol=1e-3)
    np.testing.assert_allclose(after.tracks[1].box_px, (196, 92, 244, 208), atol=1e-3)
    np.testing.assert_allclose(after.segmentation.instances.boxes_px, [track.box_px for track in after.tracks], atol=1e-3)
    expected = np.zeros((HEIGHT // MAP, WIDTH // MAP), np.uint8)
    expected[24:44, 30:50], expected[46:104, 98:122] = 1, 2
    np.testing.assert_array_equal(after.segmentation.instances.label_map, expected)
    assert after.frame.index == 6
    assert after.mask_age_s == pytest.approx(0.2)
    assert after.freshness == 1


def test_untracked_objects_stay_in_place() -> None:
    before = result([(40, 40, 80, 80)])
    after = carried(anchor(before), frame(6), 10.2)
    np.testing.assert_array_equal(after.segmentation.instances.label_map, before.segmentation.instances.label_map)
    assert carried(anchor(replace(before, tracks=None)), frame(6), 10.2).tracks is None


def test_an_object_with_a_higher_score_stays_in_front() -> None:
    before = result([(40, 40, 80, 80), (100, 40, 140, 80)], [(0, 0, 0, 0), (-200, 0, 0, 0)])
    after = carried(anchor(before), frame(6), 10.2)
    labels = after.segmentation.instances.label_map
    assert (labels[20:40, 20:40] == 1).all()
    assert (labels[20:40, 40:50] == 2).all()


def test_an_object_leaves_void_behind_in_a_map_of_classes() -> None:
    classes = np.zeros((HEIGHT // MAP, WIDTH // MAP), np.uint8)
    classes[20:40, 20:40] = 1
    before = result([(40, 40, 80, 80)], [(100, 0, 0, 0)], class_map=classes)
    moved = carried(anchor(before), frame(6), 10.2).segmentation.class_map
    assert moved is not None
    expected = np.zeros_like(classes)
    expected[20:40, 20:40], expected[20:40, 30:50] = VOID_CLASS, 1
    np.testing.assert_array_equal(moved, expected)
    assert (classes[20:40, 20:40] == 1).all(), "the anchor's own map is unchanged"


def test_a_matte_moves_with_its_object_soft_edge_included() -> None:
    alpha = np.zeros((HEIGHT // MAP, WIDTH // MAP), np.uint8)
    alpha[18:42, 18:42], alpha[20:40, 20:40] = 90, 255
    before = result([(40, 40, 80, 80)], [(100, 0, 0, 0)], alpha=alpha)
    moved = carried(anchor(before), frame(6), 10.2).segmentation.alpha
    expected = np.zeros_like(alpha)
    expected[18:42, 28:52], expected[20:40, 30:50] = 90, 255
    np.testing.assert_array_equal(moved, expected)


def test_everything_moves_with_the_camera() -> None:
    classes = np.zeros((HEIGHT // MAP, WIDTH // MAP), np.uint8)
    classes[60:, :] = 3
    surface = np.where(classes == 3, 1, 0).astype(np.uint8)
    before = result([(120, 40, 160, 80), (40, 40, 80, 80)], [(50, 0, 0, 0)], class_map=classes, surface=surface)
    after = carried(anchor(before, follows_camera=True), frame(6, shift_px=(16, -12)), 10.2)
    assert after.tracks is not None
    np.testing.assert_allclose(after.tracks[0].box_px, (146, 28, 186, 68), atol=1.5)
    np.testing.assert_allclose(after.tracks[0].trail_px, np.tile((16, -12), (3, 1)), atol=1.5)
    np.testing.assert_allclose(after.segmentation.instances.boxes_px[1], (56, 28, 96, 68), atol=1.5)
    segmentation = after.segmentation
    assert segmentation.class_map is not None
    assert segmentation.surface is not None
    assert (segmentation.class_map[58:110, 10:] == 3).all()
    assert (segmentation.surface[58:110, 10:] == 1).all()
    assert (segmentation.class_map[-4:] == VOID_CLASS).all(), "places that the camera has not shown before have no class"


def test_masks_fade_with_age_and_vanish() -> None:
    before = result([(40, 40, 80, 80)], [(10, 0, 0, 0)])
    ages_s = (FRESH_S / 2, FRESH_S + 0.1, GONE_S - 0.1, GONE_S + 0.1)
    shown = [carried(anchor(before), frame(6), 10.0 + age_s) for age_s in ages_s]
    fresh = [each.freshness for each in shown]
    assert fresh[0] == 1
    assert 1 > fresh[1] > fresh[2] > fresh[3] == 0
    assert not shown[3].segmentation.instances.label_map.any()
    assert shown[3].tracks == ()
    assert shown[3].segmentation.class_map is None


@pytest.mark.parametrize("velocity", [(5000.0, 0, 0, 0), (-5000.0, -5000, 0, 0), (0, 0, -1e4, -1e4), (1e30, 0, 1e30, 0)])
def test_extreme_velocities(velocity: tuple[float, float, float, float]) -> None:
    alpha = np.full((HEIGHT // MAP, WIDTH // MAP), 200, np.uint8)
    before = result([(40, 40, 80, 80), (300, 200, 320, 240)], [velocity, velocity], class_map=alpha // 200, alpha=alpha)
    after = carried(anchor(before), frame(6), 10.2)
    assert after.segmentation.instances.label_map.shape == before.segmentation.instances.label_map.shape
    assert after.segmentation.instances.label_map.max() <= 2


def test_a_frame_of_another_size_shows_no_old_masks() -> None:
    before = result([(40, 40, 80, 80)], [(10, 0, 0, 0)])
    other = Frame(np.zeros((100, 100, 3), np.uint8), 5, 0.2, 1)
    after = carried(anchor(before), other, 10.1)
    assert after.freshness == 0
    assert after.frame is other
