"""Positions of windows: every cell has one, centred on it, and the cells tile the frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.importing import KerasImportError
from engines.importing.sliding import Windows, windows
from engines.types import Size

LENGTHS = st.tuples(st.integers(1, 16), st.integers(0, 64), st.integers(1, 60))
"""Along one axis: the stride, how much larger the window is, and the cells."""


@given(LENGTHS, LENGTHS)
def test_windows_are_centred_on_cells_that_tile_the_frame(down: tuple[int, int, int], across: tuple[int, int, int]) -> None:
    axes = (down, across)
    stride, window = tuple(step for step, _, _ in axes), tuple(step + more for step, more, _ in axes)
    frame = Size(across[0] * across[2], down[0] * down[2])
    grid = windows(window, stride, frame, "test")  # type: ignore[arg-type]
    assert grid.cells == (down[2], across[2])
    for axis, (before, after) in enumerate((grid.pads[0::2], grid.pads[1::2])):
        side = (frame.height, frame.width)[axis]
        for cell in (0, grid.cells[axis] - 1):
            first = grid.corner(cell, cell)[axis] - before  # in the frame, without its padding
            centre, wanted = first + window[axis] / 2, (cell + 0.5) * stride[axis]
            assert centre - wanted in (0, 0.5)
            assert first + window[axis] <= side + after
        assert grid.corner(grid.cells[axis] - 1, grid.cells[axis] - 1)[axis] + window[axis] == before + side + after


@pytest.mark.parametrize("stride", [(1, 1), (4, 4), (7, 5), (32, 32)])
def test_the_usual_frame_is_tiled(stride: tuple[int, int]) -> None:
    frame = windows((40, 40), stride, None, "test").frame
    assert frame.height % stride[0] == frame.width % stride[1] == 0
    assert abs(frame.height - 360) <= stride[0] / 2
    assert abs(frame.width - 640) <= stride[1] / 2


def test_a_frame_that_cannot_be_tiled_is_refused_with_sizes_that_can() -> None:
    with pytest.raises(KerasImportError, match=r"99x201 .* Choose --size 96x200, 96x204, 100x200, 100x204"):
        windows((28, 28), (4, 4), Size(201, 99), "digits.keras")
    assert windows((28, 28), (4, 4), Size(204, 100), "digits.keras") == Windows((28, 28), (4, 4), Size(204, 100))


def test_windows_that_would_leave_gaps_are_refused() -> None:
    with pytest.raises(KerasImportError, match="layers have a stride of 32x32, more than its window of 28x28"):
        windows((28, 28), (32, 32), None, "digits.keras")
