from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.families import DecodeSettings
from engines.types import F32, I32, MAX_OBJECTS, U8, GpuOutputs, Instances, Rows, Size


def test_the_size_of_an_array_is_columns_by_rows() -> None:
    assert Size.of(np.zeros((720, 1280, 3), np.uint8)) == Size(1280, 720)
    assert str(Size(1280, 720)) == "1280x720"


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 4000))
def test_fitting_to_a_width_only_shrinks_and_keeps_the_aspect(width: int, height: int, limit: int) -> None:
    fitted = Size(width, height).fitted_to_width(limit)
    if width <= limit:
        assert fitted == Size(width, height)
        return
    assert fitted.width == limit
    assert fitted.height % 2 == 0
    assert abs(fitted.height - max(2, height * limit / width)) <= 1


def test_no_instances_are_empty_arrays_of_the_right_kind() -> None:
    none = Instances.none(Size(40, 30))
    assert len(none) == 0
    assert (none.boxes_px.shape, none.boxes_px.dtype) == ((0, 4), np.float32)
    assert (none.label_map.shape, none.label_map.dtype) == ((30, 40), np.uint8)


@pytest.mark.parametrize("count", [0, -1, MAX_OBJECTS + 1])
def test_more_objects_than_a_label_map_holds_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"max_objects .* must lie in 1\.\.254"):
        DecodeSettings(max_objects=count)


class Grids:
    """An output elsewhere; counts how often it was asked for."""

    shape, dtype = (1, 2, 3, 4), np.dtype(np.float32)

    def __init__(self) -> None:
        self.asked = 0

    def array(self) -> F32:
        self.asked += 1
        return np.ones(self.shape, np.float32)

    def mixed(self, cuts: I32, coefficients: F32, size: Size) -> U8:
        raise NotImplementedError

    def chosen(self, cuts: I32, planes: Rows, size: Size) -> U8:
        raise NotImplementedError


def test_outputs_on_a_gpu_come_to_the_host_only_when_they_are_asked_for() -> None:
    grids = Grids()
    outputs = GpuOutputs({"rows": np.zeros((1, 5), np.float32)}, {"masks": grids})
    assert (list(outputs), len(outputs)) == (["rows", "masks"], 2)
    assert "masks" in outputs
    assert "rows" in outputs
    assert "labels" not in outputs
    assert outputs["rows"].shape == (1, 5)
    assert grids.asked == 0
    assert dict(outputs)["masks"].shape == (1, 2, 3, 4)
    assert grids.asked == 1
