"""The range of pixels that a graph's first nodes tell of."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.onnx_graph.stems import pixel_range


@pytest.mark.parametrize(("gain", "shift", "said"), [(1.0, 0.0, ""), (2.0, -1.0, "0..1"), (1 / 255, 0.0, "0..255")])
def test_what_changes_nothing_says_nothing(gain: float, shift: float, said: str) -> None:
    nodes = [helper.make_node("Mul", ["image", "gain"], ["scaled"]), helper.make_node("Add", ["scaled", "shift"], ["out"])]
    weights = [numpy_helper.from_array(np.float32([number]), name) for name, number in (("gain", gain), ("shift", shift))]
    image, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("image", "out"))
    assert pixel_range(helper.make_model(helper.make_graph(nodes, "stem", [image], [out], weights)), "image") == said
