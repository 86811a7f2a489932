"""Objects of semantic models: touching objects are one component, split objects are several. Ids must hold all the same."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.tracking import open_tracker
from realtime.tracking.common.merging import hull, owners_of, pair_iou, with_fragments

from .components import IMAGE, components

FPS = 15


def follow(scene, seconds, tracker=None):
    """[(t_s, tracks seen)]; `scene` makes a Segmentation of a time."""
    tracker = tracker or open_tracker("auto", camera_motion="off")
    times_s = np.arange(round(seconds * FPS)) / FPS
    return [(t, [track for track in tracker.update(scene(t), t, IMAGE) if track.row is not None]) for t in times_s]


def id_at(tracks, x, y):
    """The id of the only track whose box contains the point."""
    (found,) = [t.id for t in tracks if t.box_px[0] <= x <= t.box_px[2] and t.box_px[1] <= y <= t.box_px[3]]
    return found


def person(x, width=40, top=100):
    return (x - width / 2, top, x + width / 2, top + 140)


def meeting(t, stay_s):
    """Two people approach until they touch, stand side by side for a while, and go back: x of the left and the right one."""
    way = 60 * min(t, 1.5, max(0.0, 3.0 + stay_s - t))
    return 120 + way, 380 - way * 1.4


@pytest.mark.parametrize("stay_s", [0.5, 1.0, 3.0, 6.0])
def test_two_objects_that_merge_into_one_component_get_their_ids_back(stay_s):
    def scene(t):
        left, right = meeting(t, stay_s)
        is_touching = right - left < 90
        bridge = [(left, 150, right, 200)] if is_touching else []
        return components([person(left), person(right), *bridge])

    frames = follow(scene, 3.2 + stay_s)
    first, last = frames[2][1], frames[-1][1]
    (left, right), (left_after, right_after) = meeting(0.1, stay_s), meeting(3.2 + stay_s, stay_s)
    assert any(len(tracks) == 1 for _, tracks in frames), "they must have been one component"
    assert id_at(first, left, 170) == id_at(last, left_after, 170)
    assert id_at(first, right, 170) == id_at(last, right_after, 170)
    assert {track.id for _, tracks in frames for track in tracks} == {1, 2}


def test_the_merged_component_keeps_one_id():
    def scene(t):
        left, right = meeting(t, 4.0)
        return components([person(left), person(right), *([(left, 150, right, 200)] if right - left < 90 else [])])

    ids = [tracks[0].id for _, tracks in follow(scene, 5.0) if len(tracks) == 1]
    assert len(ids) > FPS
    assert len(set(ids)) == 1


@pytest.mark.parametrize("speed_px_s", [40, 80, 160])
def test_two_people_who_pass_each_other_keep_their_ids(speed_px_s):
    seconds = 400 / speed_px_s

    def scene(t):
        return components([person(120 + speed_px_s * t, top=80), person(520 - speed_px_s * t, width=60, top=110)])

    frames = follow(scene, seconds)
    first, last = frames[2][1], frames[-1][1]
    end = frames[-1][0]
    assert id_at(first, 120 + speed_px_s * frames[2][0], 170) == id_at(last, 120 + speed_px_s * end, 170)
    assert {track.id for _, tracks in frames for track in tracks} == {1, 2}


@pytest.mark.parametrize("period", [2, 3, 7])
def test_a_component_that_is_split_at_intervals_stays_one_object(period):
    """A face in front of a camera, split in two by a missing stripe in some frames."""

    def scene(t):
        sway = 10 * np.sin(2 * t)
        is_cut = round(t * FPS) % period != 0
        return components(
            [(200 + sway, 60, 420 + sway, 340)], [(200 + sway, 180 + sway, 420 + sway, 192 + sway)] if is_cut else []
        )

    frames = follow(scene, 4)
    assert any(track.row is not None for _, tracks in frames[-3:] for track in tracks)
    assert {track.id for _, tracks in frames for track in tracks} == {1}
    assert all(len(tracks) == 1 for _, tracks in frames)


def test_short_lived_fragments_are_not_objects():
    rng = np.random.default_rng(0)

    def scene(t):
        fragments = [(x, y, x + 16, y + 16) for x, y in rng.uniform((180, 70), (430, 320), (3, 2))]
        return components(
            [(200, 60, 420, 340)], [(200, 60, 230, 340), *[(x - 4, y - 4, x + 20, y + 20) for x, y, _, _ in fragments]]
        )

    assert {track.id for _, tracks in follow(scene, 4) for track in tracks} == {1}


def test_an_object_that_leaves_another_one_becomes_an_object_itself():
    """A person gets off a vehicle of the same class: seen within it first, then beside it."""

    def scene(t):
        return components([(100, 100, 300, 250), person(280 + 60 * max(0.0, t - 1.0), width=30, top=110)])

    frames = follow(scene, 4)
    assert len(frames[-1][1]) == 2
    assert {track.id for _, tracks in frames for track in tracks} == {1, 2}


def test_a_small_object_in_front_of_a_large_one_becomes_an_object_in_time():
    from .scenes import segmentation

    tracker = open_tracker("auto", camera_motion="off")
    large, small = (100, 100, 300, 400), (150, 200, 210, 390)
    counts = []
    for index in range(45):
        seen = segmentation([large] if index < 5 else [large, small], 0.9)
        counts.append(len(tracker.update(seen, index / FPS, IMAGE)))
    assert counts[8] == 1
    assert counts[-1] == 2


def test_owners_are_tracks_whose_detection_contains_both():
    vanished = np.array([[100, 0, 150, 100], [400, 0, 450, 100]], np.float32)
    predicted = np.array([[40, 0, 95, 100], [300, 0, 340, 100]], np.float32)
    detected = np.array([[40, 0, 150, 100], [300, 0, 340, 100]], np.float32)
    allowed = np.ones((2, 2), bool)
    assert owners_of(vanished, predicted, detected, allowed, 0.7).tolist() == [0, -1]
    assert owners_of(vanished, predicted, detected, ~allowed, 0.7).tolist() == [-1, -1]
    hidden = np.array([[45, 0, 90, 100]], np.float32)  # behind it, not beside it
    assert owners_of(hidden, predicted[:1], predicted[:1], allowed[:1, :1], 0.7).tolist() == [-1]


def test_fragments_are_joined_only_where_the_whole_was_predicted():
    predicted, cut = np.array([[0, 0, 100, 200]], np.float32), np.array([[0, 0, 100, 120]], np.float32)
    rest, stranger = np.array([[0, 130, 100, 200]], np.float32), np.array([[150, 0, 190, 100]], np.float32)
    yes = np.ones((1, 1), bool)
    assert with_fragments(predicted, cut, rest, yes, 0.8).tolist() == [[0, 0, 100, 200]]
    assert with_fragments(predicted, cut, stranger, yes, 0.8).tolist() == cut.tolist()
    assert with_fragments(predicted, predicted, rest, yes, 0.8).tolist() == predicted.tolist()
    assert np.array_equal(hull(cut, rest), predicted)
    assert pair_iou(cut, predicted).tolist() == pytest.approx([0.6])
