from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Size
from realtime.sources import open_source
from realtime.sources._street import CAR, CLASSES, PERSON, Street
from realtime.sources.synthetic import SyntheticSource, read_stamp, write_stamp


def test_the_same_seed_draws_the_same_street() -> None:
    size = Size(320, 180)
    one, two, other = Street(size, 6, 3), Street(size, 6, 3), Street(size, 6, 4)
    assert np.array_equal(one.draw(1.5), two.draw(1.5))
    assert not np.array_equal(one.draw(1.5), other.draw(1.5))
    assert not np.array_equal(one.draw(1.5), one.draw(1.6))


@pytest.mark.parametrize("t_s", [0.0, 2.2, 7.0, 31.0])
def test_the_truth_is_true(t_s: float) -> None:
    street = Street(Size(640, 360), 12, 5)
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
        if truth.visibility[row] == 1.0:
            assert (xs.max() + 1 - xs.min()) == pytest.approx(x1 - x0, abs=2.5)
    assert np.all((truth.visibility > 0) & (truth.visibility <= 1))


def test_the_mask_covers_just_the_pixels_that_the_objects_change() -> None:
    size = Size(640, 360)
    empty, full = Street(size, 0, 5), Street(size, 9, 5)
    truth = full.truth(4.0)
    # The backgrounds differ in nothing but the random numbers drawn before them, so compare frames of one street.
    moved = np.abs(full.draw(4.0).astype(int) - full.draw(5.1).astype(int)).max(axis=2) > 40
    both = (truth.label_map > 0) | (full.truth(5.1).label_map > 0)
    grown = cv2.dilate(both.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shadow = 0.01 * moved.size  # shadows move too, and are no part of an object
    assert np.count_nonzero(moved & ~grown) < shadow
    assert np.count_nonzero(moved & both) > 0.5 * np.count_nonzero(both)
    assert len(empty.truth(0.0).ids) == 0


def test_ids_persist_and_are_never_used_again() -> None:
    street = Street(Size(320, 180), 6, 0)
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


def test_things_hide_each_other() -> None:
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
