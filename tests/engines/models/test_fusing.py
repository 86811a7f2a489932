"""Fused networks give what the same networks gave before, on every backend; and TensorRT builds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.building.frames import real_frames
from engines.errors import InferenceError, ModelFileError
from engines.families import DecodeSettings, open_family, yolo_seg
from engines.families.yolo_seg import TOP_K
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.exporting import fuse_outputs
from engines.models.fit import InputFiller
from engines.models.model import Model, load_model
from engines.models.sizing import with_input_size
from engines.segmenter import Segmenter
from engines.types import Image, Segmentation, Size

from ..conftest import ZERO_TO_ONE
from ..models.test_shared_models import CITYSCAPES, IMAGENET, PEOPLE, STREET, Case, with_card

pytestmark = pytest.mark.slow

NET = Size(64, 64)
EVERYTHING = DecodeSettings(score_threshold=0.02, max_objects=254)
"""No object is on the edge of being one: a softmax over so few classes gives its largest more than this."""

CASES = {
    **STREET,
    **PEOPLE,
    "logits_640x480": Case(
        "espnetv2-cityscapes/espnetv2_s2.0_city_640x480", (*CITYSCAPES, "ignored"), "ignored", IMAGENET, 0, 0
    ),
}  # fmt: skip
"""Third-party networks with one map as their output: logits of three kinds, and int64 labels."""

WIDER = ("logits_640x480", "voc")
"""The architecture of another case with more pixels or channels: a frame on one backend tells whether size matters."""

YOLO = ("320", "640")


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO in float32: bfloat16 rounds at other places once the graph differs, and proves nothing about the graph."""
    openvino = pytest.importorskip("openvino")
    compile_model = openvino.Core.compile_model

    def compile_exactly(core: Any, network: Any, device: str, config: dict[str, Any]) -> Any:
        return compile_model(core, network, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino.Core, "compile_model", compile_exactly)


@pytest.fixture(scope="module")
def frames(shared: Path) -> list[Image]:
    """People indoors, a motorway, and a street from above: different sizes, so different letterboxes."""
    clips = [shared / "clips" / name for name in ("dashcam-udacity/solidWhiteRight.mp4", "intel/car-detection.mp4")]
    return [real_frames(None, 4)[1], real_frames(clips[0], 2)[0], real_frames(clips[1], 3)[1]]


def fused_model(model: Model, folder: Path) -> Model:
    """`model` with its outputs fused, as a file and a card."""
    network, card = fuse_outputs(onnx.load(model.path), model.card)
    path = folder / "fused_outputs.onnx"
    onnx.save(network, str(path))
    return Model(card, path, model.precision)


def segment(model: Model, backend: str, images: list[Image]) -> list[Segmentation]:
    with Segmenter(model, backend) as segmenter:
        return [segmenter(image, EVERYTHING) for image in images]


def assert_same(wanted: Segmentation, found: Segmentation, score_slack: float) -> None:
    """The same class of every pixel and the same objects; scores may be rounded, so those of equal score may change places."""
    if wanted.class_map is not None:
        np.testing.assert_array_equal(wanted.class_map, found.class_map)
    one, other = wanted.instances, found.instances
    assert len(one) == len(other)
    rows = [np.lexsort((*instances.boxes_px.round(1).T, instances.class_ids)) for instances in (one, other)]
    np.testing.assert_array_equal(one.class_ids[rows[0]], other.class_ids[rows[1]])
    np.testing.assert_allclose(one.boxes_px[rows[0]], other.boxes_px[rows[1]], atol=0.01)
    np.testing.assert_allclose(one.scores[rows[0]], other.scores[rows[1]], atol=score_slack)
    for row_of_one, row_of_other in zip(*rows, strict=True):
        np.testing.assert_array_equal(one.label_map == row_of_one + 1, other.label_map == row_of_other + 1)


HALF_A_STEP = 0.5 / 255 + 1e-5
"""What rounding a confidence to a byte changes."""


def assert_fusing_changes_nothing(model: Model, folder: Path, backends: tuple[str, ...], images: list[Image]) -> ModelCard:
    fused = fused_model(model, folder)
    for backend in backends:
        wanted, found = segment(model, backend, images), segment(fused, backend, images)
        for one, other in zip(wanted, found, strict=True):
            assert_same(one, other, HALF_A_STEP if "confidence" in fused.card.outputs else 1e-5)
    return fused.card


# Other people's networks, on real frames


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", CASES)
def test_a_semantic_network_sees_the_same(
    shared: Path, tmp_path: Path, frames: list[Image], cpu_backends: tuple[str, ...], name: str
) -> None:
    model = load_model(with_card(shared, tmp_path, CASES[name]))
    backends, images = (cpu_backends[-1:], frames[1:2]) if name in WIDER else (cpu_backends, frames[1:])
    card = assert_fusing_changes_nothing(model, tmp_path, backends, images)
    roles = {"labels"} if "labels" in model.card.outputs else {"labels", "confidence", "logit_mean"}
    assert set(card.outputs) == roles


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(("role", "which"), [("drivable", 0), ("lane", -1)])
def test_one_of_several_outputs_alone_is_kept(
    shared: Path, tmp_path: Path, frames: list[Image], cpu_backends: tuple[str, ...], role: str, which: int
) -> None:
    """One on each backend: it is one network, whose other branch goes."""
    path = tmp_path / "twin.onnx"
    path.write_bytes((shared / "models/twinlitenet-bdd100k/twinlitenet_640x360.onnx").read_bytes())
    card = f'family = "semantic"\noutputs = {{logits = "{role}"}}\nclasses = ["other", "{role}"]\nthings = ["{role}"]\n'
    path.with_suffix(".toml").write_text(card + ZERO_TO_ONE)
    assert_fusing_changes_nothing(load_model(path), tmp_path, (cpu_backends[which],), frames[1:2])
    before, after = onnx.load(path), onnx.load(tmp_path / "fused_outputs.onnx")
    assert [value.name for value in after.graph.output] == ["labels", "confidence", "logit_mean"]
    assert len(after.graph.initializer) < len(before.graph.initializer), "the other output's branch has gone"


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("size", YOLO)
def test_a_yolo_sees_the_same(
    shared: Path, tmp_path: Path, frames: list[Image], cpu_backends: tuple[str, ...], size: str
) -> None:
    model = load_model(shared / f"models/yolo11n-seg-coco/yolo11n-seg_coco_{size}.onnx")
    backends, images = (cpu_backends, frames) if size == "320" else (cpu_backends[-1:], frames[:1])
    card = assert_fusing_changes_nothing(model, tmp_path, backends, images)
    assert card.outputs == {"candidates": "candidates", "prototypes": "output1"}
    outputs = {value.name: value for value in onnx.load(tmp_path / "fused_outputs.onnx").graph.output}
    assert [d.dim_value for d in outputs["candidates"].type.tensor_type.shape.dim][1:] == [TOP_K, 42]


@pytest.mark.usefixtures("exact")
def test_a_yolo_whose_rows_are_not_joined_last_sees_the_same(
    shared: Path, tmp_path: Path, frames: list[Image], cpu_backends: tuple[str, ...]
) -> None:
    """Slices of the joined rows made OpenVINO refuse the graph."""
    source = shared / "models/yolo11n-seg-coco/yolo11n-seg_coco_320.onnx"
    network = onnx.load(source)
    for node in network.graph.node:
        node.output[:] = ["joined" if name == "output0" else name for name in node.output]
    network.graph.node.append(helper.make_node("Mul", ["joined", "almost"], ["output0"], name="scaled"))
    network.graph.initializer.append(numpy_helper.from_array(np.array(0.9999, np.float32), "almost"))
    onnx.save(network, str(tmp_path / "scaled.onnx"))
    assert_fusing_changes_nothing(load_model(tmp_path / "scaled.onnx"), tmp_path, cpu_backends[:1], frames[:1])


# The bundled network


def test_the_bundled_network_is_fused_already() -> None:
    model = zoo.find(zoo.DEFAULT_MODEL)
    network = onnx.load(model.path)
    assert fuse_outputs(network, model.card) == (network, model.card)
    assert fuse_outputs(network, model.card)[0] is network


def road_with_logits(folder: Path) -> Model:
    """The bundled network as it is before its argmax."""
    bundled = zoo.find(zoo.DEFAULT_MODEL)
    network = onnx.load(bundled.path)
    makers = {output: node for node in network.graph.node for output in node.output}
    labels = makers[bundled.card.outputs["labels"]]
    argmax = labels if labels.op_type == "ArgMax" else makers[labels.input[0]]
    assert argmax.op_type == "ArgMax"
    size, logits = bundled.card.input.size, argmax.input[0]
    del network.graph.output[:]
    shape = [1, len(bundled.card.classes), size.height, size.width]
    network.graph.output.append(helper.make_tensor_value_info(logits, TensorProto.FLOAT, shape))
    onnx.save(network, str(folder / "logits.onnx"))
    return Model(msgspec.structs.replace(bundled.card, family="semantic", outputs={"logits": logits}), folder / "logits.onnx")


@pytest.mark.usefixtures("exact")
def test_the_bundled_network_from_its_logits_on_sees_the_same(tmp_path: Path, cpu_backends: tuple[str, ...]) -> None:
    images = real_frames(None, 2)
    model = road_with_logits(tmp_path)
    card = assert_fusing_changes_nothing(model, tmp_path, cpu_backends, images)
    assert set(card.outputs) == {"labels", "confidence", "logit_mean"}
    fused = Model(card, tmp_path / "fused_outputs.onnx")
    for one, other in zip(segment(zoo.find(zoo.DEFAULT_MODEL), "ort", images), segment(fused, "ort", images), strict=True):
        np.testing.assert_array_equal(one.class_map, other.class_map)  # type: ignore[arg-type]


# Small networks whose outputs are known


def constant_net(outputs: dict[str, npt.NDArray[Any]], opset: int = 17, ir_version: int = 8) -> onnx.ModelProto:
    """A network that gives `outputs` whatever it sees."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"], name="pool"),
        helper.make_node("Conv", ["pooled", "noughts"], ["nothing_4d"], name="forget"),
        helper.make_node("Flatten", ["nothing_4d"], ["nothing"], name="flat"),
    ]
    weights = {"noughts": np.zeros((1, 3, 1, 1), np.float32)}
    for name, array in outputs.items():
        weights[f"{name}_values"] = array
        nothing = "nothing"
        if array.dtype != np.float32:
            nothing = f"{name}_nothing"
            nodes.append(helper.make_node("Cast", ["nothing"], [nothing], to=helper.np_dtype_to_tensor_dtype(array.dtype)))
        nodes.append(helper.make_node("Add", [nothing, f"{name}_values"], [name], name=f"make_{name}"))
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, NET.height, NET.width])],
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def card_of(family: str, outputs: dict[str, str], how: str = "stretch", **facts: Any) -> ModelCard:
    names = ["ground", "car", "person"]
    spec = {"tensor": "images", "size_px": [64, 64], "layout": "nchw", "dtype": "float32", "channels": "rgb", "fit": how}
    given = {"name": "known", "family": family, "input": spec, "outputs": outputs, "classes": names, "things": names[1:]}
    return msgspec.convert(given | facts, ModelCard)


SEMANTIC = card_of("semantic", {"logits": "logits"})
YOLO_CARD = card_of("yolo_seg", {"predictions": "output0", "prototypes": "output1"}, "letterbox")


def logits(seed: int = 0, cells: int = 64) -> npt.NDArray[np.float32]:
    """Rough noise on a coarse grid: regions large enough to be objects."""
    coarse = np.random.default_rng(seed).normal(0, 2, (1, 3, 4, 4)).astype(np.float32)
    return np.ascontiguousarray(coarse.repeat(cells // 4, axis=2).repeat(cells // 4, axis=3))


def yolo_outputs(anchors: int = 84, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    rows = rng.random((1, 4 + 3 + 2, anchors), np.float32)
    rows[0, :2] = rows[0, :2] * 50 + 7
    rows[0, 2:4] = rows[0, 2:4] * 20 + 4
    rows[0, 4:7] **= 4
    return {"output0": rows, "output1": rng.normal(0, 1, (1, 2, 16, 16)).astype(np.float32)}


def decode(network: onnx.ModelProto, card: ModelCard, backend: str, folder: Path, frame: Size = NET) -> Segmentation:
    path = folder / "network.onnx"
    onnx.save(network, str(path))
    image = np.full((frame.height, frame.width, 3), 90, np.uint8)
    return segment(Model(card, path), backend, [image])[0]


def outputs_of(network: onnx.ModelProto) -> dict[str, list[Any]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in network.graph.output}


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21])
def test_every_opset_from_eleven_on_is_fused(tmp_path: Path, cpu_backend: str, opset: int) -> None:
    for card, outputs in ((SEMANTIC, {"logits": logits()}), (YOLO_CARD, yolo_outputs())):
        network = constant_net(outputs, opset, ir_version=10 if opset > 20 else 8)
        fused, fused_card = fuse_outputs(network, card)
        assert fused is not network
        wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, card), (fused, fused_card)))
        assert len(wanted.instances) >= 3
        assert_same(wanted, found, HALF_A_STEP if card is SEMANTIC else 0)


@pytest.mark.parametrize("card", [SEMANTIC, YOLO_CARD], ids=["semantic", "yolo_seg"])
def test_an_older_opset_is_left_alone(card: ModelCard) -> None:
    network = constant_net({"logits": logits()} if card is SEMANTIC else yolo_outputs(), opset=10)
    assert fuse_outputs(network, card)[0] is network


def test_the_network_given_stays_as_it_is() -> None:
    for card, outputs in ((SEMANTIC, {"logits": logits()}), (YOLO_CARD, yolo_outputs())):
        network = constant_net(outputs)
        before = network.SerializeToString(deterministic=True)
        fuse_outputs(network, card)
        assert network.SerializeToString(deterministic=True) == before


def test_fusing_twice_is_fusing_once() -> None:
    labels = np.zeros((1, 64, 64), np.int64)
    for card, outputs in (
        (SEMANTIC, {"logits": logits()}),
        (card_of("semantic", {"labels": "labels"}), {"labels": labels}),
        (YOLO_CARD, yolo_outputs()),
    ):
        network, card = fuse_outputs(constant_net(outputs), card)
        again, card_again = fuse_outputs(network, card)
        assert again is network
        assert card_again is card
        assert card.sha256 == "", "the hash was the other file's"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (2, 63, 63), (1, 17, 40)], ids=str)
def test_a_logit_that_is_not_finite_is_still_noticed(
    tmp_path: Path, cpu_backend: str, value: float, place: tuple[int, int, int]
) -> None:
    broken = logits()
    broken[(0, *place)] = value
    network, card = fuse_outputs(constant_net({"logits": broken}), SEMANTIC)
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode(network, card, cpu_backend, tmp_path)


@pytest.mark.parametrize("anchors", [84, 1500])
@pytest.mark.parametrize(("row", "value"), [(5, np.nan), (5, np.inf), (1, np.nan), (8, np.nan), (8, -np.inf)])
def test_a_yolo_row_that_is_not_finite_is_still_noticed(
    tmp_path: Path, cpu_backend: str, row: int, value: float, anchors: int
) -> None:
    """A NaN among the scores passes every maximum unseen, wherever it stands; the others matter where they are looked at."""
    outputs = yolo_outputs(anchors)
    scores = outputs["output0"][0, 4:7]
    anchor = int(scores.max(axis=0).argmin()) if row in (4, 5, 6) else int(scores.max(axis=0).argmax())
    outputs["output0"][0, row, anchor] = value
    network = constant_net(outputs)
    for pair in ((network, YOLO_CARD), fuse_outputs(network, YOLO_CARD)):
        with pytest.raises(InferenceError, match="NaN or infinite"):
            decode(*pair, cpu_backend, tmp_path)


def test_a_score_above_one_is_still_noticed(tmp_path: Path, cpu_backend: str) -> None:
    outputs = yolo_outputs()
    outputs["output0"][0, 5, 7] = 1.5
    network, card = fuse_outputs(constant_net(outputs), YOLO_CARD)
    with pytest.raises(InferenceError, match=r"score 1\.5, above 1"):
        decode(network, card, cpu_backend, tmp_path)


def test_more_anchors_than_are_kept_lose_the_worst_only(tmp_path: Path, cpu_backend: str) -> None:
    outputs = yolo_outputs(200)
    network, card = yolo_seg.fuse(constant_net(outputs), YOLO_CARD, top_k=40)
    assert outputs_of(network)["candidates"] == [1, 40, 12]
    found = decode(network, card, cpu_backend, tmp_path).instances
    best = np.sort(outputs["output0"][0, 4:7].max(axis=0))[::-1][:40]
    assert found.scores[0] == best[0]
    assert set(found.scores.tolist()) <= set(best.tolist())
    with pytest.raises(ValueError, match="top_k 0 must be 1 or more"):
        yolo_seg.fuse(constant_net(outputs), YOLO_CARD, top_k=0)


def test_equal_scores_keep_their_order(tmp_path: Path, cpu_backend: str) -> None:
    """Of boxes with one score the first wins NMS, so their order shows."""
    outputs = yolo_outputs()
    outputs["output0"][0, 4:7] = 0
    outputs["output0"][0, 5] = 0.5
    network = constant_net(outputs)
    pairs = (network, YOLO_CARD), fuse_outputs(network, YOLO_CARD)
    wanted, found = (decode(*pair, cpu_backend, tmp_path).instances for pair in pairs)
    assert len(wanted) > 5
    np.testing.assert_array_equal(wanted.boxes_px, found.boxes_px)


def test_of_equal_logits_the_first_class_wins(tmp_path: Path, cpu_backend: str) -> None:
    equal = np.round(logits(3)).clip(-1, 1)
    network = constant_net({"logits": equal})
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, SEMANTIC), fuse_outputs(network, SEMANTIC)))
    np.testing.assert_array_equal(wanted.class_map, found.class_map)  # type: ignore[arg-type]
    np.testing.assert_array_equal(wanted.class_map, equal[0].argmax(axis=0))


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 64), (1, 1, 64, 64), (1, 64, 64, 1)], ids=str)
def test_labels_beyond_a_byte_stay_void(tmp_path: Path, cpu_backend: str, shape: tuple[int, ...], dtype: type) -> None:
    """256 and -256 end in the byte of class 0, and would become it."""
    values = np.zeros((64, 64), dtype)
    for number, strange in enumerate((1, 2, 3, 254, 255, 256, 300, 65536, 2**31 - 1, -1, -2, -256)):
        values[number * 5 : number * 5 + 5] = strange
    card = card_of("semantic", {"labels": "labels"})
    if len(shape) == 2:
        network = constant_net({"labels_4d": values.reshape(1, 64, 64)})
        network.graph.node.append(helper.make_node("Squeeze", ["labels_4d", "axis"], ["labels"]))
        network.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
        del network.graph.output[:]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        network.graph.output.append(helper.make_tensor_value_info("labels", kind, shape))
    else:
        network = constant_net({"labels": values.reshape(shape)})
    fused, fused_card = fuse_outputs(network, card)
    (name,) = fused_card.outputs.values()
    assert [v.type.tensor_type.elem_type for v in fused.graph.output if v.name == name] == [TensorProto.UINT8]
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, card), (fused, fused_card)))
    assert_same(wanted, found, 0)
    assert set(np.unique(found.class_map)) == {0, 1, 2, 255}


def argmax_net(channels: int) -> onnx.ModelProto:
    """(1, channels, 64, 64) noise, and its argmax as int64 labels."""
    network = constant_net({"noise": np.random.default_rng(1).random((1, channels, 64, 64), np.float32)})
    network.graph.node.append(helper.make_node("ArgMax", ["noise"], ["labels"], axis=1, keepdims=0))
    del network.graph.output[:]
    network.graph.output.append(helper.make_tensor_value_info("labels", TensorProto.INT64, [1, 64, 64]))
    return network


@pytest.mark.parametrize("channels", [3, 256, 300])
def test_an_argmax_in_the_graph_needs_bounds_only_beyond_a_byte(tmp_path: Path, cpu_backend: str, channels: int) -> None:
    card = card_of("semantic", {"labels": "labels"})
    fused, fused_card = fuse_outputs(argmax_net(channels), card)
    assert any(node.op_type == "Where" for node in fused.graph.node) == (channels > 256)
    pairs = (argmax_net(channels), card), (fused, fused_card)
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in pairs)
    np.testing.assert_array_equal(wanted.class_map, found.class_map)  # type: ignore[arg-type]


def test_labels_that_are_small_already_and_what_has_nothing_to_fuse_are_left_alone() -> None:
    detections = card_of("yolo_seg", {"detections": "output0", "prototypes": "output1"})
    rows = {"output0": np.zeros((1, 300, 8), np.float32), "output1": np.zeros((1, 2, 16, 16), np.float32)}
    no_coefficients = yolo_outputs()
    no_coefficients["output0"] = no_coefficients["output0"][:, :7]
    for card, outputs in (
        (card_of("semantic", {"labels": "labels"}), {"labels": np.zeros((1, 64, 64), np.uint8)}),
        (detections, rows),
        (card_of("semantic", {"logits": "logits"}, classes=["a", "b"], things=[]), {"logits": logits()}),
        (YOLO_CARD, no_coefficients),
        # These the family refuses, in words.
        (card_of("semantic", {}), {"logits": logits()}),
        (card_of("semantic", {"map": "logits"}), {"logits": logits()}),
        (card_of("yolo_seg", {"predictions": "output0"}), yolo_outputs()),
        (card_of("boxes", {"logits": "logits"}), {"logits": logits()}),
    ):
        network = constant_net(outputs)
        assert fuse_outputs(network, card)[0] is network
        assert fuse_outputs(network, card)[1] is card


def test_a_card_without_things_gets_no_confidence(tmp_path: Path, cpu_backend: str) -> None:
    card = msgspec.structs.replace(SEMANTIC, things=())
    network, fused_card = fuse_outputs(constant_net({"logits": logits()}), card)
    assert outputs_of(network) == {"labels": [1, 64, 64], "logit_mean": [1]}
    assert not any(node.op_type == "Exp" for node in network.graph.node)
    np.testing.assert_array_equal(decode(network, fused_card, cpu_backend, tmp_path).class_map, logits()[0].argmax(axis=0))


def test_a_surface_beside_the_classes_is_kept(tmp_path: Path, cpu_backend: str) -> None:
    lane = np.zeros((1, 2, 64, 64), np.float32)
    lane[:, 1, 20:30] = 1
    outputs = {"logits": logits(), "drivable": lane[:, :, ::-1].copy(), "lane": lane}
    card = card_of("semantic", {name: name for name in outputs})
    network, fused_card = fuse_outputs(constant_net(outputs), card)
    assert {"labels", "drivable", "lane"} <= set(fused_card.outputs)
    surface = decode(network, fused_card, cpu_backend, tmp_path).surface
    assert surface is not None
    assert sorted(np.unique(surface)) == [0, 1, 2]


@pytest.mark.parametrize("how", ["letterbox", "letterbox_top_left"])
def test_coarse_logits_of_a_letterboxed_frame_stay_logits(tmp_path: Path, cpu_backend: str, how: str) -> None:
    """The padding begins inside a cell, where labels can't be cut as interpolated logits can."""
    card = card_of("semantic", {"logits": "logits"}, how)
    coarse = constant_net({"logits": logits(cells=16)})
    assert fuse_outputs(coarse, card)[0] is coarse
    assert fuse_outputs(coarse, SEMANTIC)[0] is not coarse, "a stretched frame has no padding"
    fine = constant_net({"logits": logits()})
    for frame in (Size(64, 36), Size(90, 41), Size(33, 100)):
        pairs = (fine, card), fuse_outputs(fine, card)
        wanted, found = (decode(*pair, cpu_backend, tmp_path, frame) for pair in pairs)
        assert_same(wanted, found, HALF_A_STEP)


def test_names_that_are_taken_get_others(tmp_path: Path, cpu_backend: str) -> None:
    """A network of ours inside one: its tensors are called like those that fusing adds, one inside a branch of an If."""
    values = logits()
    network = constant_net({"labels": values})
    graph = network.graph
    inner = [
        helper.make_graph(
            [helper.make_node("Identity", ["labels"], [name])], name, [], [helper.make_tensor_value_info(name, 1, None)]
        )
        for name in ("confidence", "fused/flat:0")
    ]
    nodes = [
        helper.make_node("If", ["yes"], ["logit_mean"], name="fused/labels", then_branch=inner[0], else_branch=inner[1]),
        helper.make_node("Identity", ["logit_mean"], ["fused/flat"], name="fused/flat"),
    ]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("fused/flat", TensorProto.FLOAT, values.shape))
    card = msgspec.structs.replace(SEMANTIC, outputs={"logits": "fused/flat"})
    fused, fused_card = fuse_outputs(network, card)
    taken = {"labels", "confidence", "logit_mean", "fused/flat", "fused/flat:0"}
    assert not taken & set(fused_card.outputs.values())
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, card), (fused, fused_card)))
    assert_same(wanted, found, HALF_A_STEP)


def test_an_output_called_as_the_candidates_will_be(tmp_path: Path, cpu_backend: str) -> None:
    outputs = yolo_outputs()
    network = constant_net({"candidates": outputs["output0"], "output1": outputs["output1"]})
    card = msgspec.structs.replace(YOLO_CARD, outputs={"predictions": "candidates", "prototypes": "output1"})
    fused, fused_card = fuse_outputs(network, card)
    assert fused_card.outputs["candidates"] != "candidates"
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, card), (fused, fused_card)))
    assert_same(wanted, found, 0)


def test_weights_that_an_old_exporter_lists_as_inputs_are_not_inputs(tmp_path: Path, cpu_backend: str) -> None:
    """IR 3 wants every weight among the inputs; those that are dropped must go there too."""
    network = constant_net({"logits": logits(), "other": logits(1)}, opset=11, ir_version=3)
    for tensor in network.graph.initializer:
        network.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.checker.check_model(network)
    fused, card = fuse_outputs(network, SEMANTIC)
    assert "other_values" not in {value.name for value in fused.graph.input}
    wanted, found = (decode(*pair, cpu_backend, tmp_path) for pair in ((network, SEMANTIC), (fused, card)))
    assert_same(wanted, found, HALF_A_STEP)


def test_a_network_in_halves_is_fused_without_overflow(nets, painted: Callable[..., Any], cpu_backends: tuple[str, ...]) -> None:
    """Added up in halves, so many logits of 30000 would be infinite."""
    model = load_model(nets.semantic("half", size=(64, 48), dtype="float16", weights=np.eye(3) * 30000))
    model = dataclasses.replace(model, card=msgspec.structs.replace(model.card, things=model.card.classes))
    fused = fused_model(model, nets.folder)
    (mean,) = (value for value in onnx.load(fused.path).graph.output if value.name == fused.card.outputs["logit_mean"])
    assert mean.type.tensor_type.elem_type == TensorProto.FLOAT
    image = painted(np.repeat([[0, 1, 1, 2]], 48, axis=0).repeat(16, axis=1))
    for backend in cpu_backends:
        (wanted,), (found,) = segment(model, backend, [image]), segment(fused, backend, [image])
        assert_same(wanted, found, HALF_A_STEP)


def test_boxes_in_halves_are_exact_to_a_fraction_of_a_pixel() -> None:
    """One half has steps of 1/2 from 512 on; whole pixels and what is left of them have steps of 1/4096 or less."""
    import onnxruntime

    outputs = yolo_outputs(2000)
    outputs["output0"][0, :4] *= 20
    network, _ = fuse_outputs(constant_net(outputs), YOLO_CARD)
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = session.run(["candidates"], {"images": np.zeros((1, 3, 64, 64), np.float32)})[0][0]
    best = np.sort(np.argsort(-outputs["output0"][0, 4:7].max(axis=0), kind="stable")[:TOP_K])
    boxes = outputs["output0"][0, :4, best]
    halves = rows.astype(np.float16).astype(np.float32)
    assert np.abs(halves[:, :4] + halves[:, 4:8] - boxes).max() <= 2**-12
    assert np.abs(boxes.astype(np.float16) - boxes).max() > 0.2
    np.testing.assert_array_equal(rows[:, 9], outputs["output0"][0, 4:7, best].argmax(axis=1))


@pytest.mark.parametrize("family", ["semantic", "yolo_seg"])
def test_each_picture_of_a_batch_gets_its_own(family: str, nets, shared: Path, frames: list[Image]) -> None:
    import onnxruntime

    if family == "semantic":
        model = load_model(with_card(shared, nets.folder, STREET["bgr_odd_normalisation"]))
    else:
        model = load_model(shared / "models/yolo11n-seg-coco/yolo11n-seg_coco_320.onnx")
    network, card = fuse_outputs(*with_input_size(onnx.load(model.path), model.card, None, "dynamic"))
    assert all(shape[0] == "batch" for shape in outputs_of(network).values())
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    names = list(card.outputs.values())
    fill, family_of = InputFiller(card.input), open_family(card)
    filled = [(tensor.copy(), geometry) for tensor, geometry in map(fill, frames)]
    together = session.run(names, {card.input.tensor: np.concatenate([tensor for tensor, _ in filled])})
    found = 0
    for number, (tensor, geometry) in enumerate(filled):
        alone = session.run(names, {card.input.tensor: tensor})
        of_batch = [array[number : number + 1] for array in together]
        one, other = (
            family_of.decode(dict(zip(names, arrays, strict=True)), geometry, DecodeSettings()) for arrays in (alone, of_batch)
        )
        found += len(one.instances)
        assert len(one.instances) == len(other.instances)
        np.testing.assert_allclose(one.instances.boxes_px, other.instances.boxes_px, atol=0.1)
        if one.class_map is not None and other.class_map is not None:  # another order of sums may turn a tie
            assert np.mean(one.class_map == other.class_map) > 0.9999
    assert found >= 1


@pytest.mark.parametrize(
    ("outputs", "tensor", "words"),
    [("logit", "images", "no output logit. Correct `outputs` in its card"), ("logits", "x", 'no input "x"')],
)
def test_a_card_that_names_missing_tensors_is_an_error(outputs: str, tensor: str, words: str) -> None:
    card = msgspec.structs.replace(SEMANTIC, input=msgspec.structs.replace(SEMANTIC.input, tensor=tensor))
    with pytest.raises(ModelFileError, match=words):
        fuse_outputs(constant_net({"logits": logits()}), msgspec.structs.replace(card, outputs={"logits": outputs}))
