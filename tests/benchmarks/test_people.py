"""Counting people one by one: found, split in two, merged with another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.people import Count, Picture, counted, side_by_side

Columns = list[tuple[slice, int]]


def columns(*parts: tuple[slice, int]) -> npt.NDArray[np.uint8]:
    """(20, 60) uint8: these ids in these columns."""
    found = np.zeros((20, 60), np.uint8)
    for where, number in parts:
        found[:, where] = number
    return found


def picture(objects: npt.NDArray[np.uint8]) -> Picture:
    return Picture(np.zeros((*objects.shape, 3), np.uint8), objects > 0, np.ones(objects.shape, bool), objects)


@pytest.mark.parametrize(
    ("truth", "found", "count"),
    [
        ([(slice(0, 20), 1)], [(slice(0, 19), 1)], Count(1, 1, 0, 0)),
        ([(slice(0, 20), 1)], [], Count(1, 0, 0, 0)),
        ([(slice(0, 20), 1)], [(slice(0, 8), 1)], Count(1, 0, 0, 0)),
        ([(slice(0, 20), 1)], [(slice(0, 10), 1), (slice(10, 20), 2)], Count(1, 0, 1, 0)),
        ([(slice(0, 20), 1)], [(slice(0, 17), 1), (slice(17, 20), 2)], Count(1, 1, 0, 0)),
        ([(slice(0, 20), 1), (slice(20, 40), 2)], [(slice(0, 40), 1)], Count(2, 0, 0, 2)),
        ([(slice(0, 20), 1), (slice(20, 40), 2)], [(slice(0, 20), 2), (slice(20, 40), 1)], Count(2, 2, 0, 0)),
        ([(slice(0, 20), 1), (slice(20, 40), 255)], [(slice(0, 20), 1), (slice(20, 40), 2)], Count(1, 1, 0, 0)),
    ],
)
def test_each_person_is_found_or_split_or_merged(truth: Columns, found: Columns, count: Count) -> None:
    assert counted(picture(columns(*truth)), columns(*found)) == count


def test_finds_of_another_size_than_the_picture_are_counted() -> None:
    assert counted(picture(columns((slice(0, 20), 1))), columns((slice(0, 20), 1))[::2, ::2]) == Count(1, 1, 0, 0)


def test_two_portraits_become_one_picture_of_two_people() -> None:
    one, other = columns((slice(10, 60), 1)), columns((slice(0, 30), 1))[:, :40]
    (both,) = side_by_side(iter([picture(one), picture(other)]))
    assert both.image.shape == (20, 120, 3)
    assert np.unique(both.objects).tolist() == [0, 1, 2]
    assert not both.people[:, :10].any()
    assert both.people[:, 10:100].all()
    assert not both.people[:, 110:].any()
