"""RF-DETR's segmentation: exactly constructed outputs, and a graph with them that ONNX Runtime runs, read by names."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, OverlappingFamily, open_family
from engines.models.card import InputSpec, ModelCard
from engines.models.coco import names_by_id
from engines.models.fit import fit
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import F32, Segmentation, Size

NET, FRAME = Size(96, 96), Size(192, 96)
GRID = 24
CLASSES = ("cat", "dog", "owl")
ROLES = {"boxes": "dets", "class_logits": "labels", "mask_logits": "masks"}

Outputs = dict[str, npt.NDArray[Any]]
Query = tuple[tuple[float, float, float, float], float, int, str]
"""Corners of the box as shares of the picture, score, class, and which half of the box is the mask: "left", "right" or "all"."""

QUERIES: list[Query] = [((0.25, 0.25, 0.75, 0.75), 0.9, 1, "left"), ((0.5, 0.0, 1.0, 1.0), 0.6, 0, "all")]


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def outputs_of(queries: list[Query] = QUERIES, places: int = 4, count: int = 10) -> Outputs:
    """(1, count, ...) outputs with `queries` among queries that see nothing."""
    boxes = np.full((1, count, 4), 0.5, np.float32)
    labels, masks = np.full((1, count, places), -9.0, np.float32), np.full((1, count, GRID, GRID), -5.0, np.float32)
    middles = (np.arange(GRID) + 0.5) / GRID
    for number, ((x0, y0, x1, y1), score, class_id, part) in enumerate(queries):
        row = 3 * number + 1
        boxes[0, row] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        labels[0, row, class_id] = logit(score)
        middle = (x0 + x1) / 2
        inside = {"left": middles < middle, "right": middles > middle, "all": middles > -1}[part]
        masks[0, row][:, inside] = 5.0  # over the picture's whole height: the box cuts it
    return {"dets": boxes, "labels": labels, "masks": masks}


def card(classes: tuple[str, ...] = CLASSES, outputs: dict[str, str] | None = None, **facts: Any) -> ModelCard:
    image = InputSpec("input", (NET.width, NET.height), "nchw", "float32", "rgb", "stretch")
    return ModelCard("pets", "rfdetr_seg", image, ROLES if outputs is None else outputs, classes, **facts)


def decode(outputs: Outputs, given: ModelCard | None = None, **settings: Any) -> Segmentation:
    return open_family(given or card()).decode(outputs, fit(FRAME, NET, "stretch"), DecodeSettings(**settings))


@pytest.mark.parametrize("places", [3, 4], ids=["a place a class", "and one for nothing"])
def test_known_objects_come_out_in_frame_pixels(places: int) -> None:
    segmentation = decode(outputs_of(places=places), map_width_px=192)
    found = segmentation.instances
    np.testing.assert_allclose(found.boxes_px, [[48, 24, 144, 72], [96, 0, 192, 96]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.6], atol=1e-6)
    assert found.class_ids.tolist() == [1, 0]
    assert (found.boxes_px.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)
    expected = np.zeros((192, 192), np.uint8)  # two map pixels to a network pixel
    expected[:, 96:] = 2
    expected[48:144, 48:96] = 1
    np.testing.assert_array_equal(found.label_map, expected)
    assert segmentation.class_map is None


def test_the_higher_score_lies_on_top_and_whole_masks_overlap() -> None:
    outputs = outputs_of([((0.0, 0.0, 0.5, 1.0), 0.6, 0, "all"), ((0.25, 0.0, 0.75, 1.0), 0.9, 1, "all")])
    found = decode(outputs, map_width_px=96).instances
    np.testing.assert_allclose(found.scores, [0.9, 0.6], atol=1e-6)
    assert (found.label_map[:, 24:72] == 1).all()
    assert (found.label_map[:, :24] == 2).all()
    family = open_family(card())
    assert isinstance(family, OverlappingFamily)
    first, second = family.object_masks(outputs, fit(FRAME, NET, "stretch"), DecodeSettings())
    assert first.shape == second.shape == (96, 192)
    assert first.sum() == second.sum() == 96 * 96
    assert (first & second).sum() == 96 * 48


def test_edges_lie_where_the_upsampled_logits_cross_zero() -> None:
    outputs = outputs_of(QUERIES[:1])
    outputs["masks"][0, 1] = np.linspace(3, -3, GRID, dtype=np.float32)  # zero in the very middle
    outputs["masks"][0, 1] += 3 / (GRID - 1)  # and now half a cell further right: two network pixels
    label_map = decode(outputs, map_width_px=96).instances.label_map
    assert np.flatnonzero(label_map[48]).tolist() == list(range(24, 50))


def test_the_threshold_and_the_count_hold_and_nothing_is_suppressed() -> None:
    twice = [QUERIES[0], (QUERIES[0][0], 0.8, 1, "all")]
    assert len(decode(outputs_of(twice)).instances) == 2
    assert decode(outputs_of(), score_threshold=0.7).instances.class_ids.tolist() == [1]
    cut = decode(outputs_of(), max_objects=1).instances
    assert (cut.class_ids.tolist(), cut.cut_off) == ([1], len(decode(outputs_of()).instances) - 1)
    assert cut.cut_off > 0
    assert len(decode(outputs_of([])).instances) == 0


def test_a_query_that_might_be_two_things_is_the_likelier() -> None:
    outputs = outputs_of(QUERIES[:1])
    outputs["labels"][0, 1, 2] = logit(0.7)
    assert decode(outputs).instances.class_ids.tolist() == [1]


def test_void_classes_and_the_place_for_nothing_are_never_seen() -> None:
    outputs = outputs_of()
    outputs["labels"][0, :, 3] = 8.0
    assert decode(outputs).instances.class_ids.tolist() == [1, 0]
    assert decode(outputs, card(void=("dog",))).instances.class_ids.tolist() == [0]
    with pytest.raises(CardError, match="pets: all of its classes are void"):
        open_family(card(void=CLASSES))


def test_objects_outside_the_frame_or_thinner_than_a_pixel_are_dropped() -> None:
    outside = [
        ((1.2, 0.2, 1.5, 0.5), 0.9, 0, "all"),
        ((0.5, 0.2, 0.501, 0.8), 0.8, 1, "all"),
        ((-0.25, 0, 0.25, 1), 0.7, 2, "all"),
    ]
    found = decode(outputs_of(outside)).instances
    assert found.class_ids.tolist() == [2]
    np.testing.assert_allclose(found.boxes_px, [[0, 0, 48, 96]], atol=1e-4)


def test_half_precision_outputs_are_read() -> None:
    halves = {name: array.astype(np.float16) for name, array in outputs_of().items()}
    np.testing.assert_allclose(decode(halves).instances.boxes_px, [[48, 24, 144, 72], [96, 0, 192, 96]], atol=0.1)


def test_the_result_outlives_the_outputs() -> None:
    outputs = outputs_of()
    found = decode(outputs).instances
    before = [array.copy() for array in (found.boxes_px, found.scores, found.class_ids, found.label_map)]
    for array in outputs.values():
        array[:] = 0.5
    for array, copy in zip((found.boxes_px, found.scores, found.class_ids, found.label_map), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "place"), [("dets", (0, 1, 0)), ("labels", (0, 7, 2)), ("masks", (0, 1, 9, 9))])
def test_one_value_that_is_not_finite_is_an_error(name: str, place: tuple[int, ...], value: float) -> None:
    outputs = outputs_of()
    outputs[name][place] = value
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode(outputs)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("dets", (1, 10, 5), r"output dets is \(1, 10, 5\), not boxes \(1, Q, 4\)"),
        ("dets", (10, 4), "output dets is .*, not a batch of one"),
        ("labels", (1, 10, 91), "output labels has 91 classes, its card 3. Name all of them"),
        ("labels", (1, 10, 2), "output labels has 2 classes, its card 3"),
        ("masks", (1, 10, 24), r"output masks is \(1, 10, 24\) float32, not mask logits"),
        ("masks", (1, 9, 24, 24), "gave 10 boxes, 10 rows of classes and 9 masks; each of its queries has one of each"),
    ],
)
def test_outputs_of_another_shape_are_an_error(name: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InferenceError, match=says):
        decode(outputs_of() | {name: np.zeros(shape, np.float32)})


def test_a_card_needs_all_three_outputs() -> None:
    with pytest.raises(
        CardError, match=r"pets: an rfdetr_seg card needs outputs\.boxes, outputs\.class_logits, outputs\.mask_logits"
    ):
        open_family(card(outputs={"boxes": "dets"}))


# What its ONNX file tells


def exported(nets: Any, arrays: Outputs, **saved: Any) -> Any:
    """A graph that gives `arrays`, masks first, and a copy of its input that nobody asked for."""
    path = nets.constant(dict(reversed(arrays.items())), "detr", (NET.width, NET.height), **saved)
    import onnx

    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Identity", ["images"], ["copy"]))
    model.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, [1, 3, NET.height, NET.width]))
    onnx.save(model, str(path))
    return path


def test_a_graph_is_known_by_its_outputs_names_and_runs(nets: Any, cpu_backend: str) -> None:
    path = exported(nets, outputs_of([((0.25, 0.25, 0.75, 0.75), 0.9, 18, "all")], places=91))
    path.with_suffix(".toml").write_text('classes = "coco-91"\n')
    model = load_model(path)
    assert (model.card.family, model.card.outputs) == ("rfdetr_seg", ROLES)
    assert (model.card.input.fit, model.card.input.channels) == ("stretch", "rgb")
    np.testing.assert_allclose(model.card.input.mean, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(model.card.input.std, (58.395, 57.12, 57.375))
    with Segmenter(model, cpu_backend) as segmenter:
        found = segmenter(np.zeros((FRAME.height, FRAME.width, 3), np.uint8)).instances
    assert [model.card.class_name(number) for number in found.class_ids] == ["dog"]
    np.testing.assert_allclose(found.boxes_px, [[48, 24, 144, 72]], atol=1e-3)


def test_the_91_places_of_coco_have_its_names_and_those_without_are_void(nets: Any) -> None:
    path = exported(nets, outputs_of(places=91))
    with pytest.raises(CardError, match=r'or classes = "coco-91" if they are those$'):
        load_model(path)
    path.with_suffix(".toml").write_text('classes = "coco-91"\n')
    known = load_model(path).card
    assert len(known.classes) == 91
    assert {number: name for number, name in enumerate(known.classes) if name not in known.void} == names_by_id()
    assert (known.classes[1], known.classes[3], known.classes[17], known.classes[90]) == ("person", "car", "cat", "toothbrush")
    assert set(known.things) == set(names_by_id().values())
    assert known.void[:2] == ("unused 0", "unused 12")


def test_own_classes_without_names_are_an_error(nets: Any) -> None:
    path = exported(nets, outputs_of(places=4))
    with pytest.raises(CardError, match=r'Write in .*detr\.toml: classes = \["first", "second", \.\.\.\]$'):
        load_model(path)
    path.with_suffix(".toml").write_text('classes = ["cat", "dog", "owl"]\n')
    assert load_model(path).card.things == CLASSES
    path.with_suffix(".toml").write_text('classes = ["cat", "dog"]\n')
    with pytest.raises(CardError, match="the network has 4 classes but 2 names are given"):
        load_model(path)


def test_91_classes_of_ones_own_are_not_coco(nets: Any) -> None:
    path = exported(nets, outputs_of(places=91))
    names = [f"part {number}" for number in range(91)]
    path.with_suffix(".toml").write_text(f"classes = {json.dumps(names)}\n")
    known = load_model(path).card
    assert (list(known.classes), list(known.things), known.void) == (names, names, ())


def test_names_and_normalisation_are_read_from_its_own_metadata(nets: Any) -> None:
    said = {"class_id_to_name": {"0": "cat", "1": "dog", "2": "owl"}, "means": [0.5, 0.5, 0.4], "stds": [0.25, 0.25, 0.2]}
    model = load_model(exported(nets, outputs_of(places=4), metadata={"rfdetr_inference": json.dumps(said)}))
    assert model.card.classes == model.card.things == CLASSES
    assert (model.card.input.mean, model.card.input.std) == ((127.5, 127.5, 102.0), (63.75, 63.75, 51.0))


@pytest.mark.parametrize(
    "said", ["", "{", "[]", '{"class_id_to_name": {"x": "cat"}}', '{"class_id_to_name": {"7": "cat"}}', "[" * 9999]
)
def test_useless_metadata_is_ignored(nets: Any, said: str) -> None:
    path = exported(nets, outputs_of(places=4), metadata={"rfdetr_inference": said})
    path.with_suffix(".toml").write_text('classes = ["cat", "dog", "owl"]\n')
    assert load_model(path).card.input.mean == (123.675, 116.28, 103.53)


def test_others_who_call_their_outputs_so_are_not_taken_for_it(nets: Any) -> None:
    """Two-stage detectors: five numbers a box, and labels in integers."""
    five: F32 = np.zeros((1, 10, 5), np.float32)
    arrays = {"dets": five, "labels": np.zeros((1, 10), np.int64), "masks": np.zeros((1, 10, 28, 28), np.float32)}
    with pytest.raises(CardError, match="unsupported outputs"):
        load_model(nets.constant(arrays))
