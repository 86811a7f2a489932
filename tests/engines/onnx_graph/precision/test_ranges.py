"""Ranges of activations: histograms over many inputs, of which one at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.onnx_graph.precision import ranges
from engines.onnx_graph.precision.ranges import Magnitudes, measure_magnitudes

from .nets import net, weights


def measured(*batches: npt.NDArray[Any]) -> Magnitudes:
    found = Magnitudes()
    for batch in batches:
        found.add(batch.astype(np.float32))
    return found


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.9, 99.99])
def test_a_limit_holds_its_share_of_the_magnitudes(percentile: float) -> None:
    values = np.random.default_rng(2).normal(0, 3, (40, 50, 50))
    exact = np.percentile(np.abs(values), percentile, method="lower")
    assert exact <= measured(*values).limit(percentile) <= exact * 1.01


def test_all_of_them_is_the_largest_exactly_of_either_sign() -> None:
    found = measured(np.array([[0.1, 2.5]]), np.array([[-3.3, 1.0]]))
    assert found.limit(100) == np.float32(3.3)
    assert measured(np.zeros((3, 3))).limit(100) == 0
    assert measured(np.zeros((3, 3))).limit(99.9) == 0


def test_one_outlier_does_not_widen_the_range() -> None:
    values = np.random.default_rng(3).uniform(0, 1, 200_000)
    values[77] = 1000
    found = measured(values)
    assert found.limit(100) == 1000
    assert 0.99 < found.limit(99.999) < 1.01


def test_values_that_are_not_finite_are_left_out() -> None:
    found = measured(np.array([np.inf, -np.inf, np.nan, 2.0, -1.0]))
    assert found.limit(100) == 2
    assert found.limit(99.9) == 2
    assert measured(np.array([np.nan])).limit(100) == 0


def test_large_tensors_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=1000)
    whole = measured(values).limit(90)
    monkeypatch.setattr(ranges, "COUNTED_AT_ONCE", 7)
    assert measured(values).limit(90) == whole


def test_inputs_are_taken_one_at_a_time_and_tensors_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net("(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w) b = Relu(a) y = Conv(b, w) }", w=weights(4, 4, 1, 1))
    alive = 0

    def feeds() -> Iterator[dict[str, npt.NDArray[Any]]]:
        nonlocal alive
        for seed in range(5):
            alive += 1
            yield {"x": np.full((1, 4, 8, 8), seed, np.float32)}

    plain = measure_magnitudes(model, ("x", "a", "b", "y"), feeds())
    assert alive == 5
    assert plain["x"].largest == 4
    assert 0 < plain["b"].largest <= plain["a"].largest
    monkeypatch.setattr(ranges, "BYTES_AT_ONCE", 1)
    grouped = measure_magnitudes(model, ("x", "a", "b", "y"), feeds())
    assert {name: found.limit(99) for name, found in grouped.items()} == {name: found.limit(99) for name, found in plain.items()}
    with pytest.raises(ValueError, match="there are no frames"):
        measure_magnitudes(model, ("a",), iter(()))
