from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Size
from realtime.sources import open_source
from realtime.sources.street.scene import Street
from realtime.sources.street.traffic import CAR, CLASSES, PERSON
from realtime.sources.synthetic import SyntheticSource, read_stamp, write_stamp

HARD = {"pan_px_s": 120.0, "shake_px": 5.0, "occluders": 4, "crossings": 3}


def test_the_same_seed_draws_the_same_street() -> None:
    size = Size(320, 180)
    one, two, other = Street(size, 6, 3), Street(size, 6, 3), Street(size, 6, 4)
    assert np.array_equal(one.draw(1.5), two.draw(1.5))
    assert not np.array_equal(one.draw(1.5), other.draw(1.5))
    assert not np.array_equal(one.draw(1.5), one.draw(1.6))


@pytest.mark.parametrize("extras", [{}, HARD])
@pytest.mark.parametrize("t_s", [0.0, 2.2, 7.0, 31.0])
def test_the_truth_fits_the_picture(t_s: float, extras: dict[str, Any]) -> None:
    street = Street(Size(640, 360), 12, 5, **extras)
    truth = street.truth(t_s)
    count = len(truth.ids)
    assert count > 5
    assert len(set(truth.ids.tolist())) == count
    assert set(truth.class_ids.tolist()) <= {CAR, PERSON}
    assert truth.class_names == CLASSES
    assert set(np.unique(truth.label_map)) == set(range(count + 1))
    for row in range(count):
        ys, xs = np.nonzero(truth.label_map == row + 1)
        x0, y0, x1, y1 = truth.boxes_px[row]
        assert min(xs.min() - x0, ys.min() - y0) >= -1.5
        assert max(xs.max() - x1, ys.max() - y1) <= 1.5
        assert np.all(truth.class_map[ys, xs] == truth.class_ids[row])
        if truth.visibility[row] == 1.0 and x0 > 0 and x1 < 640 and y1 < 360:
            assert (xs.max() + 1 - xs.min()) == pytest.approx(x1 - x0, abs=2.5)
    assert np.all((truth.visibility > 0) & (truth.visibility <= 1))


def test_the_mask_covers_the_pixels_that_objects_change() -> None:
    size = Size(640, 360)
    empty, full = Street(size, 0, 5), Street(size, 9, 5)
    truth = full.truth(4.0)
    # The backgrounds differ in nothing but the random numbers drawn before them, so compare frames of one street.
    moved = np.abs(full.draw(4.0).astype(int) - full.draw(5.1).astype(int)).max(axis=2) > 40
    both = (truth.label_map > 0) | (full.truth(5.1).label_map > 0)
    grown = cv2.dilate(both.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shadow = 0.01 * moved.size  # shadows move too, but are not part of an object
    assert np.count_nonzero(moved & ~grown) < shadow
    assert np.count_nonzero(moved & both) > 0.5 * np.count_nonzero(both)
    assert len(empty.truth(0.0).ids) == 0


def test_ids_persist_and_are_never_used_again() -> None:
    street = Street(Size(160, 90), 6, 0)
    seen: dict[int, list[float]] = {}
    for tick in range(400):
        for number in street.truth(tick / 4).ids.tolist():
            seen.setdefault(number, []).append(tick / 4)
    assert len(seen) > 20  # cars leave, new ones come
    assert min(seen) > 0
    spans = sorted((max(times) - min(times)) for times in seen.values())
    assert spans[len(spans) // 2] > 4  # seconds in the picture
    classes = {
        number: {int(street.truth(t).class_ids[street.truth(t).ids.tolist().index(number)]) for t in times[:3]}
        for number, times in list(seen.items())[:8]
    }
    assert all(len(found) == 1 for found in classes.values())


def test_objects_occlude_each_other() -> None:
    street = Street(Size(640, 360), 16, 2)
    lowest = min(float(street.truth(tick / 2).visibility.min()) for tick in range(40))
    assert lowest < 0.6


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_stamp_reads_back(stamp: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    write_stamp(image, stamp)
    assert read_stamp(image) == stamp


@pytest.mark.parametrize("size", [(1920, 1080), (960, 540), (854, 480), (640, 480), (320, 180)])
def test_a_stamp_survives_scaling_tinting_and_jpeg(size: tuple[int, int]) -> None:
    image = Street(Size(1280, 720), 8, 0).draw(0.0)
    write_stamp(image, 123_456_789_012_345)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < 1280 else cv2.INTER_LINEAR)
    image = cv2.addWeighted(image, 0.5, np.full_like(image, (200, 30, 90)), 0.5, 0)
    image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    assert read_stamp(image) == 123_456_789_012_345


@pytest.mark.parametrize("crf", ["23", "30"])
def test_a_stamp_survives_h264(clips: Path, encoder: Callable[..., Path], crf: str) -> None:
    street = Street(Size(640, 360), 4, 0)
    images = [street.draw(index / 25) for index in range(10)]
    stamps = [time.monotonic_ns() + index for index in range(10)]
    for image, stamp in zip(images, stamps, strict=True):
        write_stamp(image, stamp)
    decoded = open_source(str(encoder(clips / f"stamps{crf}.mp4", images, crf=crf)))
    assert [read_stamp(frame.image) for frame in decoded] == stamps


def test_no_stamp_reads_as_none() -> None:
    street = Street(Size(640, 360), 4, 0)
    assert read_stamp(street.draw(0.0)) is None
    stamped = street.draw(0.0)
    write_stamp(stamped, 7)
    stamped[:10, 500:520] = 255 - stamped[:10, 500:520]
    assert read_stamp(stamped) is None


def test_the_source_counts_stamps_and_ends() -> None:
    source = open_source("synthetic://street?width=320&height=180&fps=50&seconds=0.5&objects=3")
    assert isinstance(source, SyntheticSource)
    assert (source.is_live, source.fps, source.frame_count) == (False, 50.0, 25)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 50 for index in range(25)])
    assert all(read_stamp(frame.image) == frame.captured_ns for frame in frames)
    assert source.truth(3).label_map.shape == (180, 320)


def test_live_it_runs_by_the_clock_and_a_late_reader_misses_frames() -> None:
    source = open_source("synthetic://street?width=320&height=180&fps=50&live=1&objects=2")
    assert source.is_live
    ages_ms, indices = [], []
    started_s = time.monotonic()
    for frame in source:
        ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        indices.append(frame.index)
        if frame.index >= 40:
            break
        if frame.index == 10:
            time.sleep(0.2)
    source.close()
    assert indices == sorted(set(indices))
    assert len(indices) < 36  # about ten were missed in the 0.2 s
    assert 0.75 < time.monotonic() - started_s < 2
    assert float(np.median(ages_ms)) < 10


def test_a_hard_street_is_a_function_of_seed_and_time() -> None:
    size = Size(320, 180)
    one, two = Street(size, 6, 3, **HARD), Street(size, 6, 3, **HARD)
    two.draw(9.0)
    assert np.array_equal(one.draw(1.5), two.draw(1.5))
    assert np.array_equal(one.truth(1.5).label_map, two.truth(1.5).label_map)
    assert not np.array_equal(one.draw(1.5), Street(size, 6, 3).draw(1.5))


def test_without_options_the_camera_is_at_rest() -> None:
    street = Street(Size(320, 180), 6, 3)
    assert np.array_equal(street.camera_between(0.3, 9.0), np.eye(2, 3))


def test_the_background_moves_by_the_camera_matrix() -> None:
    street = Street(Size(640, 360), 0, 3, pan_px_s=60, shake_px=6)
    for from_s, to_s in ((0.0, 0.5), (2.0, 1.2), (4.0, 4.0)):
        moved = cv2.warpAffine(street.draw(from_s), street.camera_between(from_s, to_s), (640, 360))
        inside = np.s_[60:-60, 80:-80]
        assert cv2.absdiff(moved, street.draw(to_s))[inside].mean() < 2.5
    assert cv2.absdiff(street.draw(0.0), street.draw(0.5))[inside].mean() > 5
    there, back = street.camera_between(1.0, 2.0), street.camera_between(2.0, 1.0)
    assert np.allclose((np.vstack((there, (0, 0, 1))) @ np.vstack((back, (0, 0, 1))))[:2], np.eye(2, 3))


def test_a_pan_keeps_its_speed_and_stays_within_the_scene() -> None:
    street, steps_px = Street(Size(320, 180), 0, 7, pan_px_s=80), []
    for tick in range(300):
        matrix = street.camera_between(tick / 30, (tick + 1) / 30)
        assert np.allclose(matrix[:, :2], np.eye(2))
        assert matrix[1, 2] == pytest.approx(0)
        steps_px.append(matrix[0, 2])
    speeds = np.abs(steps_px) * 30
    assert speeds.max() == pytest.approx(80, rel=0.02)
    assert np.median(speeds) > 50
    assert np.abs(np.cumsum(steps_px)).max() < 0.36 * 320
    assert min(steps_px) < 0 < max(steps_px)
    # Beyond the painted scene there would be black.
    assert all(street.draw(t_s).max(axis=2).min() > 0 for t_s in (1.0, 1.4, 1.8, 4.2))


def test_objects_move_with_the_camera() -> None:
    still, panned = Street(Size(640, 360), 8, 3), Street(Size(640, 360), 8, 3, pan_px_s=40)
    step = panned.camera_between(0.0, 0.4)
    later, moved = still.truth(0.4), panned.truth(0.4)
    in_both = [i for i in later.ids.tolist() if i in moved.ids.tolist()]
    inside = 0
    for number in in_both:
        box, shifted = (truth.boxes_px[truth.ids.tolist().index(number)] for truth in (later, moved))
        if box[0] > 30 and box[2] < 610 and box[3] < 359:
            inside += 1
            assert shifted - box == pytest.approx([step[0, 2], 0, step[0, 2], 0], abs=0.05)
    assert inside >= 3


def hidden_spans_s(street: Street) -> dict[int, list[float]]:
    """By class: for how long objects were gone (less than a tenth visible) before they came back."""
    last_seen_s: dict[int, float] = {}
    spans_s: dict[int, list[float]] = {PERSON: [], CAR: []}
    for t_s in np.arange(0.0, 24.0, 0.25).tolist():
        truth = street.truth(t_s)
        seen = truth.visibility > 0.1
        for number, class_id in zip(truth.ids[seen].tolist(), truth.class_ids[seen].tolist(), strict=True):
            spans_s[class_id].append(t_s - last_seen_s.get(number, t_s))
            last_seen_s[number] = t_s
    return {class_id: [span for span in spans if span > 0.3] for class_id, spans in spans_s.items()}


def test_people_and_cars_vanish_behind_occluders_and_return() -> None:
    """For half a second to two, mostly."""
    clear, blocked = hidden_spans_s(Street(Size(160, 90), 8, 3)), hidden_spans_s(Street(Size(160, 90), 8, 3, occluders=4))
    for class_id in (PERSON, CAR):
        usual = [span for span in blocked[class_id] if span <= 2.25]
        assert len(usual) >= 4
        assert len(usual) > len(clear[class_id])
        assert max(blocked[class_id]) < 4


def test_occluders_are_not_objects() -> None:
    clear, blocked = Street(Size(320, 180), 0, 3), Street(Size(320, 180), 0, 3, occluders=2)
    one, two = clear.truth(0.0), blocked.truth(0.0)
    assert len(two.ids) == 0
    assert not two.label_map.any()
    changed = one.class_map != two.class_map
    assert 0.02 < changed.mean() < 0.5
    assert set(two.class_map[changed].tolist()) == {CLASSES.index("building")}


def test_pairs_meet_and_part() -> None:
    street = Street(Size(640, 360), 0, 2, crossings=3)
    closest: dict[tuple[int, int], list[float]] = {}
    for t_s in np.arange(0.0, 18.0, 0.2).tolist():
        truth = street.truth(t_s)
        centre_px = {i: (box[0] + box[2]) / 2 for i, box in zip(truth.ids.tolist(), truth.boxes_px, strict=True)}
        for number in centre_px:
            if number % 2 == 1 and number + 1 in centre_px:  # the two of a pair have neighbouring numbers
                gap_px = float(abs(centre_px[number] - centre_px[number + 1]))
                closest.setdefault((number, number + 1), []).append(gap_px)
    met = [gaps for gaps in closest.values() if min(gaps) < 8 and max(gaps) > 40]
    assert len(met) >= 3
    assert set(street.truth(3.0).class_ids.tolist()) == {PERSON}


def test_the_uri_opens_a_hard_street() -> None:
    source = open_source("synthetic://street?width=320&height=180&objects=4&pan=60&shake=4&occluders=2&crossings=1&fps=10")
    assert isinstance(source, SyntheticSource)
    street = Street(Size(320, 180), 4, 0, pan_px_s=60, shake_px=4, occluders=2, crossings=1)
    assert np.array_equal(source.camera_between(3, 8), street.camera_between(0.3, 0.8))
    assert np.array_equal(source.truth(8).label_map, street.truth(0.8).label_map)
