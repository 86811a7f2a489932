"""Picking: the object under a point, and what is known of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.types import Instances, Segmentation, Size
from realtime.knobs import Knobs
from realtime.sessions.picking import Selected, facts_of, find, track_at
from realtime.types import Frame, Result, Track, as_box

BIG, SMALL, FAR = as_box(0, 0, 100, 100), as_box(40, 40, 60, 60), as_box(150, 60, 190, 90)


def track(track_id: int, box: np.ndarray, row: int | None = None, class_id: int = 0, score: float = 0.8) -> Track:
    speed = np.array((30, -40, 5, 5), np.float32)
    return Track(track_id, class_id, score, box, row, np.zeros((0, 2), np.float32), score, speed)


def result(*tracks: Track, label_map: np.ndarray | None = None, pts_s: float = 0.0) -> Result:
    none = Instances.none(Size(20, 10))
    instances = none if label_map is None else Instances(none.boxes_px, none.scores, none.class_ids, label_map)
    return Result(Frame(np.zeros((100, 200, 3), np.uint8), 0, pts_s, 0), Segmentation(instances), tracks)


def test_the_smallest_box_around_the_point_is_taken() -> None:
    seen = result(track(1, BIG), track(2, SMALL), track(3, FAR))
    for (x, y), expected in {(0.25, 0.5): 2, (0.1, 0.1): 1, (0.8, 0.7): 3, (0.7, 0.1): None}.items():
        found = track_at(seen, x, y, Knobs())
        assert (found.id if found else None) == expected


def test_a_mask_under_the_point_says_more_than_a_box() -> None:
    label_map = np.zeros((10, 20), np.uint8)
    label_map[:, :10] = 1
    found = track_at(result(track(1, BIG, row=0), track(2, SMALL), label_map=label_map), 0.25, 0.5, Knobs())
    assert found is not None
    assert found.id == 1


@pytest.mark.parametrize("knobs", [Knobs(threshold=0.9), Knobs(hidden_classes=frozenset({0}))])
def test_what_is_not_shown_cannot_be_picked(knobs: Knobs) -> None:
    label_map = np.ones((10, 20), np.uint8)
    assert track_at(result(track(1, BIG, row=0), label_map=label_map), 0.2, 0.2, knobs) is None


@pytest.mark.parametrize("at", [(-0.1, 0.5), (0.5, -0.1), (1.0, 0.5), (0.5, 1.0)])
def test_beside_the_picture_there_is_nothing(at: tuple[float, float]) -> None:
    assert track_at(result(track(1, as_box(-10, -10, 300, 300))), *at, Knobs()) is None


def test_nothing_is_there_when_nothing_tracks() -> None:
    untracked = Result(result().frame, result().segmentation, None)
    assert track_at(untracked, 0.2, 0.2, Knobs()) is None
    assert find(untracked, 1) is None
    assert find(None, 1) is None


def test_facts_of_an_object_in_sight_and_out_of_it() -> None:
    now = replace(result(track(1, BIG, score=0.7)), numbers={"ages": {1: 3.5}})
    assert facts_of(now, 1, "car") == Selected(1, "car", 0.7, 3.5, 50.0)
    assert facts_of(now, 2, "car") == Selected(2)
    assert not facts_of(now, 2, "").in_sight
    assert facts_of(None, 1, "car") == Selected(1)
