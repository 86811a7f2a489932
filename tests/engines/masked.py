"""Networks with masks, made on the fly: boxes that never change, and masks that follow the picture's brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.models.model import Model, load_model
from engines.types import Image, Size

NET = Size(64, 48)
CELLS = Size(16, 12)

BOXES = [((20.0, 20.0, 30.0, 24.0), 0.9, 1), ((40.0, 28.0, 40.0, 32.0), 0.7, 0), ((10.0, 40.0, 12.0, 10.0), 0.6, 1)]
"""Centre x, centre y, width, height in network pixels; score; class. The first two overlap."""


def yolo_model(folder: Path, batch: int | str = 1) -> Model:
    """YOLO segmentation of four prototypes, as Ultralytics exports it."""
    rng = np.random.default_rng(1)
    rows = np.zeros((1, 4 + 2 + 4, 40), np.float32)
    for number, (box, score, class_id) in enumerate(BOXES):
        rows[0, :4, 7 * number + 3] = box
        rows[0, 4 + class_id, 7 * number + 3] = score
        rows[0, 6:, 7 * number + 3] = rng.standard_normal(4)
    numbers = {"rows": rows, "mix": rng.standard_normal((4, 3, 1, 1)), "offset": np.full((1, 4, 1, 1), -0.1)}
    outputs = {"output0": [1, 10, 40], "output1": [1, 4, CELLS.height, CELLS.width]}
    nodes = [
        helper.make_node("Conv", ["cells", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "offset"], ["output1"]),
        helper.make_node("Add", ["rows", "nothing"], ["output0"]),
    ]
    card = 'family = "yolo_seg"\nclasses = ["a", "b"]\noutputs = { predictions = "output0", prototypes = "output1" }\n'
    return _saved(folder / "masked-yolo.onnx", nodes, numbers, outputs, card, batch)


def rfdetr_model(folder: Path) -> Model:
    """RF-DETR's segmentation with eight queries, of which three see something."""
    rng = np.random.default_rng(2)
    boxes, logits = np.full((1, 8, 4), 0.5, np.float32), np.full((1, 8, 2), -9.0, np.float32)
    for number, ((x, y, w, h), score, class_id) in enumerate(BOXES):
        boxes[0, 2 * number + 1] = x / NET.width, y / NET.height, w / NET.width, h / NET.height
        logits[0, 2 * number + 1, class_id] = np.log(score / (1 - score))
    numbers = {"boxes": boxes, "logits": logits, "mix": rng.standard_normal((8, 3, 1, 1)) * 5}
    outputs = {"dets": [1, 8, 4], "labels": [1, 8, 2], "masks": [1, 8, CELLS.height, CELLS.width]}
    nodes = [
        helper.make_node("Conv", ["cells", "mix"], ["masks"]),
        helper.make_node("Add", ["boxes", "nothing"], ["dets"]),
        helper.make_node("Add", ["logits", "nothing"], ["labels"]),
    ]
    roles = '{ boxes = "dets", class_logits = "labels", mask_logits = "masks" }'
    card = f'family = "rfdetr_seg"\nclasses = ["a", "b"]\noutputs = {roles}\n'
    return _saved(folder / "masked-rfdetr.onnx", nodes, numbers, outputs, card)


def pictures(count: int, size: Size = NET) -> list[Image]:
    """Blurred noise."""
    rng = np.random.default_rng(6)
    coarse = rng.integers(0, 255, (count, 6, 8, 3)).astype(np.uint8)
    return [np.ascontiguousarray(np.kron(one, np.ones((size.height // 6, size.width // 8, 1), np.uint8))) for one in coarse]


def _saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    numbers: dict[str, np.ndarray],
    outputs: dict[str, list[int]],
    card: str,
    batch: int | str = 1,
) -> Model:
    common = [
        helper.make_node("Sub", ["image", "grey"], ["signed"]),
        helper.make_node("AveragePool", ["signed"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        # So that all depends on the picture; a number for each of an open batch.
        helper.make_node("ReduceMean", ["cells"], ["columns"], axes=[3], keepdims=0),
        helper.make_node("ReduceMean", ["columns"], ["mean"], axes=[1, 2], keepdims=int(batch != 1)),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    numbers |= {"grey": np.array(0.5), "zero": np.array(0.0)}
    graph = helper.make_graph(
        common + nodes,
        "masked",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, NET.height, NET.width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape[1:]]) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in numbers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    path.with_suffix(".toml").write_text(f'{card}[input]\nfit = "stretch"\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n')
    return load_model(path)
