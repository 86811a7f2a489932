"""Numbers that are not what a card says: read as what they are, refused, or told. Each came out as no object, without a word."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from engines import families
from engines.errors import CardError, ModelFileError
from engines.families.common.ranges import Look
from engines.models.card import InputSpec, ModelCard
from engines.models.exporting import fuse_outputs
from engines.models.model import load_model
from engines.onnx_graph.reading import read_network
from engines.segmenter import Segmenter
from engines.types import Instances, Size

F32 = npt.NDArray[np.float32]

GREY = np.full((64, 64, 3), 7, np.uint8)
STREET = [f"k{number}" for number in range(19)]
UNIT = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"


def card_of(classes: int, **outputs: str) -> ModelCard:
    spec = InputSpec("images", (64, 64), "nchw", "float32", "rgb", "stretch")
    names = tuple(f"k{number}" for number in range(classes))
    role = next(iter(outputs))
    family = "semantic" if role in ("labels", "probabilities") else "matting" if role == "alpha" else "boxes"
    return ModelCard("net", family, spec, outputs, names, things=names)


def examined(card: ModelCard, **arrays: npt.NDArray[Any]) -> Look:
    return families.load_module("engines.families", card.family).examine(card, arrays)  # type: ignore[no-any-return]


def seen_by(segmenter: Segmenter) -> Instances:
    segmenter.warm_up(Size(64, 64))
    return segmenter(GREY).instances


# Probabilities that pass for logits


def street_logits() -> F32:
    """An object of class 13 on class 0, of 19."""
    logits = np.zeros((1, 19, 64, 64), np.float32)
    labels = np.zeros((64, 64), np.int64)
    labels[16:48, 20:52] = 13
    np.put_along_axis(logits[0], labels[None], 8, axis=0)
    return logits


def softmax(logits: F32) -> F32:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("made", ["softmax", "sigmoid", "half softmax"])
def test_probabilities_of_an_unknown_make_are_known_by_their_values(nets, cpu_backend: str, made: str, caplog) -> None:
    """A second softmax over 19 classes gives at most 0.13, and objects need more."""
    logits = street_logits()
    shares = softmax(logits) if "softmax" in made else 1 / (1 + np.exp(4 - logits))
    if made == "half softmax":
        shares = shares.astype(np.float16).astype(np.float32)
    path = nets.constant({"output": shares.astype(np.float32)})
    path.with_suffix(".toml").write_text(f'classes = {json.dumps(STREET)}\nthings = ["k13"]\n{UNIT}')
    with Segmenter(load_model(path), cpu_backend) as segmenter:
        found = seen_by(segmenter)
        assert segmenter.card.outputs == {"probabilities": "output"}
    assert found.class_ids.tolist() == [13]
    assert found.scores[0] == pytest.approx(shares[0, 13, 30, 30], abs=0.01)
    (told,) = [record.message for record in caplog.records if record.name.startswith("engines.families")]
    assert 'are probabilities, not logits, and are read so. Write in its card: outputs = { probabilities = "output" }' in told


def test_logits_stay_logits(nets, caplog) -> None:
    path = nets.constant({"output": street_logits()})
    path.with_suffix(".toml").write_text(f'classes = {json.dumps(STREET)}\nthings = ["k13"]\n{UNIT}')
    with Segmenter(load_model(path), "ort") as segmenter:
        assert seen_by(segmenter).class_ids.tolist() == [13]
        assert segmenter.card.outputs == {"logits": "output"}
    assert not caplog.records


TAILS = {
    "softmax": [("Softmax", ["logits"], {"axis": 1})],
    "sigmoid": [("Sigmoid", ["logits"], {})],
    "softmax, then moved": [("Softmax", ["logits"], {"axis": 1}), ("Transpose", ["t0"], {"perm": [0, 1, 2, 3]})],
    "softmax, then cast": [
        ("Softmax", ["logits"], {"axis": 1}),
        ("Cast", ["t0"], {"to": TensorProto.FLOAT}),
        ("Identity", ["t1"], {}),
    ],
    "softmax in INT8": [
        ("Softmax", ["logits"], {"axis": 1}),
        ("QuantizeLinear", ["t0", "scale", "zero"], {}),
        ("DequantizeLinear", ["t1", "scale", "zero"], {}),
    ],
    "two softmaxes joined": [
        ("Softmax", ["logits"], {"axis": 1}),
        ("Softmax", ["logits"], {"axis": 1}),
        ("Concat", ["t0", "t1"], {"axis": 2}),
    ],
    "softmax in parts": [("Exp", ["logits"], {}), ("ReduceSum", ["t0", "axes"], {"keepdims": 1}), ("Div", ["t0", "t1"], {})],
}


@pytest.mark.parametrize("tail", TAILS)
def test_a_softmax_or_sigmoid_in_the_graph_is_known_before_it_runs(nets, tail: str) -> None:
    steps = TAILS[tail]
    nodes = [helper.make_node("Conv", ["image", "weights"], ["logits"])]
    for number, (operator, inputs, attributes) in enumerate(steps):
        name = "out" if number == len(steps) - 1 else f"t{number}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
    weights = {
        "weights": np.ones((3, 3, 1, 1), np.float32),
        "axes": np.array([1], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "zero": np.array(0, np.uint8),
    }
    path = nets.save("tail", nodes, [("image", "float32", [1, 3, 32, 32])], [("out", "float32", ["n", "c", "h", "w"])], weights)
    path.with_suffix(".toml").write_text(UNIT)
    assert read_network(path).activations == {"out": "sigmoid" if tail == "sigmoid" else "softmax"}
    if tail != "two softmaxes joined":  # which are of twice as many rows: no picture
        assert load_model(path).card.outputs == {"probabilities": "out"}


def test_probabilities_are_fused_without_another_softmax(nets) -> None:
    shares = softmax(street_logits())
    path = nets.constant({"output": shares})
    facts = (
        f'family = "semantic"\noutputs = {{probabilities = "output"}}\nclasses = {json.dumps(STREET)}\nthings = ["k13"]\n{UNIT}'
    )
    path.with_suffix(".toml").write_text(facts)
    model = load_model(path)
    network, card = fuse_outputs(onnx.load(path), model.card)
    fused = path.with_name("fused.onnx")
    onnx.save(network, str(fused))
    fused.with_suffix(".toml").write_text(f'classes = {json.dumps(STREET)}\nthings = ["k13"]\n{UNIT}')
    assert set(card.outputs) == {"labels", "confidence", "logit_mean"}
    with Segmenter(load_model(fused), "ort") as segmenter:
        found = seen_by(segmenter)
    assert found.class_ids.tolist() == [13]
    assert found.scores[0] == pytest.approx(shares[0, 13, 30, 30], abs=0.005)


def test_a_fused_network_with_two_softmaxes_is_told() -> None:
    confidence = np.full((1, 64, 64), round(255 * np.e / (np.e + 18)), np.uint8)
    labels = np.zeros((1, 64, 64), np.uint8)
    seen = examined(card_of(19, labels="l", confidence="c"), l=labels, c=confidence)
    assert "as after a softmax of probabilities" in seen.doubts[0]


def test_logits_called_probabilities_are_refused() -> None:
    with pytest.raises(CardError, match=r"goes from 0 to 8, which are not probabilities\. Write .*outputs = \{ logits"):
        examined(card_of(19, probabilities="out"), out=street_logits())


# Masks and labels


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_a_mask_of_0_and_255_is_two_classes(nets, cpu_backend: str, dtype: str) -> None:
    """255 stood for void: the whole foreground was gone."""
    mask = np.zeros((1, 64, 64), dtype)
    mask[0, 8:40, 8:40] = 255
    path = nets.constant({"out": mask})
    path.with_suffix(".toml").write_text(f'classes = ["other", "road"]\nthings = ["road"]\n{UNIT}')
    with Segmenter(load_model(path), cpu_backend) as segmenter:
        segmentation = segmenter(GREY)
    assert segmentation.class_map is not None
    assert set(np.unique(segmentation.class_map)) == {0, 1}
    assert segmentation.instances.class_ids.tolist() == [1]


def test_labels_that_the_card_does_not_name_are_told() -> None:
    labels = np.array([[[0, 1, 2, 30]]], np.int64)
    assert (
        "contains the label 30, which is none of the card's 19 classes" in examined(card_of(19, labels="l"), l=labels).doubts[0]
    )
    ignored = np.array([[[0, 1, 2, 255, -1 + 0]]], np.int64)
    assert not examined(card_of(19, labels="l"), l=ignored[..., :4]).doubts
    assert not examined(card_of(19, labels="l"), l=ignored[..., [0, 1, 4]]).doubts


def test_an_opacity_after_its_sigmoid_is_no_logit(nets) -> None:
    alpha = np.zeros((1, 1, 64, 64), np.float32)
    alpha[..., 8:40, 8:40] = 0.98
    path = nets.constant({"out": alpha})
    path.with_suffix(".toml").write_text(f'family = "matting"\noutputs = {{alpha_logits = "out"}}\nclasses = ["cat"]\n{UNIT}')
    with Segmenter(load_model(path), "ort") as segmenter:
        segmentation = segmenter(GREY)
    assert segmentation.alpha is not None
    assert (segmentation.alpha.min(), segmentation.alpha.max()) == (0, 250)


def test_an_opacity_of_bytes_0_and_1_is_told_if_it_stays_so(nets, caplog) -> None:
    """One frame of nobody may be so."""
    alpha = np.zeros((1, 1, 64, 64), np.uint8)
    alpha[..., 8:40, 8:40] = 1
    path = nets.constant({"out": alpha})
    path.with_suffix(".toml").write_text(f'family = "matting"\noutputs = {{alpha = "out"}}\nclasses = ["cat"]\n{UNIT}')
    with Segmenter(load_model(path), "ort") as segmenter:
        segmenter(GREY)
        segmenter(GREY)
        assert not caplog.records
    assert "an opacity of bytes goes to 255, in the first 2 frames" in caplog.records[0].message


# Detectors


def detections(*rows: tuple[float, ...], width: int = 6) -> F32:
    found = np.zeros((1, 300, width), np.float32)
    for number, row in enumerate(rows):
        found[0, number, : len(row)] = row
    return found


def test_rt_detr_is_known_by_its_description(nets, cpu_backend: str) -> None:
    """[1, 300, 6]: centre, size, two scores. Read as corners, score and class it gave no object."""
    said = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "description": "Ultralytics RT-DETR-l model trained on pets"}
    path = nets.constant({"output0": detections((0.5, 0.5, 0.3, 0.2, 0.05, 0.9))}, metadata=said)
    model = load_model(path)
    assert (model.card.outputs, model.card.input.fit) == ({"queries": "output0"}, "stretch")
    with Segmenter(model, cpu_backend) as segmenter:
        found = segmenter(np.zeros((100, 200, 3), np.uint8)).instances
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], pytest.approx([0.9], abs=0.01))
    np.testing.assert_allclose(found.boxes_px, [[70, 40, 130, 60]], atol=0.5)


def test_rt_detr_without_a_description_is_refused_with_the_line_to_write(nets) -> None:
    path = nets.constant(
        {"output0": detections((0.5, 0.5, 0.3, 0.2, 0.05, 0.9))}, metadata={"task": "detect", "names": "{0: 'cat', 1: 'dog'}"}
    )
    with (
        Segmenter(load_model(path), "ort") as segmenter,
        pytest.raises(CardError, match=r'0\.9 where a class\'s number should be.*outputs = \{ queries = "output0" \}'),
    ):
        segmenter(GREY)
    path.with_suffix(".toml").write_text('family = "boxes"\noutputs = {queries = "output0"}\n')
    with Segmenter(load_model(path), "ort") as segmenter:
        assert segmenter(GREY).instances.class_ids.tolist() == [1]
        assert segmenter.card.input.fit == "stretch"


FINISHED_WRONG = {
    "scores": [(0.5, 0.5, 0.3, 0.2, 0.05, 0.9)],
    "right before left": [(40, 40, 10, 10, 0.9, 1), (50, 50, 10, 10, 0.8, 0)],
    "class before score": [(10, 10, 40, 40, 1, 0.9)],
}


@pytest.mark.parametrize("rows", FINISHED_WRONG.values(), ids=FINISHED_WRONG)
def test_rows_that_are_not_corners_score_and_class_are_refused(rows: list[tuple[float, ...]]) -> None:
    with pytest.raises(CardError, match="so its rows are not corners, score, class"):
        examined(card_of(2, detections="o"), o=detections(*rows))


def test_corners_score_and_class_pass() -> None:
    seen = examined(card_of(2, detections="o"), o=detections((10, 10, 40, 40, 0.9, 1), (5, 5, 20, 20, 0.6, 0)))
    assert (seen.doubts, seen.best) == ((), pytest.approx(0.9))
    assert examined(card_of(2, detections="o"), o=detections()) == Look(), "an empty picture"
    padded = detections((10, 10, 40, 40, 0.9, 1))
    padded[0, 1:] = -1
    assert not examined(card_of(2, detections="o"), o=padded).doubts


def anchors(count: int = 200, classes: int = 3) -> F32:
    """(1, 4 + C, A) of an ordinary YOLO: boxes all over, low scores and one high."""
    rng = np.random.default_rng(3)
    rows = rng.uniform(0.001, 0.02, (1, 4 + classes, count)).astype(np.float32)
    rows[0, :4] = rng.uniform(1, 64, (4, count))
    rows[0, 4, 7] = 0.8
    return rows


def test_ordinary_predictions_pass() -> None:
    assert examined(card_of(3, predictions="o"), o=anchors()) == Look(best=pytest.approx(0.8))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: np.concatenate((a[:, :4] / 64, a[:, 4:]), axis=1), "they are shares of the picture, not pixels"),
        (lambda a: np.concatenate((a[:, :4], np.log(a[:, 4:])), axis=1), r"the scores in output o begin at -\d"),
        (lambda a: np.concatenate((a[:, :2], -a[:, 2:4], a[:, 4:]), axis=1), "has boxes of the width or height -"),
        (lambda a: np.concatenate((a[:, :2], a[:, :2] + a[:, 2:4], a[:, 4:]), axis=1), "They seem to be corners"),
    ],
    ids=["shares", "before the sigmoid", "negative", "corners"],
)
def test_predictions_of_another_meaning_are_refused(change: Any, says: str) -> None:
    with pytest.raises(CardError, match=says):
        examined(card_of(3, predictions="o"), o=change(anchors()).astype(np.float32))


@pytest.mark.parametrize("step", [0.25, 2.5])
def test_boxes_and_scores_that_share_an_int8_scale_are_told(step: float) -> None:
    rows = np.round(anchors() / step) * step
    rows[0, 4:] = np.minimum(rows[0, 4:], 1)
    (doubt,) = examined(card_of(3, predictions="o"), o=rows.astype(np.float32)).doubts
    assert "do both share one INT8 scale?" in doubt


def test_one_int8_scale_for_boxes_and_scores_in_the_graph_is_refused(nets) -> None:
    weights = {
        "values": anchors(),
        "scale": np.array(2.5, np.float32),
        "zero": np.array(0, np.uint8),
        "no": np.array(0, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "no"], ["nothing"]),
        helper.make_node("Add", ["values", "nothing"], ["rows"]),
        helper.make_node("QuantizeLinear", ["rows", "scale", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["again"]),
        helper.make_node("Identity", ["again"], ["output0"]),
    ]
    said = {"task": "detect", "names": "['a', 'b', 'c']"}
    shapes = [("images", "float32", [1, 3, 64, 64])], [("output0", "float32", [1, 7, 200])]
    path = nets.save("int8", nodes, *shapes, weights, metadata=said)
    with pytest.raises(ModelFileError, match=r"boxes and scores share one INT8 scale in output output0: steps of 2\.5"):
        load_model(path)


def test_rf_detr_after_its_sigmoid_is_refused() -> None:
    spec = InputSpec("images", (64, 64), "nchw", "float32", "rgb", "stretch")
    roles = {"boxes": "b", "class_logits": "c", "mask_logits": "m"}
    card = ModelCard("detr", "rfdetr_seg", spec, roles, ("a", "b"), things=("a", "b"))
    rng = np.random.default_rng(1)
    boxes, masks = rng.uniform(0.2, 0.6, (1, 20, 4)).astype(np.float32), rng.normal(size=(1, 20, 8, 8)).astype(np.float32)
    logits = rng.normal(-4, 2, (1, 20, 3)).astype(np.float32)
    assert not examined(card, b=boxes, c=logits, m=masks).doubts
    with pytest.raises(CardError, match="its sigmoid is inside already"):
        examined(card, b=boxes, c=1 / (1 + np.exp(-logits)), m=masks)
    with pytest.raises(CardError, match="they are pixels, not shares of the picture"):
        examined(card, b=boxes * 64, c=logits, m=masks)


# What holds in all of the first frames


def test_one_value_throughout_is_told(nets, caplog) -> None:
    path = nets.constant({"output": np.full((1, 19, 64, 64), 0.25, np.float32)})
    path.with_suffix(".toml").write_text(f"classes = {json.dumps(STREET)}\n{UNIT}")
    with Segmenter(load_model(path), "ort") as segmenter:
        seen_by(segmenter)
        segmenter(GREY)
        assert not caplog.records, "the next frames may differ"
    assert "output output is 0.25 throughout in the first 2 frames" in caplog.records[0].message


def test_a_detector_that_sees_nothing_is_told_after_thirty_frames(nets, caplog) -> None:
    rows = anchors()
    rows[0, 4, 7] = 0.01
    path = nets.constant({"output0": rows}, metadata={"task": "detect", "names": "['a', 'b', 'c']"})
    with Segmenter(load_model(path), "ort") as segmenter:
        for _ in range(29):
            segmenter(GREY)
        assert not caplog.records
        segmenter(GREY)
        assert "no score is above 0.02 in the first 30 frames" in caplog.records[0].message
        for _ in range(30):
            segmenter(GREY)
    assert len(caplog.records) == 1
