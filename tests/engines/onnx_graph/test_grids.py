"""Networks with cell positions as constants, cut to a smaller input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends import EngineOptions
from engines.families import DecodeSettings
from engines.models.model import load_model
from engines.onnx_graph.grids import STRIDES, can_be_cut, cut, kept_cells
from engines.segmenter import Segmenter
from engines.types import Size

WHOLE, PART = Size(128, 96), Size(64, 96)


def baked_network(size: Size) -> Any:
    """The mean of each cell of three grids, one after the other, and the cell's centre in pixels, which is a constant."""
    nodes, constants, cells, centres = [], [], [], []
    for stride in STRIDES:
        rows, columns = size.height // stride, size.width // stride
        constants.append(numpy_helper.from_array(np.array([1, 1, rows * columns]), f"flat{stride}"))
        nodes += [
            helper.make_node("AveragePool", ["image"], [f"grid{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("Reshape", [f"grid{stride}", f"flat{stride}"], [f"cells{stride}"]),
        ]
        cells.append(f"cells{stride}")
        y, x = np.mgrid[:rows, :columns]
        centres.append((np.stack((x, y)).reshape(2, -1) + 0.5) * stride)
    places = np.concatenate(centres, axis=1)[None].astype(np.float32)
    nodes.append(helper.make_node("Concat", cells, ["means"], axis=2))
    nodes.append(helper.make_node("Constant", [], ["places"], value=numpy_helper.from_array(places, "places")))
    nodes.append(helper.make_node("Concat", ["means", "places"], ["out"], axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, size.height, size.width])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "baked", [image], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(network: Any, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def test_the_cut_network_gives_the_same_for_each_cell() -> None:
    image = np.random.default_rng(0).random((1, 1, WHOLE.height, WHOLE.width), np.float32)
    network = baked_network(WHOLE)
    smaller = cut(network, WHOLE, PART)
    smaller.graph.input[0].type.tensor_type.shape.dim[3].dim_value = PART.width
    whole, part = run(network, image), run(smaller, np.ascontiguousarray(image[..., : PART.width]))
    assert part == pytest.approx(whole[..., kept_cells(WHOLE, PART)], abs=1e-6)
    assert set(part[0, 1]) < set(whole[0, 1]), "the cut network has fewer columns"
    assert run(network, image) == pytest.approx(whole), "the network itself is unchanged"


def test_a_grid_s_own_rows_and_columns_are_cut_too() -> None:
    shape = numpy_helper.from_array(np.array([1, 256, 3, 4]), "shape")
    nodes = [helper.make_node("Reshape", ["image", "shape"], ["out"])]
    image, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("image", "out"))
    network = helper.make_model(helper.make_graph(nodes, "rows", [image], [out], [shape]))
    assert numpy_helper.to_array(cut(network, WHOLE, PART).graph.initializer[0]).tolist() == [1, 256, 3, 2]


@pytest.mark.parametrize(
    ("after", "expected"),
    [(Size(128, 96), True), (Size(96, 64), True), (Size(160, 96), False), (Size(128, 128), False), (Size(128, 80), False)],
)
def test_only_a_part_of_the_same_grids_can_be_cut_out(after: Size, expected: bool) -> None:
    assert can_be_cut(WHOLE, after) is expected


def test_a_yolo_of_640x640_finds_the_same_in_a_wide_picture(shared: Path) -> None:
    """Only padding was left out."""
    from realtime.sources import open_source

    model = load_model(shared / "models/yolo11n-seg-coco/yolo11n-seg_coco_640.onnx")
    frame = next(iter(open_source(str(shared / "clips/dashcam-udacity/solidWhiteRight.mp4"))))
    settings = DecodeSettings(score_threshold=0.4)
    with Segmenter(model, "ort") as segmenter:
        whole = segmenter(frame.image, settings).instances
    with Segmenter(model, "ort", EngineOptions(input_px=(640, 384))) as segmenter:
        assert segmenter.card.input.size == Size(640, 384)
        part = segmenter(frame.image, settings).instances
    assert len(part) == len(whole) >= 1
    assert part.class_ids.tolist() == whole.class_ids.tolist()
    assert part.boxes_px == pytest.approx(whole.boxes_px, abs=12)
