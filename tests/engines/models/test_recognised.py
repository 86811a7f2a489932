"""Networks of others, as their authors export them: which are recognised without a card, and what is asked for of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.errors import CardError
from engines.models.card import ModelCard
from engines.models.collection.add import add_file
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS

UNIT = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
PX = 64


class Exporter:
    """Writes networks of one convolution and whatever comes before and after it."""

    def __init__(self, nets: Any) -> None:
        self.nets = nets
        self.path = Path()

    def __call__(
        self,
        outputs: dict[str, int],
        tail: str = "",
        *,
        layout: str = "nchw",
        stride: int = 1,
        before: Sequence[Any] = (),
        weights: dict[str, Any] | None = None,
        size: tuple[Any, Any] = (PX, PX),
        **saved: Any,
    ) -> Path:
        """outputs: name → channels. tail: "Sigmoid", "Softmax" or "ArgMax" of each. layout: of image and outputs."""
        nodes, arrays = list(before), dict(weights or {})
        tensor = nodes[-1].output[0] if nodes else "image"
        if layout == "nhwc":
            nodes.append(helper.make_node("Transpose", [tensor], ["planes"], perm=[0, 3, 1, 2]))
            tensor = "planes"
        declared = []
        for name, count in outputs.items():
            random = np.random.default_rng(len(arrays)).normal(size=(count, 3, 1, 1))
            arrays[f"{name}/w"] = (random - random.mean(axis=1, keepdims=True)).astype(np.float32)  # of grey, all are as likely
            nodes.append(helper.make_node("Conv", [tensor, f"{name}/w"], [f"{name}/a"], strides=[stride, stride]))
            last, axis = f"{name}/a", 1
            if layout == "nhwc":
                nodes.append(helper.make_node("Transpose", [last], [f"{name}/b"], perm=[0, 2, 3, 1]))
                last, axis = f"{name}/b", 3
            attributes = {"Softmax": {"axis": axis}, "ArgMax": {"axis": axis, "keepdims": 0}}.get(tail, {})
            nodes.append(helper.make_node(tail or "Identity", [last], [name], **attributes))
            is_index = tail == "ArgMax"
            dims = ["n", "h", "w"] if is_index else ["n", "a", "b", "c"]
            declared.append((name, "int64" if is_index else "float32", dims))
        width, height = size
        shape = ["n", 3, height, width] if layout == "nchw" else ["n", height, width, 3]
        self.path = self.nets.save("theirs", nodes, [("image", "float32", shape)], declared, arrays, **saved)
        return self.path

    def card(self, written: str = UNIT) -> ModelCard:
        self.path.with_suffix(".toml").write_text(written)
        return load_model(self.path).card


@pytest.fixture
def export(nets) -> Exporter:
    return Exporter(nets)


def refused(path: Path) -> CardError:
    with pytest.raises(CardError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return caught.value


# Mattes


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("name", ["activation_10", "output", "alphas", "1959"])
def test_one_channel_after_a_sigmoid_is_a_matte(export: Exporter, layout: str, name: str) -> None:
    """MediaPipe's, MODNet's, U²-Net's: their outputs' names say nothing."""
    export({name: 1}, "Sigmoid", layout=layout)
    card = export.card()
    assert (card.family, card.outputs) == ("matting", {"alpha": name})
    assert card.classes == card.things == ("foreground",)


@pytest.mark.parametrize("name", ["depth", "disp_0", "edge_map", "heatmap"])
def test_one_channel_of_another_kind_is_none(export: Exporter, name: str) -> None:
    assert "unsupported outputs" in str(refused(export({name: 1}, "Sigmoid")))
    assert f'outputs = {{alpha_logits = "{name}"}}' not in str(refused(export({name: 1}, "Sigmoid")))


def test_without_a_sigmoid_one_channel_is_in_doubt(export: Exporter) -> None:
    error = refused(export({"out": 1}))
    assert 'family = "matting", outputs = {alpha_logits = "out"}' in str(error)
    assert 'outputs = { alpha_logits = "out" }' in error.to_copy


def test_of_seven_depths_the_first_is_the_matte(export: Exporter) -> None:
    """U²-Net."""
    export({f"d{number}": 1 for number in range(7)}, "Sigmoid")
    assert export.card().outputs == {"alpha": "d0"}
    assert "ImageNet's, which is likely" in refused_without_card(export).to_copy


def refused_without_card(export: Exporter) -> CardError:
    export.path.with_suffix(".toml").unlink(missing_ok=True)
    return refused(export.path)


def test_three_sigmoids_are_in_doubt(export: Exporter) -> None:
    assert "unsupported outputs" in str(refused(export({"a": 1, "b": 1, "c": 1}, "Sigmoid")))


def test_the_opacity_is_known_by_name_beside_colours(export: Exporter) -> None:
    export({"fgr": 3, "pha": 1}, "Sigmoid")
    assert export.card().outputs == {"alpha": "pha"}


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_shares_of_two_are_a_matte(export: Exporter, layout: str) -> None:
    """PP-HumanSeg."""
    export({"save_infer_model/scale_0.tmp_1": 2}, "Softmax", layout=layout)
    card = export.card()
    assert (card.family, card.classes, card.void) == ("matting", ("background", "foreground"), ("background",))
    assert card.outputs == {"alpha_softmax": "save_infer_model/scale_0.tmp_1"}
    assert export.card('classes = ["background", "person"]\n' + UNIT).things == ("person",)


@pytest.mark.parametrize("how", ["card", "metadata", "family"])
def test_shares_of_two_named_classes_are_none(export: Exporter, how: str) -> None:
    export({"out": 2}, "Softmax", metadata={"names": "['soil', 'crop']"} if how == "metadata" else None)
    written = {"card": 'classes = ["soil", "crop"]\n', "family": 'family = "semantic"\n'}.get(how, "")
    card = export.card(written + UNIT)
    assert (card.family, card.outputs) == ("semantic", {"probabilities": "out"})


# Roads


@pytest.mark.parametrize(
    "names", [("drivable", "lane"), ("da", "ll"), ("ll", "da"), ("drive_area_seg", "lane_line_seg"), ("da_seg_out", "ll_seg_out")]
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_drivable_and_lane_are_a_surface(export: Exporter, names: tuple[str, str], layout: str) -> None:
    export(dict.fromkeys(names, 2), layout=layout)
    card = export.card()
    lane = next(name for name in names if "l" in name.split("_")[0].replace("drivable", ""))
    drivable = next(name for name in names if name != lane)
    assert (card.family, card.outputs) == ("semantic", {"drivable": drivable, "lane": lane})
    assert card.classes == ("drivable", "lane line")
    with Segmenter(load_model(export.path), "ort") as segmenter:
        seen = segmenter(np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8))
    assert seen.surface is not None
    assert seen.class_map is not None
    assert set(np.unique(seen.surface)) == {0, 1, 2}
    np.testing.assert_array_equal(seen.class_map == 0, seen.surface == 1)
    np.testing.assert_array_equal(seen.class_map == 1, seen.surface == 2)
    np.testing.assert_array_equal(seen.class_map == VOID_CLASS, seen.surface == 0)


def test_a_surface_may_lie_over_classes(export: Exporter) -> None:
    export({"seg": 19, "drivable": 2, "lane": 2})
    card = export.card('classes = "cityscapes"\n' + UNIT)
    assert card.outputs == {"logits": "seg", "drivable": "drivable", "lane": "lane"}


def test_two_pairs_without_telling_names_are_asked_about(export: Exporter) -> None:
    error = refused(export({"out0": 2, "out1": 2}))
    assert 'outputs = {drivable = "out0", lane = "out1"}' in str(error)
    assert export.card(error.to_copy).outputs == {"drivable": "out0", "lane": "out1"}


# Classes


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_coarse_logits_are_classes(export: Exporter, stride: int) -> None:
    """SegFormer's at a quarter, PIDNet's at an eighth."""
    export({"logits": 19}, stride=stride)
    assert export.card('classes = "cityscapes"\n' + UNIT).outputs == {"logits": "logits"}


def test_a_word_given_in_place_of_the_card_s_brings_its_own_things_and_colours(export: Exporter) -> None:
    path = export({"logits": 19})
    path.with_suffix(".toml").write_text('classes = "voc"\n' + UNIT)
    card = load_model(path, {"classes": "cityscapes"}).card
    assert (len(card.classes), card.void) == (19, ())
    assert "rider" in card.things


def test_logits_may_have_their_channels_last(export: Exporter, cpu_backend: str) -> None:
    export({"Identity": 21}, layout="nhwc")
    card = export.card('classes = "voc"\n' + UNIT)
    assert (card.family, card.outputs, card.input.layout) == ("semantic", {"logits": "Identity"}, "nhwc")
    with Segmenter(load_model(export.path), cpu_backend) as segmenter:
        seen = segmenter(np.zeros((64, 64, 3), np.uint8))
    assert seen.class_map is not None
    assert seen.class_map.shape == (PX, PX)
    with pytest.raises(CardError, match="the network has 21 classes but 19 names"):
        export.card('classes = "cityscapes"\n' + UNIT)


def test_an_auxiliary_output_is_left_alone(export: Exporter) -> None:
    """torchvision's."""
    export({"out": 21, "aux": 21})
    assert export.card('classes = "voc"\n' + UNIT).outputs == {"logits": "out"}
    assert 'outputs = {logits = "a"}' in str(refused(export({"a": 21, "b": 21}))), "without names, one is asked for"


def test_an_argmax_counts_its_classes(export: Exporter) -> None:
    export({"preds": 19}, "ArgMax")
    card = export.card('classes = "cityscapes"\n' + UNIT)
    assert card.outputs == {"labels": "preds"}
    with pytest.raises(CardError, match=r'the network has 19 classes but 21 names are given .* or classes = "cityscapes"'):
        export.card('classes = "voc"\n' + UNIT)
    assert 'classes = "cityscapes"' in refused_without_card(export).to_copy


# What the graph says of its input


def steps(*operations: tuple[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Nodes and weights of a normalisation inside the graph."""
    nodes, weights, tensor = [], {}, "image"
    for number, (name, constant) in enumerate(operations):
        weights[f"c{number}"] = np.array(constant, np.float32)
        nodes.append(helper.make_node(name, [tensor, f"c{number}"], [f"t{number}"]))
        tensor = f"t{number}"
    return nodes, weights


MEAN, STD = np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1), np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("operations", "std"),
    [
        ([("Div", 255), ("Sub", MEAN), ("Div", STD)], 1),
        ([("Mul", 1 / 127.5), ("Add", -1)], 1),
        ([("Sub", 127.5), ("Mul", 1 / 127.5)], 1),
        ([("Sub", MEAN * 255)], 1),
        ([("Sub", MEAN), ("Div", STD)], 255),
        ([("Mul", 2), ("Sub", 1)], 255),
        ([("Mul", 255), ("Sub", MEAN * 255)], 255),
    ],
    ids=["bytes, ImageNet", "bytes to -1..1", "less a half", "less a mean", "unit, ImageNet", "unit to -1..1", "unit to bytes"],
)
def test_a_graph_that_normalises_says_its_range(export: Exporter, operations: list[tuple[str, Any]], std: int) -> None:
    nodes, weights = steps(*operations)
    export({"out": 1}, "Sigmoid", before=nodes, weights=weights)
    model = load_model(export.path)
    assert model.card.input.std == (std, std, std)
    assert model.card.input.mean == (0, 0, 0)
    assert model.assumed == ("channels rgb", "fit stretch"), "its range is known"


@pytest.mark.parametrize("operations", [[], [("Mul", 0.0)], [("Mul", 30.0)]], ids=["none", "nought", "odd"])
def test_what_does_not_say_a_range_is_asked_about(export: Exporter, operations: list[tuple[str, Any]]) -> None:
    nodes, weights = steps(*operations)
    assert "input.mean and input.std" in str(refused(export({"out": 1}, "Sigmoid", before=nodes, weights=weights)))


# YOLOX


def yolox(nets, *, focus: bool = True, decoded: bool = False, classes: int = 80, heads: bool = True, rows: int = 84) -> Path:
    """A first layer and a last one as YOLOX has them, at 64x64: 64 + 16 + 4 cells."""
    nodes, weights = [], {"w": np.zeros((8, 12 if focus else 3, 3, 3), np.float32), "shape": np.array([1, 1, 1], np.int64)}
    tensor = "images"
    if focus:
        for number, (y, x) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            for axis, start in ((2, y), (3, x)):
                bounds = {"s": [start], "e": [2**31 - 1], "a": [axis], "t": [2]}
                weights |= {f"{number}{axis}{key}": np.array(value, np.int64) for key, value in bounds.items()}
                out = f"part{number}" if axis == 3 else f"rows{number}"
                names = [f"{number}{axis}{key}" for key in bounds]
                nodes.append(helper.make_node("Slice", [f"rows{number}" if axis == 3 else "images", *names], [out]))
        nodes.append(helper.make_node("Concat", [f"part{number}" for number in range(4)], ["quarters"], axis=1))
        tensor = "quarters"
    nodes.append(helper.make_node("Conv", [tensor, "w"], ["features"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1, 2, 3], keepdims=0))
    nodes.append(helper.make_node("Reshape", ["mean", "shape"], ["one"]))
    for name, count in (("box", 4), ("object", 1), ("scores", classes)):
        weights[name] = np.zeros((1, rows, count), np.float32)
        nodes.append(helper.make_node("Add", ["one", name], [f"{name}/sum"]))
    sigmoid = "Sigmoid" if heads else "Relu"
    nodes += [helper.make_node(sigmoid, [f"{name}/sum"], [f"{name}/sure"]) for name in ("object", "scores")]
    if decoded:
        nodes.append(helper.make_node("Exp", ["box/sum"], ["box/size"]))
    nodes.append(
        helper.make_node("Concat", ["box/size" if decoded else "box/sum", "object/sure", "scores/sure"], ["output"], axis=2)
    )
    shape = [1, rows, 5 + classes]
    path: Path = nets.save("yolox", nodes, [("images", "float32", [1, 3, PX, PX])], [("output", "float32", shape)], weights)
    return path


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("focus", [False, True])
def test_a_yolox_is_told_as_one(nets, focus: bool, decoded: bool) -> None:
    model = load_model(yolox(nets, focus=focus, decoded=decoded))
    assert (model.card.family, model.card.outputs) == ("boxes", {"rows" if decoded else "cells": "output"})
    assert (model.card.input.channels, model.card.input.fit, model.card.input.std) == ("bgr", "letterbox_top_left", (1, 1, 1))
    assert model.assumed[:3] == ("channels bgr", "fit letterbox_top_left", "pixels 0..255")
    assert len(model.card.classes) == 80


def test_rows_that_are_not_yolox_s_are_asked_about(nets) -> None:
    error = refused(yolox(nets, focus=False, heads=False))
    assert 'family = "boxes", outputs = {rows = "output"}' in str(error)
    assert 'classes = "coco"' in error.to_copy
    assert "unsupported outputs" in str(refused(yolox(nets, rows=85))), "not the cells of its grids"


# Asking


def test_the_card_that_is_asked_for_can_be_copied_as_it_is(export: Exporter, tmp_path: Path) -> None:
    error = refused(export({"logits": 20}, size=("w", "h")))
    assert "facts are missing in the file" in str(error)
    for key in ("classes = [", 'classes = "cityscapes+void"', "input.size_px = [width, height]", "input.mean and input.std"):
        assert key in str(error)
    card = export.card(error.to_copy)
    assert card.classes[-1] == "void"
    assert card.input.size_px == (512, 512)
    assert card.input.mean == (123.675, 116.28, 103.53)
    (tmp_path / "added").mkdir()
    assert add_file(export.path, "theirs", tmp_path / "added").card.classes == card.classes


def test_what_was_assumed_is_written_into_the_card(nets, tmp_path: Path) -> None:
    path = yolox(nets)
    path.with_suffix(".toml").write_text('classes = "coco"\n')
    add_file(path, "theirs", tmp_path)
    first = (tmp_path / "card.toml").read_text().splitlines()[0]
    assert first == ("# Assumed, since neither its file nor a card says so: channels bgr, fit letterbox_top_left, pixels 0..255.")


def test_a_whole_graph_in_int8_is_read_alike(export: Exporter) -> None:
    """QuantizeLinear and DequantizeLinear move values and make no other ones."""
    scale = {"scale": np.array(1 / 255, np.float32), "zero": np.array(0, np.uint8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
    ]
    export({"out": 1}, "Sigmoid", before=nodes, weights=scale)
    assert export.card().outputs == {"alpha": "out"}
