"""Group normalisation in both meanings of its scale, as instance normalisation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines.onnx_graph.precision import cast_precision
from engines.onnx_graph.suiting.norms import without_group_normalisation

from ..precision.nets import check, feeds_for, made_in, net, run, weights


def grouped(opset: int, shape: str = "2,6,4,5", groups: int = 3) -> onnx.ModelProto:
    count = 6 if opset >= 21 else groups
    more = f"<num_groups={groups}, epsilon=0.001>"
    text = f"(float[{shape}] x) => (float[{shape}] y) {{ y = GroupNormalization{more}(x, s, b) }}"
    return net(text, opset=opset, ir_version=10, s=weights(count, size=1.0), b=weights(count, seed=1))


@pytest.mark.parametrize("shape", ["2,6,4,5", "1,6,7", "2,6,3,4,5"])
@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("opset", [18, 21])
def test_the_results_stay_the_same(opset: int, groups: int, shape: str) -> None:
    model = grouped(opset, shape, groups)
    made = without_group_normalisation(model)
    check(made)
    assert {"GroupNormalization"}.isdisjoint(node.op_type for node in made.graph.node)
    feeds = {"x": np.random.default_rng(4).normal(3, 2, [int(length) for length in shape.split(",")]).astype(np.float32)}
    np.testing.assert_allclose(run(made, feeds)["y"], run(model, feeds)["y"], atol=2e-5)


def test_an_open_batch_stays_open() -> None:
    model = grouped(21, "n,6,4,5")
    made = without_group_normalisation(model)
    for batch in (1, 3):
        feeds = {"x": np.random.default_rng(4).normal(size=(batch, 6, 4, 5)).astype(np.float32)}
        np.testing.assert_allclose(run(made, feeds)["y"], run(model, feeds)["y"], atol=2e-5)


def test_the_normalisation_stays_in_fp32() -> None:
    made = cast_precision(without_group_normalisation(grouped(21)), "fp16")
    assert made_in(made, "GroupNormalization_y/normalise") == "fp32"
    feeds = feeds_for(grouped(21))
    np.testing.assert_allclose(run(made, feeds)["y"], run(grouped(21), feeds)["y"], atol=5e-3)


def test_other_networks_come_back_as_they_are() -> None:
    model = net("(float[1,3] x) => (float[1,3] y) { y = Relu(x) }")
    assert without_group_normalisation(model) is model
