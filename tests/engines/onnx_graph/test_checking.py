"""Files that would loop for ever, fill the memory or lead elsewhere: refused before native code sees them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import BackendUnavailableError, InferenceError, ModelFileError
from engines.models.model import load_model
from engines.onnx_graph import checking, probing
from engines.onnx_graph.reading import read_network
from engines.segmenter import Segmenter

SHAPE = [1, 3, 32, 32]
CARD = 'classes = ["a", "b", "c"]\n[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n'


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def saved(folder: Path, nodes: list[Any], weights: dict[str, Any] | None = None, output: Any = None, **model: Any) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", [value("image", SHAPE)], [output or value("out", SHAPE)], tensors)
    model = {"opset_imports": [helper.make_opsetid("", 17)], **model}
    path = folder / "net.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=9, **model).SerializeToString())
    path.with_suffix(".toml").write_text(CARD)
    return path


def convolution(folder: Path, change: Callable[[Any], None] = lambda tensor: None) -> Path:
    path = saved(folder, [helper.make_node("Conv", ["image", "w"], ["out"])], {"w": np.ones((3, 3, 1, 1), np.float32)})
    model = onnx.load(path)
    change(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    return path


def endless(folder: Path, *, is_always: bool, shape: list[Any] = SHAPE) -> Path:
    """A Loop of 2^62 rounds; is_always: or else where the picture is not black."""
    values = [value("i", [], TensorProto.INT64), value("ci", [], TensorProto.BOOL), value("xi", SHAPE)]
    nodes = [helper.make_node("Identity", ["ci"], ["co"]), helper.make_node("Identity", ["xi"], ["xo"])]
    body = helper.make_graph(nodes, "body", values, [value("co", [], TensorProto.BOOL), value("xo", SHAPE)])
    weights = {"rounds": np.array(2**62, np.int64), "black": np.array(-1 if is_always else 0, np.float32)}
    graph = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "black"], ["go"]),
        helper.make_node("Loop", ["rounds", "go", "image"], ["out"], body=body),
    ]
    return saved(folder, graph, weights, value("out", shape))


# Loops


@pytest.mark.parametrize("shape", [SHAPE, ["n", "c", "h", "w"]], ids=["shapes known", "shapes open"])
def test_an_endless_loop_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[Any]) -> None:
    """It was run on the main thread to learn its shapes, deaf to Ctrl-C."""
    monkeypatch.setattr(probing, "LIMIT_S", 1.0)
    path = endless(tmp_path, is_always=True, shape=shape)
    with pytest.raises(ModelFileError, match=r"one run of its network takes more than 1 s\. It may loop for ever"):
        read_network(path)


def test_a_loop_that_only_some_pictures_make_endless_can_be_cancelled(tmp_path: Path) -> None:
    path = endless(tmp_path, is_always=False)
    with pytest.raises(BackendUnavailableError, match="Loop in its graph cannot be interrupted in OpenVINO"):
        Segmenter(load_model(path), "openvino")
    with Segmenter(load_model(path), "ort") as segmenter:
        threading.Timer(0.3, segmenter.cancel).start()
        start_s = time.monotonic()
        with pytest.raises(InferenceError, match="ONNX Runtime failed while running"):
            segmenter(np.full((32, 32, 3), 200, np.uint8))
        assert time.monotonic() - start_s < 5


def test_the_child_ends_with_its_parent_and_its_limits(tmp_path: Path) -> None:
    """A tensor larger than the child may have; shapes do not say so, since the values do."""
    nodes = [
        helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "length"], ["many"]),
        helper.make_node("Cast", ["many"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["whole", "axis"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["small"], keepdims=0),
        helper.make_node("Add", ["image", "small"], ["out"]),
    ]
    weights = {"length": np.array(4e9, np.float32), "axis": np.array([0], np.int64)}
    path = saved(tmp_path, nodes, weights, value("out", ["n", "c", "h", "w"]))
    assert probing.probe(path, {"image": ("float32", SHAPE)}) is None, "16 GB are refused, and the rest of the machine lives"


def test_a_probe_tells_types_and_shapes(tmp_path: Path) -> None:
    assert probing.probe(convolution(tmp_path), {"image": ("float32", SHAPE)}) == [("float32", (1, 3, 32, 32))]


# Sizes


@pytest.mark.parametrize("output", [SHAPE, ["n", "c", "h", "w"]], ids=["shapes known", "shapes open"])
def test_a_tensor_that_no_machine_holds_is_refused(tmp_path: Path, output: list[Any]) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["image", "sum"], ["out"]),
    ]
    path = saved(tmp_path, nodes, {"shape": np.array([100_000, 250_000], np.int64)}, value("out", output))
    with pytest.raises(ModelFileError, match="the tensor big of its network takes 100 GB"):
        read_network(path)


def test_sparse_weights_that_are_huge_once_dense_are_refused(tmp_path: Path) -> None:
    path = convolution(tmp_path)
    model = onnx.load(path)
    values, places = (numpy_helper.from_array(np.ones(1, kind), name) for kind, name in ((np.float32, "v"), (np.int64, "p")))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**20, 2**20]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="takes 4,398 GB"):
        read_network(path)


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MAX_NODES", 100)
    names = ["image", *(f"t{number}" for number in range(100)), "out"]
    nodes = [helper.make_node("Identity", [before], [after]) for before, after in itertools.pairwise(names)]
    with pytest.raises(ModelFileError, match="has more than 100 nodes"):
        read_network(saved(tmp_path, nodes))


def functions(calls: int, depth: int, *, is_circular: bool = False) -> list[Any]:
    """Function 0 calls 1 so often, that calls 2 so often, and so on."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    found = []
    for number in range(depth):
        last = number == depth - 1
        called = ("F0", "my") if last and is_circular else ("Identity", "") if last else (f"F{number + 1}", "my")
        names = ["x", *(f"t{call}" for call in range(calls - 1)), "y"]
        pairs = itertools.pairwise(names)
        body = [helper.make_node(called[0], [before], [after], domain=called[1]) for before, after in pairs]
        found.append(helper.make_function("my", f"F{number}", ["x"], ["y"], body, opsets))
    return found


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (functions(8, 12), r"has 100,001 nodes, once functions are expanded"),
        (functions(1, 1, is_circular=True), "its function F0 calls itself"),
        (functions(2, 3, is_circular=True), r"its function F\d calls itself"),
    ],
    ids=["8 to the 12th", "itself", "a circle"],
)
def test_functions_that_grow_without_end_are_refused(tmp_path: Path, made: list[Any], says: str) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    node = helper.make_node("F0", ["image"], ["out"], domain="my")
    with pytest.raises(ModelFileError, match=says):
        read_network(saved(tmp_path, [node], functions=made, opset_imports=opsets))


# Weights in other files


def outside(location: str, offset: str = "0", length: str = "36") -> Callable[[Any], None]:
    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", location), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text

    return change


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (("../../../../../../etc/passwd",), 'are in "../../../../../../etc/passwd", not in a file beside the model'),
        (("/etc/passwd",), 'are in "/etc/passwd", not in a file beside the model'),
        (("C:\\weights",), "not in a file beside the model"),
        (("link.bin",), "a link to another folder"),
        (("missing.bin",), "which is missing. Put it beside the model"),
        (("w.bin", "0", "4096000000"), "should be bytes 0 to 4096000000 of"),
        (("w.bin", "-4", "36"), "should be bytes -4 to 32 of"),
        (("w.bin", "32", "36"), "should be bytes 32 to 68 of"),
        (("w.bin", "0", "8"), "should be bytes 0 to 8 of"),
        (("w.bin", "x", "36"), "have no place in"),
    ],
    ids=str,
)
def test_weights_that_are_not_where_the_file_says_are_refused(tmp_path: Path, place: tuple[str, ...], says: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"\0" * 36)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 36)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelFileError) as caught:
        read_network(convolution(folder, outside(*place)))
    assert says in str(caught.value)


def test_weights_may_change_while_they_are_used(tmp_path: Path, cpu_backend: str) -> None:
    """They were mapped: a shorter file ended the process with SIGBUS."""
    (tmp_path / "w.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes() + bytes(2**20))
    red = np.full((32, 32, 3), (0, 0, 255), np.uint8)
    with Segmenter(load_model(convolution(tmp_path, outside("w.bin"))), cpu_backend) as segmenter:
        before = segmenter(red).class_map
        with (tmp_path / "w.bin").open("r+b") as file:
            file.truncate(0)
        after = segmenter(red).class_map
    assert before is not None
    assert after is not None
    assert set(np.unique(before)) == set(np.unique(after)) == {0}
