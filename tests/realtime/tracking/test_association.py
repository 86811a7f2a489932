"""Overlaps and assignments against slow, obvious implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from realtime.tracking.common.association import Pairs, assign, iou_matrix, overlapping

corners = st.tuples(*[st.integers(0, 60)] * 4).map(lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])))
box_lists = st.lists(corners, max_size=5).map(lambda boxes: np.array(boxes, np.float32).reshape(-1, 4))


def pixels(box, pad_x=0, pad_y=0):
    """The box as a set of unit squares."""
    canvas = np.zeros((160, 160), bool)
    x, y, x_max, y_max = (int(v) + 50 for v in box)
    canvas[y - pad_y : y_max + pad_y, x - pad_x : x_max + pad_x] = True
    return canvas


@given(box_lists, box_lists, st.tuples(st.integers(0, 20), st.integers(0, 20)))
@settings(max_examples=60, deadline=None)
def test_iou_is_that_of_counted_pixels(boxes_a, boxes_b, pad):
    pairs = overlapping(boxes_a, boxes_b, np.full((len(boxes_a), 2), pad, np.float32))
    overlap = np.zeros((len(boxes_a), len(boxes_b)), np.float32)
    overlap[pairs.tracks, pairs.seen] = pairs.overlap
    for (i, a), (j, b) in itertools.product(enumerate(boxes_a), enumerate(boxes_b)):
        grown_a, grown_b = pixels(a, *pad), pixels(b, *pad)
        union = np.count_nonzero(grown_a | grown_b)
        expected = np.count_nonzero(grown_a & grown_b) / union if union else 0.0
        assert overlap[i, j] == pytest.approx(expected, abs=1e-6)


@given(box_lists, box_lists)
@settings(max_examples=100, deadline=None)
def test_the_pairs_that_overlap_are_those_of_the_whole_matrix(boxes_a, boxes_b):
    whole = iou_matrix(boxes_a, boxes_b)
    assert whole.shape == (len(boxes_a), len(boxes_b))
    tracks, seen, overlap = overlapping(boxes_a, boxes_b)
    assert np.array_equal(np.transpose((tracks, seen)), np.argwhere(whole > 0))
    assert overlap == pytest.approx(whole[tracks, seen], abs=1e-6)


@given(box_lists, box_lists)
@settings(max_examples=100, deadline=None)
def test_iou_is_symmetric_and_full_with_itself(boxes_a, boxes_b):
    assert np.array_equal(iou_matrix(boxes_a, boxes_b), iou_matrix(boxes_b, boxes_a).T)
    has_area = (boxes_a[:, 2] > boxes_a[:, 0]) & (boxes_a[:, 3] > boxes_a[:, 1])
    assert np.array_equal(np.diag(iou_matrix(boxes_a, boxes_a)), has_area.astype(np.float32))


def best_sum(similarity, gate):
    """The greatest sum of allowed one-to-one pairs, by trying all."""
    rows, columns = similarity.shape
    if rows > columns:
        return best_sum(similarity.T, gate)
    gain = np.where(similarity >= gate, similarity, 0).astype(float)
    choices = itertools.permutations(range(columns), rows)
    return max((sum(gain[i, j] for i, j in enumerate(choice)) for choice in choices), default=0.0)


@given(
    arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.integers(0, 10).map(lambda v: v / 10)),
    st.sampled_from([0.05, 0.3, 0.7]),
)
@settings(max_examples=200, deadline=None)
def test_the_assignment_is_the_best_one_above_the_gate(similarity, gate):
    tracks, seen = np.nonzero(similarity >= np.float32(gate))
    rows, columns = assign(Pairs(tracks, seen, similarity[tracks, seen]), *similarity.shape)
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) == len(columns)
    assert (similarity[rows, columns] >= np.float32(gate)).all()
    assert similarity[rows, columns].astype(float).sum() == pytest.approx(best_sum(similarity, np.float32(gate)), abs=1e-6)
