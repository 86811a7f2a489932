"""Upsampled class maps: what interpolating every logit gives, at the cost of the edges."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.decoding.postprocess import argmax_channels
from engines.decoding.upsampling import upsampled_labels
from engines.types import Size


def smooth_logits(classes: int, height: int, width: int, seed: int = 0, coarse: int = 16) -> np.ndarray:
    """(C, h, w) as networks give them: blobs, with a little noise."""
    rng = np.random.default_rng(seed)
    small = rng.normal(size=(classes, -(-height // coarse) + 1, -(-width // coarse) + 1)).astype(np.float32)
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in small]
    return np.stack(planes) * 6 + rng.normal(0, 0.05, (classes, height, width)).astype(np.float32)


def interpolated(logits: np.ndarray, size: Size) -> np.ndarray:
    """The reference: every logit at the picture's resolution, then the largest."""
    planes = [cv2.resize(plane, (size.width, size.height), interpolation=cv2.INTER_LINEAR) for plane in logits]
    return np.stack(planes).argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 128), (90, 160), (33, 65), (135, 241)])
def test_at_720p_it_agrees_with_interpolated_logits_where_nearest_does_not(height: int, width: int) -> None:
    logits, size = smooth_logits(19, height, width), Size(1280, 720)
    labels, expected = argmax_channels(logits), interpolated(logits, size)
    found = upsampled_labels(labels, logits, size)
    assert found.dtype == np.uint8
    assert (found == expected).mean() > 0.998
    nearest = cv2.resize(labels, (1280, 720), interpolation=cv2.INTER_NEAREST)
    assert (nearest == expected).mean() < 0.985


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 40), st.integers(0, 40), st.integers(0, 1000))
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_map_fits_any_picture_that_is_not_smaller(
    height: int, width: int, classes: int, more: int, wider: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, height, width)).astype(np.float32)
    size = Size(width + wider, height + more)
    found = upsampled_labels(argmax_channels(logits), logits, size)
    assert found.shape == (size.height, size.width)
    assert found.max(initial=0) < classes
    if classes == 2:  # between two classes nothing is left out
        difference = cv2.resize(logits[0] - logits[1], (size.width, size.height), interpolation=cv2.INTER_LINEAR)
        clear = np.abs(difference) > 1e-3
        np.testing.assert_array_equal(found[clear], (difference < 0).astype(np.uint8)[clear])


def test_one_class_alone_fills_the_picture() -> None:
    logits = np.zeros((3, 4, 5), np.float32)
    logits[2] = 1
    assert (upsampled_labels(argmax_channels(logits), logits, Size(50, 44)) == 2).all()


def test_nothing_that_is_given_is_written_to() -> None:
    logits = smooth_logits(5, 20, 30)
    labels = argmax_channels(logits)
    logits.flags.writeable = labels.flags.writeable = False
    first = upsampled_labels(labels, logits, Size(300, 200))
    assert np.array_equal(first, upsampled_labels(labels, logits, Size(300, 200)))


def test_it_takes_a_small_part_of_the_time_of_interpolating_all() -> None:
    logits, size = smooth_logits(19, 64, 128, coarse=24), Size(1280, 720)
    labels = argmax_channels(logits)

    def least_s(work, rounds: int) -> float:
        times = []
        for _ in range(rounds):
            start = time.thread_time()
            work()
            times.append(time.thread_time() - start)
        return min(times)

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        whole = least_s(lambda: interpolated(logits, size), 1)
        edges = least_s(lambda: upsampled_labels(labels, logits, size), 7)
    finally:
        cv2.setNumThreads(before)
    assert edges < whole / 8, "a fortieth, measured alone"
