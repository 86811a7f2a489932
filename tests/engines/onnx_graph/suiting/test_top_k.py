"""A TopK that TensorRT takes gives what the one in the file gives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines.errors import ModelFileError
from engines.onnx_graph.suiting import top_k
from engines.onnx_graph.suiting.top_k import MOST, with_small_top_k

from ..precision.nets import check, net, run


def best(count: int, *, shape: str = "2,50", more: str = "") -> onnx.ModelProto:
    constant = f"k = Constant<value = int64[1] {{{count}}}>()"
    axes = shape.split(",")
    axes[-1] = str(count)
    made = ",".join(axes)
    return net(f"(float[{shape}] x) => (float[{made}] v, int64[{made}] i) {{ {constant} v, i = TopK{more}(x, k) }}")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rounds of seven, so that small networks have several."""
    monkeypatch.setattr(top_k, "MOST", 7)
    return 7


@pytest.mark.parametrize("largest", [1, 0])
@pytest.mark.parametrize("count", [8, 14, 15, 50])
def test_rounds_give_values_indices_and_the_order_of_equals_of_one(few: int, largest: int, count: int) -> None:
    values = np.random.default_rng(1).integers(0, 9, (2, 50)).astype(np.float32)  # many equals
    values[0, 3:20] = -np.inf if largest else np.inf
    whole = best(count, more=f"<axis=-1, largest={largest}>")
    split = with_small_top_k(whole)
    check(split)
    assert sum(node.op_type == "TopK" for node in split.graph.node) == -(-count // few)
    wanted, found = run(whole, {"x": values}), run(split, {"x": values})
    np.testing.assert_array_equal(found["v"], wanted["v"])
    finite = np.isfinite(wanted["v"])
    np.testing.assert_array_equal(found["i"][finite], wanted["i"][finite])
    assert all(len(set(row)) == count for row in found["i"])


def test_another_axis_and_integers(few: int) -> None:
    values = np.random.default_rng(2).integers(-5, 5, (20, 3))
    whole = net(
        "(int64[20,3] x) => (int64[9,3] v, int64[9,3] i) { k = Constant<value = int64[1] {9}>() v, i = TopK<axis=0>(x, k) }"
    )
    found = run(with_small_top_k(whole), {"x": values})
    for name, wanted in run(whole, {"x": values}).items():
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize(("count", "is_split"), [(MOST, False), (MOST + 1, True)])
def test_the_limit_is_that_of_tensorrts_parser(count: int, is_split: bool) -> None:
    """ "K must be less than 3840"."""
    model = best(count, shape="1,9000")
    assert (with_small_top_k(model) is not model) == is_split


def test_unsorted_results_become_sorted() -> None:
    model = best(5, more="<sorted=0>")
    made = with_small_top_k(model)
    assert [attribute.i for attribute in made.graph.node[1].attribute if attribute.name == "sorted"] == [1]
    assert [attribute.i for attribute in model.graph.node[1].attribute if attribute.name == "sorted"] == [0]


def test_too_many_rounds_are_refused_in_one_line_with_the_cure() -> None:
    model = best(40_000, shape="1,50000")
    with pytest.raises(ModelFileError, match=r"^TopK_v takes the best 40,000 .* less than 3,840\. Export it again"):
        with_small_top_k(model)


def test_a_calculated_k_is_left_to_tensorrt() -> None:
    model = net("(float[1,9] x, int64[1] k) => (float[1,n] v) { v, i = TopK(x, k) }")
    assert with_small_top_k(model) is model
