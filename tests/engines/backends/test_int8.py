"""INT8 files with half-precision scales, as run.py export writes them, give on every CPU backend what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from engines.loading import cpu_session
from engines.models.model import load_model
from engines.onnx_graph.precision import rounded_for_cpu
from engines.onnx_graph.precision.quantise import quantise_qdq
from engines.segmenter import Segmenter


@pytest.fixture
def quantised(nets, tmp_path: Path) -> Path:
    """Convolutions with clipped results and large biases: biases in steps of the scales' product are beyond FP16."""
    rng = np.random.default_rng(6)
    nodes, tensor = [], "image"
    weights = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    for layer in range(6):
        weights[f"w{layer}"] = (rng.normal(0, 0.2, (3, 3, 1, 1)) + np.eye(3)[..., None, None]).astype(np.float32) / (
            50 if layer < 4 else 1
        )
        weights[f"b{layer}"] = np.array([1.0, 2.0, 3.0], np.float32)
        result = "logits" if layer == 5 else f"c{layer}"
        nodes.append(helper.make_node("Conv", [tensor, f"w{layer}", f"b{layer}"], [result], f"conv{layer}"))
        if layer < 5:
            nodes.append(helper.make_node("Clip", [result, "low", "high"], [f"t{layer}"], f"clip{layer}"))
        tensor = f"t{layer}"
    path: Path = nets.save(
        "clipped", nodes, [("image", "float32", [1, 3, 24, 32])], [("logits", "float32", [1, 3, 24, 32])], weights
    )
    feeds = [{"image": rng.uniform(0, 1, (1, 3, 24, 32)).astype(np.float32)} for _ in range(4)]
    made = tmp_path / "int8.onnx"
    onnx.save(quantise_qdq(onnx.load(path), feeds), str(made))
    made.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return made


def test_biases_survive_the_runtimes_optimisers(quantised: Path, cpu_backends: tuple[str, ...]) -> None:
    """With ONNX Runtime's WeightBiasQuantization, `people` in INT8 found nobody."""
    model = load_model(quantised)
    exact = onnx.load(quantised)
    (output,) = model.card.outputs.values()
    session = ReferenceEvaluator(rounded_for_cpu(exact))
    frame = np.random.default_rng(7).integers(0, 255, (24, 32, 3), np.uint8)
    (wanted,) = session.run([output], {"image": frame[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255})
    for backend in cpu_backends:
        with Segmenter(model, backend) as segmenter:
            found = segmenter.choice.engine.infer(frame).outputs[output]
        assert np.abs(found - wanted).max() < 0.1, backend
    (judged,) = cpu_session(str(quantised)).run(
        [output], {"image": frame[None, ..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)}
    )
    assert np.abs(judged - wanted).max() < 0.1, "what networks are judged by"
