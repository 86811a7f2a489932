"""An input that fits the pictures: the same objects without the padding, or the model's own size and the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.backends import EngineOptions
from engines.models.fitting import Fitting
from engines.models.model import Model, load_model
from engines.models.sizing import content_of, saved
from engines.onnx_graph.context import looks_at_all
from engines.segmenter import Segmenter
from engines.types import Image, Size

from ..conftest import ZERO_TO_ONE
from ..spots import Kind, picture, spots

WIDE, TALL = Size(256, 144), Size(144, 256)
PLACES = ((0.2, 0.3), (0.75, 0.6))


def fitting_of(model: Model, image: Image) -> Fitting:
    spec = model.card.input
    return Fitting(spec, content_of(spec, Size.of(image)), image)


def fitted(model: Model, fitting: Fitting) -> Model:
    return replace(model, fitting=fitting)


@pytest.mark.parametrize("fit", ["letterbox", "letterbox_top_left"])
@pytest.mark.parametrize(
    ("frame", "tight"), [(WIDE, Size(128, 96)), (TALL, Size(96, 128)), (Size(640, 200), Size(128, 64))], ids=str
)
def test_without_the_padding_the_objects_are_the_same(tmp_path: Path, fit: str, frame: Size, tight: Size) -> None:
    model, image = spots(tmp_path, fit=fit), picture(frame, *PLACES)
    fitting = fitting_of(model, image)
    with Segmenter(model, "ort") as segmenter:
        whole = segmenter(image).instances
    with Segmenter(fitted(model, fitting), "ort") as segmenter:
        assert segmenter.card.input.size == tight
        part = segmenter(image).instances
    assert not fitting.refused
    assert len(part) == len(whole) == len(PLACES)
    assert np.sort(part.boxes_px, axis=0) == pytest.approx(np.sort(whole.boxes_px, axis=0), abs=frame.width / 128 * 9)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fixed", "another size is a constant of its graph"),
        ("shares", "its objects would be elsewhere"),
        ("iterating", "its graph iterates"),
    ],
)
def test_a_network_that_cannot_keeps_its_size_and_says_why(tmp_path: Path, kind: Kind, words: str) -> None:
    model, image = spots(tmp_path, kind=kind), picture(WIDE, *PLACES)
    fitting = fitting_of(model, image)
    with Segmenter(fitted(model, fitting), "ort") as segmenter:
        assert segmenter.card.input.size == Size(128, 128)
        assert len(segmenter(image).instances) == len(PLACES)
    assert words in fitting.refused


def test_a_coarser_stride_gets_a_size_that_it_takes(tmp_path: Path) -> None:
    """96 rows would be one and a half of its blocks."""
    model = spots(tmp_path, Size(256, 256), "coarse")
    image = picture(Size(256, 150), *PLACES)
    fitting = fitting_of(model, image)
    assert fitting.sizes == (Size(256, 160), Size(256, 192))
    (tmp_path / "copies").mkdir()
    copy = fitting.copy(model, tmp_path / "copies")
    assert copy is not None, fitting.refused
    assert copy.card.input.size == Size(256, 192)


def test_a_size_that_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    """A picture of another kind, such as a black one, must not change the mind of an engine that is opened again."""
    model, image = spots(tmp_path), picture(WIDE, *PLACES)
    fitting = fitting_of(model, image)
    (tmp_path / "copies").mkdir()
    for _ in range(2):
        copy = fitting.copy(model, tmp_path / "copies")
        assert copy is not None
        assert copy.card.input.size == Size(128, 96)
    assert fitting.sizes == (Size(128, 96),)


@pytest.mark.parametrize("frame", [Size(200, 200), Size(210, 200), Size(8, 8)], ids=str)
def test_there_is_nothing_to_try_where_little_is_saved(tmp_path: Path, frame: Size) -> None:
    assert fitting_of(spots(tmp_path), picture(frame)).sizes == ()


def test_a_tiny_picture_fits_like_a_large_one(tmp_path: Path) -> None:
    assert fitting_of(spots(tmp_path), picture(Size(16, 9))).sizes[0] == Size(128, 96)


def test_a_map_that_depends_on_the_whole_input_keeps_its_size(nets, tmp_path: Path) -> None:
    """Padding is part of what such a network was trained on: without it every pixel's result is a little different."""
    model = load_model(nets.semantic(size=(128, 128), card=ZERO_TO_ONE + 'fit = "letterbox"\n'))
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    fitting = fitting_of(model, image)
    assert fitting.copy(model, tmp_path) is not None, fitting.refused

    network = onnx.load(model.path)
    first = network.graph.node[0].input[0]
    network.graph.node.insert(0, onnx.helper.make_node("GlobalAveragePool", [first], ["all"]))
    network.graph.node.insert(1, onnx.helper.make_node("Add", [first, "all"], ["brighter"]))
    network.graph.node[2].input[0] = "brighter"
    pooled = saved(model, network, model.card, tmp_path)
    fitting = fitting_of(pooled, image)
    assert fitting.copy(pooled, tmp_path) is None
    assert fitting.refused == "each pixel of its result depends on the whole input (GlobalAveragePool)"


def test_the_bundled_models_maps_keep_their_size() -> None:
    from engines.models import zoo

    assert looks_at_all(onnx.load(zoo.find("people").path)) == "ReduceMean"


def test_a_yolo_of_640x640_runs_at_384x640_on_a_wide_clip(shared: Path) -> None:
    from realtime.sources import open_source

    model = load_model(shared / "models/yolo11n-seg-coco/yolo11n-seg_coco_640.onnx")
    frame = next(iter(open_source(str(shared / "clips/dashcam-udacity/solidWhiteRight.mp4"))))
    fitting = fitting_of(model, frame.image)
    with Segmenter(fitted(model, fitting), "ort", EngineOptions()) as segmenter:
        assert segmenter.card.input.size == Size(640, 384), fitting.refused
        assert len(segmenter(frame.image).instances) >= 1


def test_without_room_for_a_copy_the_model_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = spots(tmp_path), picture(WIDE, *PLACES)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with Segmenter(fitted(model, fitting_of(model, image)), "ort") as segmenter:
        assert segmenter.card.input.size == Size(128, 128)
