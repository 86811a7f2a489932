"""Every model, cast and run on real frames, gives the same results. Each docstring has the measured figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines.building.frames import real_frames
from engines.building.parity import shortfall
from engines.models.card import InputSpec
from engines.models.exporting import network_feeds
from engines.models.fit import InputFiller
from engines.models.model import load_model
from engines.onnx_graph.precision import rounded_for_cpu
from engines.onnx_graph.precision.quantise import quantise_qdq
from engines.types import Image

from ...models.test_shared_models import with_card
from .models import BUNDLED, LARGER, SHARED, WITH_CARD, YOLO, cast_of, parity
from .nets import check, io_types, is_sorted, session

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def street(shared: Path) -> list[Image]:
    """Frames of two drives with different cameras."""
    drives = sorted((shared / "data" / "camvid" / "images").glob("0001TP*.jpg"))[10::40][:1]
    return [
        *(cv2.imread(str(path)) for path in drives),
        *real_frames(shared / "clips" / "dashcam-udacity" / "solidWhiteRight.mp4", 1),
    ]


@pytest.fixture(scope="module")
def people(shared: Path) -> list[Image]:
    return real_frames(shared / "tracks" / "TUD-Stadtmitte" / "TUD-Stadtmitte.mp4", 2)


def test_every_shared_model_is_tested(shared: Path) -> None:
    there = {
        str(path.relative_to(shared / "models").with_suffix(""))
        for path in (shared / "models").glob("*/*.onnx")
        if "dynamic" not in path.name
    }
    assert there == set(SHARED)


IN_BFLOAT16 = (
    "coral-deeplab/deeplabv3_mnv2_dm05_pascal_quant", "espnetv2-cityscapes/espnetv2_s2.0_city_512x256",
    "mediapipe-selfie/selfie_segmentation_landscape", "yolox-nano-coco/yolox_nano", YOLO[0],
)  # fmt: skip
"""One of each kind: raising the opset takes a second or two."""


@pytest.mark.parametrize(("file", "precision"), [*((file, "fp16") for file in SHARED), *((file, "bf16") for file in IN_BFLOAT16)])
def test_the_cast_of_a_shared_model_is_valid(shared: Path, file: str, precision: Any) -> None:
    path = shared / "models" / f"{file}.onnx"
    cast = cast_of(path, precision)
    check(cast)
    assert is_sorted(cast.graph)
    assert io_types(cast) == io_types(onnx.load(path))


@pytest.mark.parametrize("name", [name for name, case in WITH_CARD.items() if case.file not in LARGER])
def test_a_semantic_model_in_fp16_gives_the_same_labels(
    shared: Path, tmp_path: Path, street: list[Image], people: list[Image], name: str
) -> None:
    """Measured over six frames: 0.9982 (ESPNet v2, 640 x 480) to 0.9999."""
    case = WITH_CARD[name]
    model = load_model(with_card(shared, tmp_path, case))
    frames = people if "pascal" in case.file else street
    report = parity(model, cast_of(shared / "models" / f"{case.file}.onnx", "fp16"), frames, tmp_path)
    assert report.label_agreement is not None
    assert not shortfall(report, "fp16"), report


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("file", [file for file in YOLO if file not in LARGER])
def test_yolo_in_half_precision_gives_the_same_masks(
    shared: Path, tmp_path: Path, people: list[Image], file: str, precision: Any
) -> None:
    """Measured over 34 objects: 0.998 in FP16, 0.993 in BF16."""
    path = shared / "models" / f"{file}.onnx"
    report = parity(load_model(path), cast_of(path, precision), people, tmp_path)
    assert report.mask_iou is not None
    assert not shortfall(report, precision), report


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("path", BUNDLED, ids=[path.parent.name for path in BUNDLED])
def test_a_bundled_model_in_half_precision_gives_the_same_labels(path: Path, tmp_path: Path, precision: Any) -> None:
    """Measured on clips unlike the training data of road: 0.9992 in FP16, 0.9936 in BF16; on streets 0.9998 and 0.9987."""
    cast = cast_of(path, precision)
    check(cast)
    report = parity(load_model(path), cast, real_frames(None, 4), tmp_path)
    compared = report.alpha_difference if path.parent.name == "people" else report.label_agreement
    assert compared is not None
    assert not shortfall(report, precision), report


@pytest.fixture(scope="module")
def road_in_int8() -> onnx.ModelProto:
    """Its ranges measured on clips unlike what it is for."""
    model = load_model(next(path for path in BUNDLED if path.parent.name == "road"))
    return quantise_qdq(onnx.load(model.path), network_feeds(model.card.input, real_frames(None, 12)))


@pytest.mark.parametrize("where", ["installed", "street"])
def test_road_in_int8_gives_the_same_labels(
    where: str, road_in_int8: onnx.ModelProto, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Measured: 0.973 on the installed clips, 0.995 on streets."""
    check(road_in_int8)
    model = load_model(next(path for path in BUNDLED if path.parent.name == "road"))
    frames = real_frames(None, 4) if where == "installed" else request.getfixturevalue("street")
    report = parity(model, road_in_int8, frames, tmp_path)
    assert report.label_agreement is not None
    assert not shortfall(report, "int8-qdq"), report


# Networks that no family reads: compared by the purpose of their outputs


def outputs_of(path: Path, network: onnx.ModelProto, frames: list[Image], spec: InputSpec) -> list[dict[str, Any]]:
    fill, opened = InputFiller(spec), session(network, is_optimised=True)
    names = [value.name for value in opened.get_outputs()]
    return [dict(zip(names, opened.run(names, {spec.tensor: fill(frame)[0]}), strict=True)) for frame in frames]


def both(shared: Path, file: str, frames: list[Image], spec: InputSpec) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    path = shared / "models" / f"{file}.onnx"
    wanted = outputs_of(path, onnx.load(path), frames, spec)
    return list(zip(wanted, outputs_of(path, rounded_for_cpu(cast_of(path, "fp16")), frames, spec), strict=True))


def unit_spec(tensor: str, size: tuple[int, int], layout: Any = "nchw") -> InputSpec:
    return InputSpec(tensor, size, layout, "float32", "rgb", "stretch", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), 114)


@pytest.mark.parametrize(("file", "size"), [("", (256, 256)), ("_landscape", (256, 144))])
def test_the_person_matte_in_fp16_is_the_same(shared: Path, people: list[Image], file: str, size: tuple[int, int]) -> None:
    """Measured: 0.9997."""
    for wanted, found in both(shared, f"mediapipe-selfie/selfie_segmentation{file}", people, unit_spec("input_1", size, "nhwc")):
        for name, matte in wanted.items():
            assert ((matte > 0.5) == (found[name] > 0.5)).mean() >= 0.995
            assert 0.01 < (matte > 0.5).mean() < 0.9, "a person is visible"
            assert np.abs(matte - found[name]).mean() <= 0.002


def test_lanes_and_drivable_area_in_fp16_are_the_same(shared: Path, street: list[Image]) -> None:
    """Measured: 0.9999."""
    for wanted, found in both(shared, "twinlitenet-bdd100k/twinlitenet_640x360", street, unit_spec("image", (640, 360))):
        for name, logits in wanted.items():
            assert 0.001 < logits.argmax(1).mean() < 0.9, "lanes and drivable area are visible"
            assert (logits.argmax(1) == found[name].argmax(1)).mean() >= 0.995, name


def corners(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """YOLOX boxes, whose decoding needs cells and strides: centre and size in pixels of a 416 x 416 input."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        count = 416 // stride
        y, x = np.mgrid[:count, :count]
        cells.append(np.stack((x, y), -1).reshape(-1, 2))
        strides.append(np.full((count * count, 1), stride))
    stride_px = np.concatenate(strides)
    centres = (rows[:, :2] + np.concatenate(cells)) * stride_px
    sizes = np.exp(rows[:, 2:4]) * stride_px
    return np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1)


def test_boxes_of_yolox_in_fp16_are_the_same(shared: Path, people: list[Image]) -> None:
    """Measured: all classes the same, corners off by 0.32 pixels at most."""
    spec = InputSpec("images", (416, 416), "nchw", "float32", "bgr", "letterbox_top_left", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 114)
    for wanted, found in both(shared, "yolox-nano-coco/yolox_nano", people, spec):
        ((one,), (other,)) = (next(iter(outputs.values())) for outputs in (wanted, found))
        sure = one[:, 4] * one[:, 5:].max(axis=1) > 0.3
        assert sure.sum() >= 3
        assert (one[sure, 5:].argmax(axis=1) == other[sure, 5:].argmax(axis=1)).all()
        assert np.abs(corners(one)[sure] - corners(other)[sure]).max() <= 2.0, "pixels"
