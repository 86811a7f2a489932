"""Real builds: TensorRT-RTX builds ahead of time without a GPU or driver."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import BuildCancelledError, BuildError
from engines.trt.builder import BuildOptions, Progress, build_plan, check_target
from engines.trt.runtime import TensorRt, open_tensorrt

OPTIONS = BuildOptions(workspace_bytes=2**28, targets=("86",))


@pytest.fixture(scope="module")
def tensorrt() -> TensorRt:
    pytest.importorskip("tensorrt_rtx")
    return open_tensorrt("tensorrt-rtx")


def network(batch: int | str = 1, rows: int | str = 16, op: str = "Relu", half: bool = False) -> bytes:
    """A convolution and an activation."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(dtype)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c"], ["y"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, [batch, 3, rows, 16])],
        [helper.make_tensor_value_info("y", kind, [batch, 8, rows, 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_a_network_is_built_and_its_progress_reported(tensorrt: TensorRt, half: bool) -> None:
    reported: list[tuple[str, float | None]] = []
    built = build_plan(tensorrt, network(half=half), OPTIONS, report=lambda phase, fraction: reported.append((phase, fraction)))
    assert len(built.plan) > 1000
    assert built.timing_cache is None, "nothing is measured without a GPU"
    assert reported[0] == ("building", None)
    assert all(fraction is None or 0 <= fraction <= 1 for _, fraction in reported)


def test_a_dynamic_batch_gets_its_profile(tensorrt: TensorRt) -> None:
    options = BuildOptions(workspace_bytes=2**28, targets=("86",), largest_batch=4)
    assert build_plan(tensorrt, network(batch="batch"), options).plan


def test_open_rows_are_refused_with_the_cure(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildError, match=r"input image has open dimensions .*--size HxW"):
        build_plan(tensorrt, network(rows="rows"), OPTIONS)


def test_an_unknown_operator_is_named(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildError, match=r"cannot read the network \(node last: it has no operator NoSuchOperator\)"):
        build_plan(tensorrt, network(op="NoSuchOperator"), OPTIONS)


@pytest.mark.parametrize("junk", [b"", b"not onnx at all", b"\x08\x07" + bytes(100)])
def test_a_file_of_another_kind_is_refused(tensorrt: TensorRt, junk: bytes) -> None:
    with pytest.raises(BuildError, match="TensorRT-RTX"):
        build_plan(tensorrt, junk, OPTIONS)


def test_a_cancelled_build_raises(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildCancelledError):
        build_plan(tensorrt, network(), OPTIONS, is_cancelled=lambda: True)


def test_an_unknown_target_lists_the_known_ones(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildError, match=r"does not build for compute capability 87\. Known: 75, 80, 86, 89, 120, 121"):
        check_target(tensorrt, "87")


def test_two_targets_make_one_plan(tensorrt: TensorRt) -> None:
    one = build_plan(tensorrt, network(), OPTIONS).plan
    two = build_plan(tensorrt, network(), BuildOptions(workspace_bytes=2**28, targets=("86", "120"))).plan
    assert len(two) != len(one)


def test_without_a_gpu_and_a_target_the_reason_is_reported(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildError, match=r"could not build the network: Error Code 1: .*CUDA driver version is insufficient"):
        build_plan(tensorrt, network(), BuildOptions(workspace_bytes=2**28))


def test_a_missing_dla_is_refused(tensorrt: TensorRt) -> None:
    options = BuildOptions(workspace_bytes=2**28, targets=("86",), dla_core=0)
    with pytest.raises(BuildError, match="finds no DLA on this machine"):
        build_plan(tensorrt, network(), options)


def test_the_precision_of_the_network_is_built(tensorrt: TensorRt) -> None:
    """An FP16 network has FP16 weights in its plan: half as many bytes."""
    weights = np.random.default_rng(0).normal(size=(512, 512, 3, 3))
    sizes = []
    for kind, dtype in ((TensorProto.FLOAT, np.float32), (TensorProto.FLOAT16, np.float16)):
        graph = helper.make_graph(
            [helper.make_node("Conv", ["image", "w"], ["y"])],
            "wide",
            [helper.make_tensor_value_info("image", kind, [1, 512, 8, 8])],
            [helper.make_tensor_value_info("y", kind, [1, 512, 6, 6])],
            [numpy_helper.from_array(weights.astype(dtype), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        sizes.append(len(build_plan(tensorrt, bytes(model.SerializeToString()), OPTIONS).plan))
    assert sizes[1] < 0.65 * sizes[0]


def steps(*events: tuple[str, Any]) -> list[float]:
    reported: list[float] = []
    progress = Progress(lambda phase, fraction: reported.append(fraction or 0.0), every_s=0.0)
    for name, arguments in events:
        getattr(progress, name)(*arguments)
    return reported


def test_nested_phases_give_one_fraction_that_never_decreases() -> None:
    events = [
        ("start", ("Building", None, 2)),
        ("start", ("Tactics", "Building", 4)),
        *(("step", ("Tactics", i)) for i in range(4)),
        ("finish", ("Tactics",)),
        ("step", ("Building", 0)),
        ("start", ("Serialising", "Building", 1)),
        ("step", ("Serialising", 0)),
        ("finish", ("Serialising",)),
        ("step", ("Building", 1)),
    ]
    reported = steps(*events)
    assert reported[0] == 0.0
    assert reported[2:6] == [0.125, 0.25, 0.375, 0.5]
    assert max(reported) == reported[-1] == 1.0
