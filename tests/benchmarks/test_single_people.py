"""One face, one person; anything else stays unsure."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.single_people import objects
from engines.types import U8


def label(*columns: slice) -> U8:
    """(20, 40) uint8: people in these columns, a void row below."""
    made = np.zeros((20, 40), np.uint8)
    for each in columns:
        made[:, each] = 1
    made[-1] = 255
    return made


@pytest.mark.parametrize(
    ("people", "faces", "value"),
    [
        ([slice(5, 25)], 1, 1),
        ([slice(5, 25)], 2, 255),  # two heads over one outline
        ([slice(5, 25)], 0, 255),  # seen from behind, or nobody knows
        ([slice(2, 12), slice(20, 30)], 1, 255),  # one of the two looks away
        ([slice(2, 28), slice(38, 40)], 1, 1),  # a hand in front of the wall
    ],
)
def test_only_one_face_over_one_piece_is_one_person(people: list[slice], faces: int, value: int) -> None:
    truth = label(*people)
    found = objects(truth, faces)
    assert set(np.unique(found[truth == 1])) == {value}
    assert (found[truth != 1] == 0).all()
