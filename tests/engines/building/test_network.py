"""A network is tested on the CPU before a build, and gets nodes in FP32 where half precision is too inaccurate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engines.building import network as room
from engines.building.network import prepare
from engines.errors import BuildError, ModelFileError
from engines.models.model import Model, load_model
from engines.types import Size
from tests.fakes.gpu.tensorrt_rules import refusals

FRAMES = [np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8) for seed in range(3)]


def prepared(model: Model, precision: str = "fp16", **asked: Any) -> room.Prepared:
    facts = {"size": model.card.input.size, "largest_batch": 1, "frames": FRAMES, **asked}
    return prepare(onnx.load(model.path), model.card, precision=precision, **facts)


def overflowing(nets, name: str = "overflowing", first: float = 2e4, then: float = 1 / 2e4) -> Model:
    """The colours, through numbers beyond FP16: x 20,000 and then / 20,000."""
    weights = (np.eye(3) * 10).astype(np.float32).reshape(3, 3, 1, 1)
    large = (np.eye(3) * first).astype(np.float32).reshape(3, 3, 1, 1)
    small = (np.eye(3) * then).astype(np.float32).reshape(3, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "colour"),
        helper.make_node("Conv", ["c", "large"], ["l"], "enlarge"),
        helper.make_node("Conv", ["l", "small"], ["logits"], "shrink"),
    ]
    path: Path = nets.save(
        name,
        nodes,
        [("image", "float32", [1, 3, 24, 32])],
        [("logits", "float32", [1, 3, 24, 32])],
        {"w": weights, "large": large, "small": small},
    )
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return load_model(path)


def deep(nets, name: str = "deep", layers: int = 8) -> Model:
    """The colours, through many convolutions that each increase their contrast."""
    nodes, tensor = [], "image"
    for layer in range(layers):
        result = "logits" if layer == layers - 1 else f"t{layer}"
        nodes.append(helper.make_node("Conv", [tensor, f"w{layer}"], [result], f"conv{layer}"))
        tensor = result
    weights = {f"w{layer}": (np.eye(3) * 1.3).astype(np.float32).reshape(3, 3, 1, 1) for layer in range(layers)}
    path: Path = nets.save(name, nodes, [("image", "float32", [1, 3, 24, 32])], [("logits", "float32", [1, 3, 24, 32])], weights)
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return load_model(path)


def test_fp32_is_not_cast_and_not_compared(nets) -> None:
    made = prepared(load_model(nets.semantic()), "fp32")
    assert made.parity is None
    assert made.card.input.dtype == "float32"
    assert set(made.card.outputs) == {"labels", "logit_mean"}


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "float16"), ("bf16", "float32")])
def test_half_precision_is_measured_against_fp32(nets, precision: str, dtype: str) -> None:
    made = prepared(load_model(nets.semantic()), precision)
    assert made.card.input.dtype == dtype
    assert made.parity is not None
    assert (made.parity.frames, made.parity.nan_count, made.parity.measured_on) == (3, 0, "cpu")
    assert made.parity.label_agreement is not None
    assert made.parity.label_agreement >= 0.98


def test_an_overflowing_node_stays_in_fp32_and_is_named(nets) -> None:
    made = prepared(overflowing(nets))
    assert made.parity is not None
    assert "enlarge" in made.parity.kept_fp32
    assert made.parity.nan_count == 0
    assert made.parity.label_agreement is not None
    assert made.parity.label_agreement >= 0.995


def test_a_network_that_loses_too_much_accuracy_is_refused_with_the_cure(nets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_KEPT", 0)
    with pytest.raises(
        BuildError,
        match=r"overflowing loses too much accuracy in FP16: 3 frames with NaN or infinite outputs\. Try --precision fp32",
    ):
        prepared(overflowing(nets))


def test_a_network_without_weights_has_no_half_precision(tiny_model: Path) -> None:
    with pytest.raises(BuildError, match=r"no layer with weights can run in fp16\. Try --precision fp32"):
        prepared(load_model(tiny_model))


def test_damaged_weights_are_not_attributed_to_the_precision(nets) -> None:
    with pytest.raises(BuildError, match=r"the network gives NaN or infinit(y|e values) in FP32"):
        prepared(overflowing(nets, "damaged", 1e29, 1e29))  # the reader of the file lets them pass


def test_another_size_and_a_batch(nets) -> None:
    model = load_model(nets.semantic(size=("w", "h"), card="[input]\nsize_px = [32, 24]\nmean = [0,0,0]\nstd = [255,255,255]\n"))
    made = prepared(model, size=Size(64, 48), largest_batch=4)
    dims = made.network.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims[1:]] == [3, 48, 64]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_what_tensorrt_refuses_is_rewritten_before_a_build(nets, precision: str) -> None:
    """A group normalisation of opset 21, an unsorted TopK, and labels as bytes that come from INT64."""
    network = onnx.load(nets.semantic(form="labels_uint8", batch=1))
    nodes = {node.output[0]: node for node in network.graph.node}
    nodes["logits"].output[0], nodes["index"].input[0] = "first", "normal"
    network.graph.node.insert(1, helper.make_node("GroupNormalization", ["first", "s", "b"], ["normal"], "groups", num_groups=1))
    network.graph.node.append(helper.make_node("TopK", ["normal", "k"], ["top", "best"], "top", axis=1, sorted=0))
    arrays = {"s": np.ones(3, np.float32), "b": np.zeros(3, np.float32), "k": np.array([2])}
    network.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    network.opset_import[0].version, network.ir_version = 21, 10
    path = nets.folder / "refused.onnx"
    onnx.save(network, str(path))
    path.with_suffix(".toml").write_text('classes = ["red", "green", "blue"]\n[input]\nmean = [0,0,0]\nstd = [255,255,255]\n')
    assert {node.op_type for node, _ in refusals(network)} == {"GroupNormalization", "Cast", "TopK"}
    made = prepared(load_model(path), precision)
    assert refusals(made.network) == []
    assert made.parity is None or made.parity.label_agreement == pytest.approx(1, abs=0.005)


def test_an_impossible_size_is_refused(nets) -> None:
    model = load_model(nets.semantic(batch=1))
    network = onnx.load(model.path)
    network.graph.node.append(helper.make_node("Reshape", ["logits", "fixed"], ["same"]))
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3, 24, 32]), "fixed"))
    network.graph.output[0].name = "same"
    onnx.save(network, str(model.path))
    model.path.with_suffix(".toml").write_text("[input]\nmean = [0,0,0]\nstd = [255,255,255]\n")
    model = load_model(model.path)
    with pytest.raises(ModelFileError, match="another size is a constant of its graph"):
        prepared(model, size=Size(64, 48))
