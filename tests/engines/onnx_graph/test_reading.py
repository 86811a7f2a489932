from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from engines.errors import ModelFileError
from engines.onnx_graph.reading import TensorFacts, read_network


def test_open_shapes_are_inferred_with_a_batch_of_one(nets) -> None:
    facts = read_network(nets.semantic(size=(32, 24)))
    assert [str(tensor) for tensor in facts.inputs] == ["image float32[1, 3, 24, 32]"]
    assert [str(tensor) for tensor in facts.outputs] == ["logits float32[1, 3, 24, 32]"]


def test_dynamic_rows_and_columns_stay_open(nets) -> None:
    facts = read_network(nets.semantic(size=("width", "height")))
    assert facts.inputs == (TensorFacts("image", "float32", (1, 3, None, None)),)
    assert facts.outputs == (TensorFacts("logits", "float32", (1, 3, None, None)),)


def test_metadata_is_read(nets) -> None:
    assert read_network(nets.semantic(metadata={"task": "segment", "x": "y"})).metadata == {"task": "segment", "x": "y"}


def test_weights_listed_among_the_inputs_are_not_inputs(nets) -> None:
    """Old exporters list every weight among the inputs."""
    node = helper.make_node("Conv", ["image", "weights"], ["logits"])
    path = nets.save(
        "old",
        [node],
        [("image", "float32", [1, 3, 8, 8]), ("weights", "float32", [4, 3, 1, 1])],
        [("logits", "float32", [1, 4, 8, 8])],
        {"weights": np.ones((4, 3, 1, 1), np.float32)},
    )
    assert [tensor.name for tensor in read_network(path).inputs] == ["image"]


def test_a_shape_that_cannot_be_inferred_is_taken_from_a_run(nets) -> None:
    """The shape of this output depends on the values of a tensor."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["count"], to=7),
        helper.make_node("Add", ["shape", "count"], ["real_shape"]),
        helper.make_node("Reshape", ["image", "real_shape"], ["logits"]),
    ]
    shape = {"shape": np.array([1, 3, 4, 16], np.int64)}
    path = nets.save("reshaped", nodes, [("image", "float32", [1, 3, 8, 8])], [("logits", "float32", [1, "c", "h", "w"])], shape)
    assert read_network(path).outputs == (TensorFacts("logits", "float32", (1, 3, 4, 16)),)


def test_weights_in_a_file_next_to_the_model_work_from_any_working_folder(
    nets, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's exporter writes them by default. Checked by content, the file was searched in the working folder."""
    path = nets.semantic(external_data=True)
    assert path.with_name("colours.onnx.data").is_file()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert read_network(path).outputs[0].shape == (1, 3, 24, 32)


def test_a_missing_weights_file_is_named(nets) -> None:
    path = nets.semantic(external_data=True)
    path.with_name("colours.onnx.data").unlink()
    with pytest.raises(ModelFileError, match=r"colours\.onnx\.data"):
        read_network(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: no such model file"):
        read_network(tmp_path / "gone.onnx")
    with pytest.raises(ModelFileError, match="no such model file"):
        read_network(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_file_cut_short_is_refused(nets, share: float) -> None:
    path = nets.semantic(weights=np.random.default_rng(1).standard_normal((200, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFileError) as caught:
        read_network(path)
    assert caught.value.what.startswith(f"{path}: not a readable ONNX file")
    assert caught.value.cure == "Export or download it again"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"this is text, not a network\n" * 40,
        b"\x00" * 4096,
        np.random.default_rng(3).bytes(5000),
        b"\x89PNG\r\n\x1a\n" + b"\1" * 99,
    ],
    ids=["text", "zeros", "noise", "picture"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fake.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"fake\.onnx: not a readable ONNX file"):
        read_network(path)


def test_every_shared_model_has_complete_shapes(shared: Path) -> None:
    paths = [path for path in sorted((shared / "models").glob("*/*.onnx")) if "dynamic" not in path.name]
    assert len(paths) >= 10
    for path in paths:
        facts = read_network(path)
        assert len(facts.inputs) == 1, path
        for tensor in (*facts.inputs, *facts.outputs):
            assert tensor.shape[0] == 1, f"{path.name}: {tensor}"
            assert None not in tensor.shape, f"{path.name}: {tensor}"
