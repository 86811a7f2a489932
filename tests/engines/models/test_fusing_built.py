"""TensorRT-RTX, which builds without a GPU, builds fused networks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.models import zoo
from engines.models.exporting import fuse_outputs
from engines.models.model import Model, load_model
from engines.models.sizing import with_input_size
from engines.onnx_graph.precision import cast_precision
from engines.trt.builder import BuildOptions, build_plan
from engines.trt.runtime import open_tensorrt

from ..conftest import ZERO_TO_ONE
from ..models.test_shared_models import with_card
from .test_fusing import CASES, WIDER, YOLO_CARD, card_of, constant_net, yolo_outputs

pytest.importorskip("tensorrt_rtx")
pytestmark = pytest.mark.slow


def build_seconds(network: onnx.ModelProto, largest_batch: int) -> float:
    """Build by the project's own code for one kind of GPU; how long that took. Fails with TensorRT's words."""
    options = BuildOptions(workspace_bytes=2**30, largest_batch=largest_batch, targets=("86",))
    start = time.monotonic()
    assert len(build_plan(open_tensorrt("tensorrt-rtx"), network.SerializeToString(), options).plan) > 10_000
    return time.monotonic() - start


BUILT = {name: case for name, case in CASES.items() if name not in WIDER}
SOURCES = (*BUILT, "twin", "yolo_320", "road")
FAR_TOO_LONG_S = 20
"""They take 0.3 to 3 s on two idle cores."""


def source_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Model:
    if name == "road":
        return zoo.find(zoo.DEFAULT_MODEL)
    shared: Path = request.getfixturevalue("shared")
    if name in BUILT:
        return load_model(with_card(shared, folder, BUILT[name]))
    if name.startswith("yolo"):
        return load_model(shared / f"models/yolo11n-seg-coco/yolo11n-seg_coco_{name[5:]}.onnx")
    path = folder / "twin.onnx"
    path.write_bytes((shared / "models/twinlitenet-bdd100k/twinlitenet_640x360.onnx").read_bytes())
    card = 'family = "semantic"\noutputs = {logits = "drivable"}\nclasses = ["other", "drivable"]\nthings = ["drivable"]\n'
    path.with_suffix(".toml").write_text(card + ZERO_TO_ONE)
    return load_model(path)


@pytest.mark.parametrize("name", SOURCES)
def test_tensorrt_builds_it_fused_in_half_precision_for_any_batch(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = source_of(name, request, tmp_path)
    network, _ = fuse_outputs(*with_input_size(onnx.load(model.path), model.card, None, "dynamic"))
    assert build_seconds(cast_precision(network, "fp16", io_dtype="float16"), 4) < FAR_TOO_LONG_S


@pytest.mark.parametrize("name", ["uint8_nhwc_labels", "bgr_odd_normalisation", "road"])
def test_tensorrt_builds_it_fused_as_it_is(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = source_of(name, request, tmp_path)
    network, _ = fuse_outputs(*with_input_size(onnx.load(model.path), model.card, None, 1))
    assert build_seconds(network, 1) < FAR_TOO_LONG_S


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_what_is_fused_onto_odd_networks(precision: str) -> None:
    """Labels that need bounds, and rows that are split."""
    outputs = {"labels": np.zeros((1, 64, 64), np.int64)}
    for card, known in ((card_of("semantic", {"labels": "labels"}), outputs), (YOLO_CARD, yolo_outputs())):
        network, _ = fuse_outputs(constant_net(known), card)
        if precision == "fp16":
            network = cast_precision(network, "fp16", io_dtype="float16")
        assert build_seconds(network, 1) < FAR_TOO_LONG_S
