"""ByteTrack from outside: when ids are given, how long they are kept, what is returned."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from realtime.errors import SettingsError
from realtime.tracking import open_tracker

from .scenes import NO_IMAGE, segmentation

STILL = (100, 100, 140, 200)


def moving(t_s, speed_px_s=120.0):
    return (100 + speed_px_s * t_s, 100, 140 + speed_px_s * t_s, 200)


def feed(tracker, seen, times_s):
    """The tracks of each frame; `seen` makes a Segmentation of a time."""
    return [tracker.update(seen(t), t, NO_IMAGE) for t in times_s]


def at_fps(fps, seconds, start_s=0.0):
    return start_s + np.arange(round(seconds * fps)) / fps


def test_the_first_frames_objects_are_confirmed_at_once():
    (track,) = open_tracker("bytetrack").update(segmentation([STILL], 0.8, 3), 0.0, NO_IMAGE)
    assert (track.id, track.class_id, track.row) == (1, 3, 0)
    assert track.score == pytest.approx(0.8)
    assert track.box_px.tolist() == list(STILL)
    assert track.box_px.dtype == track.trail_px.dtype == np.float32
    assert track.trail_px.tolist() == [[120, 200]]


@pytest.mark.parametrize(("fps", "hits"), [(60, 3), (30, 3), (15, 3), (8, 2), (2, 2)])
def test_a_later_object_is_confirmed_after_three_sightings_or_a_tenth_of_a_second(fps, hits):
    tracker = open_tracker("bytetrack")
    tracker.update(segmentation([]), 0.0, NO_IMAGE)
    tracks = feed(tracker, lambda t: segmentation([STILL]), at_fps(fps, 5 / fps, start_s=1 / fps))
    assert [len(frame) for frame in tracks] == [0] * (hits - 1) + [1] * (6 - hits)


def test_faint_objects_start_no_track_but_continue_one():
    tracker = open_tracker("bytetrack")
    assert not any(feed(tracker, lambda t: segmentation([STILL], 0.3), at_fps(30, 0.5)))
    tracks = feed(tracker, lambda t: segmentation([STILL], 0.9 if t < 1 else 0.15), at_fps(30, 2, start_s=0.6))
    assert {track.id for frame in tracks for track in frame} == {1}
    assert tracks[-1][0].row == 0


def test_a_short_false_detection_gets_no_id():
    tracker = open_tracker("bytetrack")
    tracker.update(segmentation([]), 0.0, NO_IMAGE)
    tracks = feed(tracker, lambda t: segmentation([STILL] if round(t * 30) % 10 < 2 else []), at_fps(30, 3, start_s=0.1))
    assert not any(tracks)


@pytest.mark.parametrize("hidden_s", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("fps", [8, 30])
def test_an_object_keeps_its_id_behind_something(fps, hidden_s):
    tracker = open_tracker("bytetrack")

    def seen(t):
        return segmentation([] if 2 <= t < 2 + hidden_s else [moving(t)])

    times_s = at_fps(fps, 6)
    tracks = feed(tracker, seen, times_s)
    assert {track.id for frame in tracks for track in frame} == {1}
    for t, frame in zip(times_s, tracks, strict=True):
        is_hidden = 2 <= t < 2 + hidden_s
        if not is_hidden:
            assert [track.row for track in frame] == [0]
        elif t < 2 + 0.2:
            assert [track.row for track in frame] == [None]
            assert np.abs(frame[0].box_px - moving(t)).max() < 12  # coasting where it was heading
        elif t > 2 + 0.3:
            assert frame == ()


@pytest.mark.parametrize("name", ["auto", "ocsort", "bytetrack"])
def test_a_lost_half_hidden_object_is_found_again_at_its_predicted_place(name):
    """Behind something from 1.0 to 1.5 s, half hidden and so faint until 2.5 s: seen from 1.5 s on."""
    tracker = open_tracker(name)

    def seen(t):
        return segmentation([] if 1 <= t < 1.5 else [moving(t)], 0.9 if t < 1 else 0.2)

    tracks = feed(tracker, seen, at_fps(30, 2.5))
    assert [[track.id for track in frame if track.row is not None] for frame in tracks[45:]] == [[1]] * 30


@pytest.mark.parametrize("name", ["auto", "ocsort", "bytetrack"])
def test_a_faint_detection_away_from_the_predicted_place_is_another_object(name):
    tracker = open_tracker(name)
    tracks = feed(tracker, lambda t: segmentation([moving(t)]), at_fps(30, 1))
    x, y, x_max, y_max = moving(1.5)
    beside = (x + 16, y, x_max + 16, y_max)  # an IoU of 0.43; 0.6 and more with margin and doubt
    tracks = feed(tracker, lambda t: segmentation([] if t < 1.5 else [beside], 0.2), at_fps(30, 0.6, start_s=1))
    assert not any(track.row is not None for frame in tracks for track in frame)


def test_an_object_absent_for_longer_gets_a_new_id():
    tracker = open_tracker("bytetrack", lost_s=1.0)
    tracks = feed(tracker, lambda t: segmentation([] if 1 <= t < 2.5 else [STILL]), at_fps(30, 4))
    assert [track.id for track in tracks[0]] == [1]
    assert [track.id for track in tracks[-1]] == [2]


def test_noise_may_be_a_table_as_in_a_preset():
    calm, restless = (open_tracker("bytetrack", noise={"measured": noise}) for noise in (0.01, 2.0))
    for tracker in (calm, restless):
        feed(tracker, lambda t: segmentation([moving(t)]), at_fps(30, 0.5))
    speeds = [float(feed(t, lambda t: segmentation([]), [0.5])[0][0].velocity_px_s[0]) for t in (calm, restless)]
    assert speeds[0] == pytest.approx(120, abs=5)
    assert speeds[1] < 60


def test_velocities_are_per_second_whatever_the_rate():
    for fps in (8, 30):
        (track,) = feed(open_tracker("bytetrack"), lambda t: segmentation([moving(t)]), at_fps(fps, 2))[-1]
        assert track.velocity_px_s.tolist() == pytest.approx([120, 0, 0, 0], abs=3)


def test_rows_refer_to_the_frame():
    rng = np.random.default_rng(0)
    boxes = np.array([(200 * i, 50, 200 * i + 60, 150) for i in range(6)], np.float32)
    tracker = open_tracker("bytetrack")
    first = tracker.update(segmentation(boxes), 0.0, NO_IMAGE)
    home = {track.id: track.box_px for track in first}
    for index in range(1, 20):
        order = rng.permutation(6)[: rng.integers(1, 7)]
        tracks = tracker.update(segmentation(boxes[order]), index / 30, NO_IMAGE)
        rows = [track.row for track in tracks if track.row is not None]
        assert sorted(rows) == list(range(len(order)))
        assert all(np.array_equal(boxes[order[t.row]], home[t.id]) for t in tracks if t.row is not None)


def test_a_class_that_flips_neither_ends_nor_doubles_a_track():
    car, truck = 2, 7
    tracker = open_tracker("bytetrack")

    def seen(t):
        index = round(t * 30)
        if index % 7 == 3:
            return segmentation([moving(t), moving(t)], [0.8, 0.6], [truck, car])  # both at once: one box, two classes
        return segmentation([moving(t)], 0.8, truck if index % 4 == 1 else car)

    tracks = feed(tracker, seen, at_fps(30, 4))
    assert {track.id for frame in tracks for track in frame} == {1}
    assert {track.class_id for frame in tracks[10:] for track in frame} == {car}


@pytest.mark.parametrize("start_s", [0.0, 0.5])
def test_one_box_with_two_classes_is_one_object(start_s):
    """Detectors whose NMS works per class give the same van as car and as truck."""
    tracker = open_tracker("bytetrack")
    seen = segmentation([STILL, (101, 100, 141, 201)], [0.8, 0.7], [2, 7])
    tracks = feed(tracker, lambda t: seen if t >= start_s else segmentation([]), at_fps(30, 2))
    assert [(t.id, t.class_id, t.row) for t in tracks[-1]] == [(1, 2, 0)]
    assert {track.id for frame in tracks for track in frame} == {1}


def test_an_object_of_another_class_does_not_take_over_a_track():
    person, bicycle = (100, 50, 140, 150), (95, 80, 145, 160)
    tracker = open_tracker("bytetrack")
    tracks = feed(tracker, lambda t: segmentation([person], 0.9, 0) if t < 1 else segmentation([bicycle], 0.9, 1), at_fps(30, 2))
    assert [(t.id, t.class_id) for t in tracks[0]] == [(1, 0)]
    assert [(t.id, t.class_id) for t in tracks[-1]] == [(2, 1)]


def test_a_first_class_that_was_wrong_is_outvoted():
    tracks = feed(open_tracker("bytetrack"), lambda t: segmentation([STILL], 0.9, 7 if t < 0.1 else 2), at_fps(30, 1))
    assert tracks[0][0].class_id == 7
    assert tracks[-1][0].class_id == 2
    assert {track.id for frame in tracks for track in frame} == {1}


def test_overlapping_objects_of_different_classes_stay_two():
    person, bicycle = (100, 50, 140, 150), (85, 100, 155, 170)
    tracks = feed(open_tracker("bytetrack"), lambda t: segmentation([person, bicycle], 0.9, [0, 1]), at_fps(30, 1))
    assert all([(t.id, t.class_id, t.row) for t in frame] == [(1, 0, 0), (2, 1, 1)] for frame in tracks)


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda t: t - 3600 if t > 1 else t, id="back an hour"),
        pytest.param(lambda t: t + 3600 if t > 1 else t, id="forward an hour"),
        pytest.param(lambda t: math.nan if 1 < t < 1.5 else t, id="not a number"),
        pytest.param(lambda t: math.inf if 1 < t < 1.5 else t, id="infinite"),
        pytest.param(lambda t: round(t * 5) / 5, id="duplicates"),
        pytest.param(lambda t: -t, id="all backwards"),
    ],
)
def test_ids_survive_bad_timestamps(bend):
    tracker = open_tracker("bytetrack")
    for t in at_fps(30, 3):
        tracks = tracker.update(segmentation([moving(t, 60), (400, 300, 500, 500)]), bend(t), NO_IMAGE)
        assert [track.id for track in tracks] == [1, 2]
        assert all(np.isfinite(track.box_px).all() for track in tracks)


def test_invalid_boxes_are_not_objects():
    bad = [(math.nan, 0, 10, 10), (0, 0, math.inf, 10), (10, 10, 10, 40), (30, 30, 20, 40), STILL]
    (track,) = open_tracker("bytetrack").update(segmentation(bad, [0.9, 0.9, 0.9, 0.9, 0.8]), 0.0, NO_IMAGE)
    assert track.row == 4


def test_trails_keep_the_last_64_points_and_are_values():
    tracker = open_tracker("bytetrack")
    tracks = feed(tracker, lambda t: segmentation([moving(t)]), at_fps(30, 12))
    trails = [frame[0].trail_px for frame in tracks]
    assert [len(trail) for trail in trails] == [min(64, index + 1) for index in range(len(trails))]
    for earlier, later in itertools.pairwise(trails[100:]):
        assert np.array_equal(earlier[1:], later[:-1])
    expected = np.array([[120 + 120 * t, 200] for t in at_fps(30, 12)[-64:]])
    assert np.abs(trails[-1] - expected).max() < 2


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lost": 3}, 'called "lost". Did you mean "lost_s"'),
        ({"lost_s": -1}, "lost_s = -1"),
        ({"lost_s": math.nan}, "lost_s = nan"),
        ({"match_overlap": 1.5}, "match_overlap = 1.5"),
        ({"high_score": "0.4"}, "high_score = '0.4'"),
        ({"low_score": 0.7}, "low_score = 0.7 exceeds high_score"),
        ({"camera_motion": "onn"}, '"onn" is not a mode of camera_motion. Did you mean "on"'),
        ({"noise": 3}, "noise = 3 is not a table. Give a table of measured, jitter"),
        ({"noise": {"measurd": 1}}, 'called "measurd". Did you mean "measured"'),
        ({"noise": {"jitter": -1}}, "noise.jitter = -1"),
    ],
)
def test_wrong_settings_are_named(settings, problem):
    with pytest.raises(SettingsError, match=problem):
        open_tracker("bytetrack", **settings)
