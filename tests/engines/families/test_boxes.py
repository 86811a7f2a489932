"""Detectors: boxes without masks, of every form, exact where they are constructed and right where they are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.building.parity import compare, shortfall
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.families.common.recognising import YOLOX_STRIDES as STRIDES
from engines.models.card import InputSpec, ModelCard
from engines.models.coco import COCO_CLASSES
from engines.models.fit import fit
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import F32, Instances, Segmentation, Size

NET, FRAME = Size(64, 64), Size(128, 72)  # letterboxed to 64 x 36, from y = 14; two frame pixels to a network pixel
OBJECTS = [((20.0, 30.0, 16.0, 12.0), 0.9, 1), ((50.0, 40.0, 8.0, 20.0), 0.6, 0)]
"""Centre x, centre y, width, height in network px; score; class."""
BOXES_PX = [[24, 20, 56, 44], [92, 32, 108, 72]]
ROLES = ("predictions", "rows", "detections", "cells")


def card(role: str = "predictions", classes: int = 3) -> ModelCard:
    image = InputSpec("images", (NET.width, NET.height), "nchw", "float32", "rgb", "letterbox", std=(255.0, 255.0, 255.0))
    names = tuple(f"thing {number}" for number in range(classes))
    return ModelCard("pets", "boxes", image, {role: "output0"}, names, names)


def rows(role: str, objects: list[Any] = OBJECTS, classes: int = 3) -> F32:
    """What a network of that kind would give for these objects, and nothing else."""
    if role == "predictions":
        out = np.zeros((1, 4 + classes, 40), np.float32)
        for column, (box, score, class_id) in enumerate(objects):
            out[0, :4, 7 * column + 3], out[0, 4 + class_id, 7 * column + 3] = box, score
        return out
    if role == "detections":
        out = np.zeros((1, 20, 6), np.float32)
        for row, ((x, y, width, height), score, class_id) in enumerate(objects):
            out[0, 3 * row] = x - width / 2, y - height / 2, x + width / 2, y + height / 2, score, class_id
        return out
    if role == "rows":
        out = np.zeros((1, 40, 5 + classes), np.float32)
        for number, (box, score, class_id) in enumerate(objects):
            out[0, 7 * number + 3, :4] = box
            out[0, 7 * number + 3, 4], out[0, 7 * number + 3, 5 + class_id] = 0.95, score / 0.95
        return out
    counts = [(NET.width // stride) * (NET.height // stride) for stride in STRIDES]
    out = np.zeros((1, sum(counts), 5 + classes), np.float32)
    for number, ((x, y, width, height), score, class_id) in enumerate(objects):
        grid = number % len(STRIDES)  # one object a grid
        stride = STRIDES[grid]
        column, line = int(x // stride), int(y // stride)
        row = sum(counts[:grid]) + line * (NET.width // stride) + column
        out[0, row, :4] = x / stride - column, y / stride - line, np.log(width / stride), np.log(height / stride)
        out[0, row, 4], out[0, row, 5 + class_id] = score / 0.95, 0.95  # objectness x class
    return out


def decode(role: str, output: F32, frame: Size = FRAME, **settings: Any) -> Segmentation:
    return open_family(card(role)).decode({"output0": output}, fit(frame, NET, "letterbox"), DecodeSettings(**settings))


@pytest.mark.parametrize("role", ROLES)
def test_known_objects_come_out_in_frame_pixels(role: str) -> None:
    segmentation = decode(role, rows(role))
    found = segmentation.instances
    np.testing.assert_allclose(found.boxes_px, BOXES_PX, atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.6], rtol=1e-5)
    assert found.class_ids.tolist() == [1, 0]
    assert not found.label_map.any()
    assert segmentation.class_map is None


@pytest.mark.parametrize("role", ROLES)
def test_the_threshold_and_the_count_hold(role: str) -> None:
    assert decode(role, rows(role), score_threshold=0.7).instances.class_ids.tolist() == [1]
    cut = decode(role, rows(role), max_objects=1).instances
    assert (cut.class_ids.tolist(), cut.cut_off) == ([1], len(decode(role, rows(role)).instances) - 1)
    assert cut.cut_off > 0
    assert len(decode(role, rows(role, [])).instances) == 0


@pytest.mark.parametrize("role", ["predictions", "rows", "cells"])
def test_two_boxes_of_one_object_are_one(role: str) -> None:
    twice = [((20.0, 30.0, 16.0, 12.0), 0.9, 1), ((20.5, 30.0, 16.0, 12.0), 0.8, 1)]
    assert len(decode(role, rows(role, twice)).instances) == 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_anywhere_that_matters_is_an_error(role: str, value: float) -> None:
    output = rows(role)
    place = {"predictions": (0, 4, 9), "rows": (0, 9, 6), "detections": (0, 9, 4), "cells": (0, 9, 5)}[role]
    output[place] = value
    if role == "cells":
        output[0, 9, 4] = 0.5
    with pytest.raises(InferenceError):
        decode(role, output)


@pytest.mark.parametrize(
    ("role", "shape"), [("predictions", (1, 8, 40)), ("detections", (1, 20, 7)), ("cells", (1, 84, 9)), ("cells", (1, 80, 8))]
)
def test_another_shape_than_the_card_says_is_an_error(role: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="output output0 "):
        decode(role, np.zeros(shape, np.float32))


@pytest.mark.parametrize("outputs", [{}, {"predictions": "a", "cells": "b"}, {"prototypes": "a"}])
def test_a_card_names_one_output(outputs: dict[str, str]) -> None:
    with pytest.raises(CardError, match=r"needs one of outputs\.predictions, outputs\.rows, outputs\.detections, outputs\.cells"):
        open_family(ModelCard("pets", "boxes", card().input, outputs, ("a",)))


def test_parity_of_detectors_compares_boxes() -> None:
    """Without masks there would be nothing to compare, and everything would pass."""

    def seen(boxes: list[list[float]]) -> Segmentation:
        count = len(boxes)
        boxes_px = np.array(boxes, np.float32).reshape(-1, 4)
        return Segmentation(
            Instances(boxes_px, np.full(count, 0.9, np.float32), np.zeros(count, np.int32), np.zeros((4, 4), np.uint8))
        )

    same, moved, none = seen([[0, 0, 10, 10]]), seen([[5, 0, 15, 10]]), seen([])
    assert shortfall(compare([same], [same]), "fp16") == ""
    assert compare([same], [moved]).mask_iou == pytest.approx(1 / 3)
    assert "0.000" in shortfall(compare([same], [none]), "fp16")


@pytest.fixture
def yolox(shared: Path, tmp_path: Path) -> Path:
    path = tmp_path / "yolox_nano.onnx"
    path.write_bytes((shared / "models/yolox-nano-coco/yolox_nano.onnx").read_bytes())
    quoted = ", ".join(f'"{name}"' for name in COCO_CLASSES)
    path.with_suffix(".toml").write_text(
        f'family = "boxes"\noutputs = {{cells = "output"}}\nclasses = [{quoted}]\nthings = [{quoted}]\n'
        '[input]\nchannels = "bgr"\nfit = "letterbox_top_left"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
    )
    return path


@pytest.mark.parametrize(("clip", "wanted"), [("bottle-detection", "bottle"), ("one-by-one-person-detection", "person")])
def test_yolox_finds_what_is_in_real_clips(yolox: Path, shared: Path, clip: str, wanted: str, cpu_backend: str) -> None:
    capture = cv2.VideoCapture(str(shared / f"clips/intel/{clip}.mp4"))
    found = 0
    with Segmenter(load_model(yolox), cpu_backend) as segmenter:
        for index in range(240):
            read, frame = capture.read()
            if read and index % 40 == 20:
                instances = segmenter(frame, DecodeSettings(score_threshold=0.4)).instances
                names = [COCO_CLASSES[number] for number in instances.class_ids]
                found += wanted in names
                height, width = frame.shape[:2]
                assert (instances.boxes_px >= 0).all()
                assert (instances.boxes_px[:, 2:] <= (width, height)).all()
    capture.release()
    assert found >= 2
