from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelFileError
from engines.models.card import InputSpec
from engines.onnx_graph.editing import GraphEditor, check, input_of, run_on_zeros, tensor_facts
from engines.onnx_graph.precision.wiring import opset_of, tensors_read

SPEC = InputSpec("image", (8, 6), "nchw", "float32", "rgb", "stretch")


def network(
    nodes: list[Any], outputs: dict[str, Any], weights: dict[str, Any] | None = None, opset: int = 17, shape: Any = (1, 3, 6, 8)
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def relu(opset: int = 17) -> onnx.ModelProto:
    return network([helper.make_node("Relu", ["image"], ["out"], name="relu")], {"out": (1, 3, 6, 8)}, opset=opset)


def test_edits_change_a_copy_and_use_unused_names() -> None:
    model = relu()
    edit = GraphEditor(model, "new")
    names = [edit.add("Neg", ["out"], "relu", output="out"), edit.add("Neg", ["out"], "relu"), edit.add("Neg", ["out"], "relu")]
    assert names == ["out_2", "new/relu:0", "new/relu:0_2"]
    assert [node.name for node in edit.graph.node] == ["relu", "new/relu", "new/relu_2", "new/relu_3"]
    assert edit.producers["out_2"].name == "new/relu"
    assert len(model.graph.node) == 1
    edit.set_outputs([("out_2", TensorProto.FLOAT, (1, 3, 6, 8))])
    check(edit.model, "edited")
    (found,) = run_on_zeros(edit.model, SPEC, ["out_2"])
    assert found.shape == (1, 3, 6, 8)


def test_a_name_inside_a_branch_is_taken_too() -> None:
    """An outer tensor of that name would hide the inner one: ONNX forbids it."""
    branch = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["new/relu:0"])], "b", [], [helper.make_tensor_value_info("new/relu:0", 1, None)]
    )
    node = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    edit = GraphEditor(network([node], {"out": (1, 3, 6, 8)}, {"yes": np.array(True)}), "new")
    assert edit.add("Neg", ["out"], "relu") == "new/relu:0_2"


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMean", "ReduceSum"])
def test_reductions_have_axes_in_the_form_of_their_opset(op_type: str, opset: int) -> None:
    edit = GraphEditor(relu(opset), "new")
    reduced = edit.reduce(op_type, "out", [1, 2], "reduced", keepdims=False)
    edit.set_outputs([(reduced, TensorProto.FLOAT, (1, 8))])
    edit.model.ir_version = 10
    check(edit.model, "edited")
    assert run_on_zeros(edit.model, SPEC, [reduced])[0].shape == (1, 8)


def test_everything_unused_is_dropped() -> None:
    """Nodes, weights and value_info; tensors that a branch reads stay, and omitted outputs need nothing."""
    branch = helper.make_graph(
        [helper.make_node("Add", ["image", "kept"], ["in"])], "b", [], [helper.make_tensor_value_info("in", 1, None)]
    )
    nodes = [
        helper.make_node("Dropout", ["image"], ["first", ""], name="first"),
        helper.make_node("Add", ["image", "lost"], ["other"], name="other"),
        helper.make_node("LSTM", ["sequence", "w", "r"], ["", "", ""], name="nobody's", hidden_size=1),
        helper.make_node("If", ["yes"], ["second"], name="second", then_branch=branch, else_branch=branch),
        helper.make_node("Clip", ["second", "", "kept"], ["third"], name="third"),
    ]
    weights = {"kept": np.float32(1), "lost": np.float32(2), "yes": np.array(True), "sequence": np.zeros((1, 1, 1), np.float32)}
    weights |= {"w": np.zeros((1, 4, 1), np.float32), "r": np.zeros((1, 4, 1), np.float32)}
    model = network(nodes, {"third": None, "other": None, "first": None}, weights)
    model.graph.value_info.extend(helper.make_tensor_value_info(name, 1, None) for name in ("second", "other"))
    edit = GraphEditor(model, "new")
    edit.set_outputs([], kept=["third"])
    assert [node.name for node in edit.graph.node] == ["second", "third"]
    assert {tensor.name for tensor in edit.graph.initializer} == {"kept", "yes"}
    assert [value.name for value in edit.graph.value_info] == ["second"]
    assert {"image", "kept"} <= set(tensors_read(edit.graph.node[0]))


def test_an_open_size_is_pinned_and_the_batch_stays_open() -> None:
    model = network([helper.make_node("Relu", ["image"], ["out"])], {"out": None}, shape=("batch", 3, "h", "w"))
    edit = GraphEditor(model, "new")
    edit.pin_size(SPEC)
    dims = input_of(edit.model, "image").type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, 6, 8]


def test_shapes_are_those_of_the_card_not_those_the_exporter_wrote() -> None:
    model = network([helper.make_node("Relu", ["image"], ["out"])], {"out": ("n", 3, 99, 98)}, shape=("n", 3, "h", "w"))
    assert tensor_facts(model, SPEC)["out"] == (TensorProto.FLOAT, (1, 3, 6, 8))
    with pytest.raises(ModelFileError, match='no input "picture", which its card names'):
        input_of(model, "picture")


def test_a_shape_that_cannot_be_inferred_is_taken_from_a_run() -> None:
    nodes = [
        helper.make_node("NonZero", ["image"], ["where"]),
        helper.make_node("Cast", ["where"], ["out"], to=TensorProto.FLOAT),
    ]
    model = network(nodes, {"out": ("four", "many")})
    assert tensor_facts(model, SPEC)["out"] == (TensorProto.FLOAT, (4, None))
    assert tensor_facts(model, SPEC, ["out", "where"])["where"] == (TensorProto.INT64, (4, 0))
    broken = network([helper.make_node("Nonsense", ["image"], ["out"], domain="elsewhere")], {"out": ("four", "many")})
    assert tensor_facts(broken, SPEC, ["out"])["out"][1] == (None, None)


def test_the_opset_is_that_of_onnx_operators() -> None:
    model = relu()
    model.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 99)])
    assert opset_of(model) == 17
    del model.opset_import[:]
    assert opset_of(model) == 0


def test_an_invalid_graph_is_reported_in_one_line() -> None:
    model = relu()
    model.graph.node[0].input[0] = "nobody makes this"
    with pytest.raises(ModelFileError, match="small: not a valid ONNX graph") as caught:
        check(model, "small")
    assert "\n" not in str(caught.value)
