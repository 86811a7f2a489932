"""Export: the file says what the net says, byte for byte in and out, and its card passes as any card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.card import card_from_dict, read_toml  # noqa: E402
from engines.training.cards import to_toml  # noqa: E402
from engines.training.checkpoint import Checkpoint, save_checkpoint  # noqa: E402
from engines.training.cli import main  # noqa: E402
from engines.training.deployed import Deployed, torch_predictor  # noqa: E402
from engines.training.errors import TrainingError  # noqa: E402
from engines.training.evaluate import onnx_predictor  # noqa: E402
from engines.training.export import OPSET, export_onnx, label_parity, probe_images  # noqa: E402
from engines.training.model import RoadNet  # noqa: E402
from engines.training.recipe import NetSettings, Recipe, recipe_from_dict  # noqa: E402

INPUT_PX = (96, 64)


def random_net(class_count: int = 5) -> RoadNet:
    """A net whose norms have statistics and whose logits differ: an untrained one calls everything the same."""
    torch.manual_seed(0)
    net = RoadNet(NetSettings(width=0.25, depths=(1, 1, 1)), class_count)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, 64, 96))
    return net.eval()


def test_exported_labels_and_confidence_are_the_net_s(tmp_path: Path) -> None:
    net, path = random_net(), tmp_path / "model.onnx"
    images = probe_images(INPUT_PX)
    assert export_onnx(net, INPUT_PX, path, images) >= 0.9999
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    seen = set()
    for image in images:
        labels, confidence = session.run(["labels", "confidence"], {"image": image[None]})
        with torch.inference_mode():
            expected, expected_confidence = Deployed(net)(torch.from_numpy(image)[None])
        assert (labels.shape, labels.dtype) == ((1, 64, 96), np.uint8)
        assert (confidence.shape, confidence.dtype) == ((1, 16, 24), np.uint8)
        assert np.mean(labels == expected.numpy()) >= 0.9999
        assert np.abs(confidence.astype(int) - expected_confidence.numpy()).max() <= 1
        seen |= set(np.unique(labels).tolist())
    assert len(seen) > 1, "a net that says one thing proves nothing"


def test_graph_has_the_promised_opset_names_and_fixed_shapes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(random_net(), INPUT_PX, path, [])
    model = onnx.load(path)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)}
    assert shapes == {"image": [1, 64, 96, 3], "labels": [1, 64, 96], "confidence": [1, 16, 24]}


def test_channels_are_blue_green_red(tmp_path: Path) -> None:
    """A file that took them in another order would answer the mirrored image as the net answers the straight one."""
    net, path = random_net(), tmp_path / "model.onnx"
    images = probe_images(INPUT_PX)
    export_onnx(net, INPUT_PX, path, images)
    mirrored = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    swapped = label_parity(
        lambda image: torch_predictor(net)(np.ascontiguousarray(image[..., ::-1])), onnx_predictor(path), mirrored
    )
    assert swapped < 0.99


def test_file_that_disagrees_with_its_net_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph in which bilinear became nearest runs and looks right; only the comparison of labels tells."""
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
    with pytest.raises(TrainingError, match=r"of the exported model's labels are the checkpoint's; not written"):
        export_onnx(random_net(), INPUT_PX, tmp_path / "model.onnx", probe_images(INPUT_PX))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def checkpoint(tmp_path: Path, toy_facts: Callable[..., dict[str, Any]]) -> Path:
    recipe: Recipe = recipe_from_dict(toy_facts(), "toy")
    weights = random_net(3).state_dict()
    save_checkpoint(tmp_path / "last.pt", Checkpoint(recipe, 6, weights, weights))
    return tmp_path / "last.pt"


def test_export_command_leaves_a_model_and_a_card_that_agree(
    checkpoint: Path, toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "toy-model"
    assert main(["export", str(checkpoint), "--out", str(out), "--data", str(toy_set), "--threads", "1"]) == 0
    card = card_from_dict(read_toml(out / "card.toml"), "card.toml")
    assert (card.name, card.family, card.classes, card.things) == ("toy", "semantic", ("sky", "road", "car"), ("car",))
    assert (card.input.tensor, card.input.size_px, card.input.layout, card.input.dtype) == ("image", INPUT_PX, "nhwc", "uint8")
    assert (card.input.channels, card.input.fit, card.input.mean, card.input.std) == ("bgr", "stretch", (0, 0, 0), (1, 1, 1))
    assert card.outputs == {"labels": "labels", "confidence": "confidence"}
    assert card.limits == 'knows three\ncolours and "nothing" else'
    assert card.figures["size_bytes"] == (out / card.file).stat().st_size

    capsys.readouterr()
    report = tmp_path / "report.json"
    recipe_file = tmp_path / "toy.toml"
    recipe_file.write_text(recipe_text(checkpoint))
    for model in (out / "model.onnx", checkpoint):
        arguments = ["evaluate", str(model), "--recipe", str(recipe_file), "--data", str(toy_set), "--json", str(report)]
        assert main([*arguments, "--threads", "1"]) == 0
        told = capsys.readouterr().out
        assert f"toy: mIoU {card.figures['toy held out: mIoU']} on 2 held-out images" in told
        assert '"miou"' in report.read_text()


def recipe_text(checkpoint: Path) -> str:
    """The recipe inside a checkpoint as TOML."""
    content = torch.load(checkpoint, weights_only=True)["recipe"]
    sets = content.pop("sets")
    return to_toml(content) + "".join(
        to_toml({"sets": {k: v for k, v in entry.items() if v != {}}}).replace("[sets]", "[[sets]]") for entry in sets
    )


def test_evaluating_a_file_that_is_no_model_is_one_clear_line(
    checkpoint: Path, toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    recipe_file = tmp_path / "toy.toml"
    recipe_file.write_text(recipe_text(checkpoint))
    assert main(["evaluate", str(broken), "--recipe", str(recipe_file), "--data", str(toy_set)]) == 2
    error = capsys.readouterr().err
    assert "broken.onnx: ONNX Runtime cannot open it" in error
    assert error.count("\n") == 1


def test_dark_frames_are_brightened_and_others_left_alone() -> None:
    from engines.training.model import DARK_GREY, LARGEST_GAIN, exposed

    day = torch.full((1, 8, 8, 3), 120, dtype=torch.uint8)
    assert torch.equal(exposed(day), day.float())
    dusk = torch.full((1, 8, 8, 3), 60, dtype=torch.uint8)
    assert exposed(dusk).mean().item() == pytest.approx(DARK_GREY)
    night = torch.full((1, 8, 8, 3), 10, dtype=torch.uint8)
    assert exposed(night).mean().item() == pytest.approx(10 * LARGEST_GAIN)
    assert exposed(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).max().item() == 0
    lamp = dusk.clone()
    lamp[0, 0, 0] = 250
    assert exposed(lamp).max().item() <= 255
