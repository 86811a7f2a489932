# ruff: noqa: E402
"""Export: the file's outputs equal the net's, and TensorRT can build it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.models.card import InputSpec, card_from_dict
from engines.models.sizing import with_input_size
from engines.training import TrainingError
from engines.training.deployed import PEAKS, Deployed, torch_answerer
from engines.training.export import OPSET, export_onnx
from engines.training.parity import agreement, onnx_answerer, probe_images
from engines.types import Size
from tests.fakes.gpu.tensorrt_rules import refusals

from .nets import INPUT_PX, random_net, ripples

SPEC = InputSpec("image", INPUT_PX, "nhwc", "uint8", "bgr", "stretch")
ALL = ("surface", "instances")


def deployed(class_count: int = 5, heads: tuple[str, ...] = (), output: str = "labels") -> Deployed:
    return Deployed(random_net(class_count, heads), output).eval()  # type: ignore[arg-type]


def compare(model: Deployed, path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs, each compared with torch's."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = dict(zip(model.output_names, session.run(list(model.output_names), {"image": images}), strict=True))
    with torch.inference_mode():
        expected = dict(zip(model.output_names, model(torch.from_numpy(images)), strict=True))
    for name, wanted in ((name, answer.numpy()) for name, answer in expected.items()):
        assert (found[name].shape, found[name].dtype) == (wanted.shape, wanted.dtype), name
        if name in ("labels", "surface"):
            assert np.mean(found[name] == wanted) >= 0.9999, name
        elif name in ("alpha", "confidence"):
            assert np.abs(found[name].astype(int) - wanted).max() <= 1, name
        elif name == "offsets":
            np.testing.assert_allclose(found[name], wanted, atol=1e-2)
        else:  # peaks: two of nearly equal height may come in either order
            there = wanted[..., 2] > 0
            assert np.array_equal(found[name][..., 2] > 0, there)
            np.testing.assert_allclose(found[name][..., 2], wanted[..., 2], atol=1e-4)
            same = (found[name][..., :2] == wanted[..., :2]).all(axis=-1)
            assert same[there].mean() > 0.9
    return found


@pytest.mark.parametrize(
    ("output", "heads"), [("labels", ()), ("labels", ALL), ("alpha", ()), ("alpha", ("instances",))], ids=str
)
def test_every_output_is_the_net_s(tmp_path: Path, output: str, heads: tuple[str, ...]) -> None:
    model, path = deployed(2 if output == "alpha" else 5, heads, output), tmp_path / "model.onnx"
    images = probe_images(INPUT_PX)
    assert export_onnx(model, SPEC, path, images) >= 0.9999
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    seen: set[int] = set()
    for image in (*images, ripples()):
        found = compare(model, path, image[None])
        seen |= set(np.unique(found[model.output_names[0]]).tolist())
        if "peaks" in found:
            assert (found["peaks"][..., 2] > 0).any()
    assert len(seen) > 1, "a constant net proves nothing"


def test_the_graph_has_the_documented_opset_names_and_fixed_shapes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(deployed(heads=ALL), SPEC, path, [])
    model = onnx.load(path)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)}
    assert shapes == {
        "image": [1, 64, 96, 3],
        "labels": [1, 32, 48],  # twice as fine as the net's maps
        "confidence": [1, 8, 12],
        "peaks": [1, PEAKS, 3],
        "offsets": [1, 2, 16, 24],
        "surface": [1, 32, 48],
    }
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "Dropout"}, "folded"


@pytest.mark.parametrize(("output", "heads"), [("labels", ALL), ("alpha", ())], ids=str)
def test_the_parser_of_tensorrt_10_3_would_take_it(tmp_path: Path, output: str, heads: tuple[str, ...]) -> None:
    """The tracer writes an argmax to bytes as INT64 -> UINT8, which that version does not convert."""
    path = tmp_path / "model.onnx"
    export_onnx(deployed(heads=heads, output=output), SPEC, path, [])
    assert refusals(onnx.load(path)) == []


def test_channels_are_blue_green_red(tmp_path: Path) -> None:
    """A file with another order would give the same outputs for the reversed image as the net for the plain one."""
    model, path = deployed(), tmp_path / "model.onnx"
    images = probe_images(INPUT_PX)
    export_onnx(model, SPEC, path, images)
    mirrored = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    straight = torch_answerer(model)
    swapped = agreement(lambda image: straight(np.ascontiguousarray(image[..., ::-1])), onnx_answerer(path), mirrored)
    assert swapped["labels"] < 0.99


def test_a_file_that_disagrees_with_its_net_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph with nearest instead of bilinear runs and looks right; only the comparison of labels shows the error."""
    from torch.onnx import export

    def careless(*arguments: Any, **options: Any) -> None:
        export(*arguments, **options)
        model = onnx.load(arguments[2])
        for node in model.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Resize" and attribute.name == "mode":
                    attribute.s = b"nearest"
        onnx.save(model, arguments[2])

    monkeypatch.setattr(torch.onnx, "export", careless)
    with pytest.raises(
        TrainingError, match=r"of the exported model's labels equal the checkpoint's, so nothing was written\. Please report"
    ):
        export_onnx(deployed(), SPEC, tmp_path / "model.onnx", probe_images(INPUT_PX))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("output", "heads"), [("labels", ALL), ("alpha", ("instances",))], ids=str)
def test_a_dynamic_file_takes_other_sizes_and_batches(tmp_path: Path, output: str, heads: tuple[str, ...]) -> None:
    model, path = deployed(2, heads, output), tmp_path / "model.onnx"
    export_onnx(model, SPEC, path, [], dynamic=True)
    graph = onnx.load(path).graph
    opened = [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    assert opened == ["batch", "height", "width", ""]
    for size, batch in ((INPUT_PX, 1), ((160, 96), 1), ((64, 128), 3), ((32, 32), 2)):
        compare(model, path, np.stack([ripples(size, seed) for seed in range(batch)]))


def test_a_file_of_one_size_can_be_changed_to_another(tmp_path: Path) -> None:
    """Centres are numbers of cells in a row: the length of a row must not be a constant."""
    model, path = deployed(heads=ALL), tmp_path / "model.onnx"
    export_onnx(model, SPEC, path, [])
    facts = {"name": "n", "family": "panoptic", "classes": list("abcde"), "things": ["a"], "input": msgspec.to_builtins(SPEC)}
    card = card_from_dict({**facts, "outputs": {name: name for name in model.output_names}}, "test")
    network, resized = with_input_size(onnx.load(path), card, Size(128, 96), 1)
    onnx.save(network, path)
    assert resized.input.size == Size(128, 96)
    found = compare(model, path, ripples((128, 96))[None])
    assert found["peaks"][0, :, 0].max() > INPUT_PX[0], "a centre is where the smaller input had no cell"


def test_no_output_of_a_dynamic_file_has_a_fixed_size(tmp_path: Path) -> None:
    """A runtime may allocate no more than a file says of its outputs."""
    path = tmp_path / "model.onnx"
    export_onnx(deployed(heads=ALL), SPEC, path, [], dynamic=True)
    for output in onnx.load(path).graph.output:
        sizes = [d.dim_value for d in output.type.tensor_type.shape.dim]
        assert not {96, 64, 24, 16} & set(sizes) - ({PEAKS} if output.name == "peaks" else set()), (output.name, sizes)


def test_a_broken_file_gives_an_error_of_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"broken\.onnx: ONNX Runtime cannot open it .*\. Export it again") as caught:
        onnx_answerer(broken)
    assert "\n" not in str(caught.value)


def test_without_images_there_is_no_agreement() -> None:
    assert agreement(lambda image: {}, lambda image: {}, []) == {}


class Changed(Deployed):
    """One output differs from that of the exported graph."""

    changed = ""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = dict(zip(self.output_names, super().forward(image), strict=True))
        if not torch.jit.is_tracing():
            outputs[self.changed][..., :2] += 4  # of peaks the positions, of maps a strip on the left
        return tuple(outputs.values())


@pytest.mark.parametrize("output", ["labels", "confidence", "peaks", "offsets", "surface"])
def test_no_output_may_differ_from_the_net_s(tmp_path: Path, output: str) -> None:
    model = Changed(random_net(5, ALL)).eval()
    model.changed = output
    with pytest.raises(TrainingError, match=f"of the exported model's {output} equal the checkpoint's, so nothing was written"):
        export_onnx(model, SPEC, tmp_path / "model.onnx", probe_images(INPUT_PX))
    assert list(tmp_path.iterdir()) == []


def test_differences_of_rounding_count_as_equal() -> None:
    peaks = np.array([[[10, 6, 0.8], [30, 6, 0.3], [50, 6, 0.01]]], np.float32)
    one = {"alpha": np.array([[[0, 127, 255]]], np.uint8), "offsets": np.zeros((1, 2, 1, 1), np.float32), "peaks": peaks}
    other = {"alpha": np.array([[[1, 126, 255]]], np.uint8), "offsets": one["offsets"] + 0.4, "peaks": peaks[:, [1, 0, 2]]}
    other["peaks"][0, 2] = 90, 90, 0.02
    image = np.zeros((1, 1, 3), np.uint8)
    assert agreement(lambda _: one, lambda _: other, [image]) == {"alpha": 1, "offsets": 1, "peaks": 1}
    other["peaks"] = peaks + np.float32((4, 0, 0))
    assert agreement(lambda _: one, lambda _: other, [image])["peaks"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_the_panoptic_graph(tmp_path: Path, precision: str) -> None:
    """TensorRT-RTX builds ahead of time, without a GPU."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not for this kind of machine")
    from engines.onnx_graph.precision import cast_precision
    from engines.trt.builder import BuildOptions, build_plan
    from engines.trt.runtime import open_tensorrt

    path = tmp_path / "model.onnx"
    export_onnx(deployed(heads=ALL), SPEC, path, [])
    network = onnx.load(path)
    if precision == "fp16":
        network = cast_precision(network, "fp16")
    options = BuildOptions(workspace_bytes=2**28, targets=("86",))
    assert len(build_plan(open_tensorrt("tensorrt-rtx"), network.SerializeToString(), options).plan) > 10_000
