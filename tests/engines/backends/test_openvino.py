"""What OpenVINO leaves to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.backends import open_engine
from engines.errors import BackendUnavailableError
from engines.models.model import load_model
from engines.segmenter import Segmenter

from ..conftest import CPU_BACKENDS, ZERO_TO_ONE

pytestmark = pytest.mark.skipif("openvino" not in CPU_BACKENDS, reason="OpenVINO has wheels for x86-64 alone")


def test_int8_in_operators_of_its_own_runs_on_onnx_runtime(nets) -> None:
    """OpenVINO read some such networks without an error, and found no object."""
    step, zero = np.array(1 / 255, np.float32), np.array(0, np.uint8)
    weights: dict[str, Any] = {"w": (np.eye(3) * 100).astype(np.int8).reshape(3, 3, 1, 1), "none": np.array(0, np.int8)}
    weights |= {"step": step, "zero": zero, "w_step": np.array(0.1, np.float32), "out_step": np.array(10 / 255, np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["small"]),
        helper.make_node("QLinearConv", ["small", "step", "zero", "w", "w_step", "none", "out_step", "zero"], ["computed"]),
        helper.make_node("DequantizeLinear", ["computed", "out_step", "zero"], ["logits"]),
    ]
    shape = [1, 3, 24, 32]
    path = nets.save("int8", nodes, [("image", "float32", shape)], [("logits", "float32", shape)], weights)
    path.with_suffix(".toml").write_text(ZERO_TO_ONE)
    model = load_model(path)
    with pytest.raises(BackendUnavailableError, match=r"between QuantizeLinear and DequantizeLinear alone, not QLinearConv"):
        open_engine(model, "openvino")
    with Segmenter(model) as segmenter:
        assert segmenter.choice.backend == "ort"
        assert "QLinearConv" in segmenter.choice.refusals["openvino"]
        class_map = segmenter(np.full((24, 32, 3), (0, 255, 0), np.uint8)).class_map
    assert class_map is not None
    assert set(np.unique(class_map)) == {1}
