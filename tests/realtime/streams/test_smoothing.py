"""Smoothing over time: steady where the picture is still, new at once where it moves, restarted at a cut."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from realtime.streams.smoothing import HOLD_S, LONGEST_GAP_S, TIME_CONSTANT_S, AlphaSmoother, ClassSmoother

SIZE = (48, 64)
FPS = 30


def room(value: int = 100) -> np.ndarray:
    """A frame twice as fine as the matte, with a texture."""
    rows, columns = np.indices((2 * SIZE[0], 2 * SIZE[1]))
    texture = 20 * ((rows // 8 + columns // 8) % 2)
    return np.repeat((value + texture).astype(np.uint8)[..., None], 3, axis=2)


def matte(value: int) -> np.ndarray:
    return np.full(SIZE, value, np.uint8)


def test_the_first_matte_is_passed_on_as_a_copy() -> None:
    alpha = matte(77)
    smoothed = AlphaSmoother()(alpha, room(), 0.0)
    assert (smoothed == 77).all()
    assert not np.shares_memory(smoothed, alpha)
    assert smoothed.dtype == np.uint8


def test_flicker_over_a_still_picture_becomes_steady() -> None:
    smoother, noise = AlphaSmoother(), np.random.default_rng(3)
    seen = []
    for index in range(90):
        alpha = np.clip(noise.normal(128, 40, SIZE), 0, 255).astype(np.uint8)
        camera = np.clip(room() + noise.normal(0, 4, (*room().shape[:2], 3)), 0, 255).astype(np.uint8)  # a sensor's own noise
        seen.append(smoother(alpha, camera, index / FPS))
    late = np.array(seen[30:], float)
    assert np.abs(np.diff(late, axis=0)).mean() < 0.2 * 40 * math.sqrt(2) * 0.8, "a fifth of the flicker of raw mattes"
    assert late.mean() == pytest.approx(128, abs=2)


def test_a_still_matte_follows_with_its_time_constant_at_any_frame_rate() -> None:
    for fps in (10, 30, 60):
        smoother = AlphaSmoother()
        smoother(matte(0), room(), 0.0)
        for index in range(1, round(TIME_CONSTANT_S * fps) + 1):
            alpha = smoother(matte(255), room(), index / fps)
        expected = 255 * (1 - math.exp(-round(TIME_CONSTANT_S * fps) / fps / TIME_CONSTANT_S))
        assert abs(float(alpha.mean()) - expected) <= 2


def test_where_the_picture_moves_the_new_matte_counts_at_once() -> None:
    smoother, before, after = AlphaSmoother(), room(), room()
    after[40:70, 30:60] = (220, 30, 30)
    smoother(matte(0), before, 0.0)
    alpha = smoother(matte(255), after, 1 / FPS)
    assert (alpha[21:34, 16:29] == 255).all(), "where something moved"
    assert (alpha[:15] < 40).all(), "elsewhere"
    assert (alpha[:, 40:] < 40).all()


def test_movement_is_found_in_colour() -> None:
    smoother = AlphaSmoother()
    green, red = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)
    green[:] = red[:] = (60, 110, 60)
    red[40:70, 30:60] = (60, 60, 158)  # as bright as the green, for a grey picture
    smoother(matte(0), green, 0.0)
    assert (smoother(matte(255), red, 1 / FPS)[21:34, 16:29] == 255).all()


def test_slow_motion_leaves_no_trail() -> None:
    """Consecutive frames hardly differ: frames are compared with the averaged picture."""
    smoother = AlphaSmoother()
    lag = []
    for index in range(120):
        level = index * 0.7  # grey levels a frame: far below what counts as movement
        alpha = matte(min(255, 2 * index))
        smoothed = smoother(alpha, np.clip(room(60) + level, 0, 255).astype(np.uint8), index / FPS)
        lag.append(float(alpha.astype(float).mean() - smoothed.mean()))
    assert max(lag) < 2 * TIME_CONSTANT_S * FPS + 2, "the lag of the average alone"
    frozen = AlphaSmoother()
    frozen(matte(0), room(60), 0.0)
    for index in range(1, 40):
        last = frozen(matte(200), (room(60) + 2 * index).astype(np.uint8), 0.001 * index)
    assert (last > 195).all(), "no time has passed, but the picture has changed"


@pytest.mark.parametrize("t_s", [-1.0, 0.0, LONGEST_GAP_S + 0.1], ids=["back", "no time", "long after"])
def test_falling_times_and_long_gaps_restart(t_s: float) -> None:
    smoother = AlphaSmoother()
    smoother(matte(0), room(), 0.0)
    assert (smoother(matte(255), room(), t_s) == 255).all()


def test_a_cut_restarts_the_still_parts_as_well() -> None:
    smoother, other = AlphaSmoother(), room(180)
    other[:30] = room()[:30]
    smoother(matte(0), room(), 0.0)
    assert (smoother(matte(255), other, 1 / FPS) == 255).all()


def test_a_matte_of_another_size_restarts() -> None:
    smoother = AlphaSmoother()
    smoother(matte(0), room(), 0.0)
    other = np.full((30, 40), 200, np.uint8)
    assert (smoother(other, room(), 1 / FPS) == 200).all()
    for index in range(3):
        assert smoother(np.full((1, 1), 9, np.uint8), np.zeros((1, 1, 3), np.uint8), 0.2 + index).tolist() == [[9]]


def test_arguments_and_earlier_results_are_unchanged() -> None:
    smoother, alpha, image = AlphaSmoother(), matte(10), room()
    alpha.flags.writeable = image.flags.writeable = False
    first = smoother(alpha, image, 0.0)
    kept = first.copy()
    smoother(matte(250), image, 0.1)
    assert np.array_equal(first, kept), "an earlier result"


# Class maps


def classes(value: int) -> np.ndarray:
    return np.full(SIZE, value, np.uint8)


def test_a_flickering_class_stays_the_most_frequent_one() -> None:
    smoother, noise = ClassSmoother(), np.random.default_rng(5)
    smoother(classes(1), room(), 0.0)
    seen = []
    for index in range(1, 90):
        flickering = np.where(noise.random(SIZE) < 0.3, 2, 1).astype(np.uint8)
        camera = np.clip(room() + noise.normal(0, 4, (*room().shape[:2], 3)), 0, 255).astype(np.uint8)
        seen.append(smoother(flickering, camera, index / FPS))
    changed = np.mean([np.mean(a != b) for a, b in itertools.pairwise(seen)])
    assert changed < 0.01 * 2 * 0.3 * 0.7, "a hundredth of the flicker"
    assert (np.array(seen) == 1).mean() > 0.99


@pytest.mark.parametrize("fps", [8, 30, 60])
def test_a_new_class_is_shown_once_it_has_held_at_any_frame_rate(fps: int) -> None:
    smoother = ClassSmoother()
    smoother(classes(3), room(), 0.0)
    late_s = next(index / fps for index in range(1, 100) if (smoother(classes(4), room(), index / fps) == 4).all())
    assert HOLD_S - 1 / fps <= late_s <= HOLD_S + 1.5 / fps


def test_where_the_picture_moves_the_new_class_counts_at_once() -> None:
    smoother, before, after = ClassSmoother(), room(), room()
    after[40:70, 30:60] = (220, 30, 30)
    smoother(classes(0), before, 0.0)
    seen = smoother(classes(7), after, 1 / FPS)
    assert (seen[21:34, 16:29] == 7).all(), "where something moved"
    assert (seen[:15] == 0).all(), "elsewhere"


@pytest.mark.parametrize("t_s", [-1.0, 0.0, LONGEST_GAP_S + 0.1], ids=["back", "no time", "long after"])
def test_class_maps_restart_when_time_does_not_rise(t_s: float) -> None:
    smoother = ClassSmoother()
    smoother(classes(0), room(), 0.0)
    assert (smoother(classes(5), room(), t_s) == 5).all()


def test_class_maps_restart_at_a_cut_and_with_another_size() -> None:
    smoother, other = ClassSmoother(), room(180)
    smoother(classes(0), room(), 0.0)
    assert (smoother(classes(5), other, 1 / FPS) == 5).all()
    assert smoother(np.full((30, 40), 2, np.uint8), other, 2 / FPS).shape == (30, 40)
    for index in range(3):
        assert smoother(np.full((1, 1), 9, np.uint8), np.zeros((1, 1, 3), np.uint8), 0.2 + index).tolist() == [[9]]


def test_class_maps_and_earlier_results_are_unchanged() -> None:
    smoother, given, image = ClassSmoother(), classes(1), room()
    given.flags.writeable = image.flags.writeable = False
    first = smoother(given, image, 0.0)
    for index in range(1, 30):
        second = smoother(classes(2), image, index / FPS)
    assert (first == 1).all()
    assert (second == 2).all()
    second[:] = 9
    assert (smoother(classes(2), image, 1.0) == 2).all()
