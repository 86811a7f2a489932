from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, OverlappingFamily, open_family
from engines.models.card import ModelCard, card_from_dict
from engines.models.fit import fit
from engines.types import Segmentation, Size

NET = Size(128, 128)
FRAME = Size(256, 144)  # letterboxed to 128 x 72, from y = 28; two frame pixels to a network pixel
OBJECTS = [((40.0, 60.0, 32.0, 24.0), 0.9, 1), ((100.0, 70.0, 16.0, 40.0), 0.6, 0)]
"""Centre x, centre y, width, height in network pixels; score; class. Each mask is the left half of its box."""
BOXES_PX = [[48, 40, 112, 88], [184, 44, 216, 124]]

FORMS = [pytest.param(False, id="predictions"), pytest.param(True, id="detections")]
Outputs = dict[str, npt.NDArray[np.float32]]


def card(end_to_end: bool = False, outputs: dict[str, str] | None = None) -> ModelCard:
    rows = "detections" if end_to_end else "predictions"
    facts: dict[str, Any] = {
        "name": "pets",
        "family": "yolo_seg",
        "classes": ["cat", "dog", "owl"],
        "things": ["cat", "dog", "owl"],
        "outputs": {rows: "output0", "prototypes": "output1"} if outputs is None else outputs,
        "input": {
            "tensor": "images",
            "size_px": [NET.width, NET.height],
            "layout": "nchw",
            "dtype": "float32",
            "channels": "rgb",
            "fit": "letterbox",
        },
    }
    return card_from_dict(facts, "card")


def decode(outputs: Outputs, end_to_end: bool = False, frame: Size = FRAME, **settings: Any) -> Segmentation:
    geometry = fit(frame, NET, "letterbox")
    return open_family(card(end_to_end)).decode(outputs, geometry, DecodeSettings(**settings))


@pytest.fixture
def outputs(exact_yolo: Callable[..., Outputs]) -> Callable[..., Outputs]:
    return lambda end_to_end=False, objects=OBJECTS: exact_yolo(objects, 3, NET, end_to_end)


@pytest.mark.parametrize("end_to_end", FORMS)
@pytest.mark.parametrize(("map_width_px", "magnify"), [(1, 1), (128, 1), (200, 2), (256, 2), (4000, 2)])
def test_known_objects_come_out_in_frame_pixels(outputs, end_to_end: bool, map_width_px: int, magnify: int) -> None:
    segmentation = decode(outputs(end_to_end), end_to_end, map_width_px=map_width_px)

    found = segmentation.instances
    np.testing.assert_allclose(found.boxes_px, BOXES_PX, atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    assert found.class_ids.tolist() == [1, 0]
    assert (found.boxes_px.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)
    assert segmentation.class_map is None
    expected = np.zeros((72 * magnify, 128 * magnify), np.uint8)
    for row, (x0, y0, x1, y1) in enumerate(np.array(BOXES_PX) * magnify // 2):
        expected[y0:y1, x0 : (x0 + x1) // 2] = row + 1
    np.testing.assert_array_equal(found.label_map, expected)


@pytest.mark.parametrize("end_to_end", FORMS)
@pytest.mark.parametrize("map_width_px", [128, 256])
def test_an_object_s_own_mask_is_whole_where_another_lies_on_top(outputs, end_to_end: bool, map_width_px: int) -> None:
    objects = [((40.0, 60.0, 32.0, 24.0), 0.9, 1), ((38.0, 64.0, 40.0, 40.0), 0.6, 0)]
    geometry, settings = fit(FRAME, NET, "letterbox"), DecodeSettings(map_width_px=map_width_px)
    family = open_family(card(end_to_end))
    assert isinstance(family, OverlappingFamily)
    instances = family.decode(outputs(end_to_end, objects), geometry, settings).instances
    masks = list(family.object_masks(outputs(end_to_end, objects), geometry, settings))

    assert [mask.shape for mask in masks] == [(FRAME.height, FRAME.width)] * 2
    for mask, (x0, y0, x1, y1) in zip(masks, instances.boxes_px.astype(int), strict=True):
        expected = np.zeros(mask.shape, np.uint8)
        expected[y0:y1, x0 : (x0 + x1) // 2] = 1
        np.testing.assert_array_equal(mask, expected)
    assert (masks[0] & masks[1]).any()
    pasted = np.kron(instances.label_map == 2, np.ones((256 // map_width_px,) * 2, bool))
    assert pasted.sum() < masks[1].sum(), "the map holds only what lies on top"


@pytest.mark.parametrize("end_to_end", FORMS)
def test_scores_fall_and_the_threshold_holds(outputs, end_to_end: bool) -> None:
    objects = [((10 + 12 * i, 64, 8, 20), score, i % 3) for i, score in enumerate((0.3, 0.8, 0.1, 0.5, 0.25))]
    found = decode(outputs(end_to_end, objects), end_to_end, score_threshold=0.25).instances
    np.testing.assert_allclose(found.scores, [0.8, 0.5, 0.3, 0.25])
    assert found.class_ids.tolist() == [1, 0, 0, 1]
    cut = decode(outputs(end_to_end, objects), end_to_end, score_threshold=0.25, max_objects=2).instances
    assert (cut.class_ids.tolist(), cut.cut_off, found.cut_off) == ([1, 0], 2, 0)


def test_one_object_seen_twice_is_one(outputs) -> None:
    objects = [((40, 60, 32, 24), 0.9, 1), ((41, 60, 32, 24), 0.8, 1), ((41, 60, 32, 24), 0.7, 2)]
    found = decode(outputs(objects=objects), iou_threshold=0.6).instances
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    assert len(decode(outputs(objects=objects), iou_threshold=1.0).instances) == 3


@pytest.mark.parametrize("end_to_end", FORMS)
def test_objects_outside_the_frame_are_dropped_and_those_across_its_edge_cut(outputs, end_to_end: bool) -> None:
    objects = [((64, 10, 20, 20), 0.9, 0), ((0, 64, 20, 10), 0.8, 1), ((64, 64, 0.2, 40), 0.7, 2)]
    found = decode(outputs(end_to_end, objects), end_to_end).instances  # in the padding, at the left edge, thinner than a pixel
    assert found.class_ids.tolist() == [1]
    np.testing.assert_allclose(found.boxes_px, [[0, 62, 20, 82]], atol=1e-4)
    assert found.label_map.max() <= 1


@pytest.mark.parametrize("end_to_end", FORMS)
def test_an_object_of_one_map_pixel_is_read(outputs, end_to_end: bool) -> None:
    """OpenCV takes a 1x1 array for a scalar: a far object once stopped the program."""
    objects = [((40.5, 60.5, 1.2, 1.2), 0.9, 1)]
    found = decode(outputs(end_to_end, objects), end_to_end, map_width_px=128).instances
    assert len(found) == 1


@pytest.mark.parametrize("end_to_end", FORMS)
def test_all_zero_outputs_give_no_objects(outputs, end_to_end: bool) -> None:
    zeros = {name: np.zeros_like(array) for name, array in outputs(end_to_end).items()}
    segmentation = decode(zeros, end_to_end)
    assert len(segmentation.instances) == 0
    assert segmentation.instances.label_map.shape == (144, 256)
    assert not segmentation.instances.label_map.any()
    assert len(decode(zeros, end_to_end, score_threshold=0.0).instances) == 0


@pytest.mark.parametrize("end_to_end", FORMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["output0", "output1"])
def test_outputs_that_are_not_finite_are_an_error(outputs, output: str, value: float, end_to_end: bool) -> None:
    broken = outputs(end_to_end)
    broken[output][:] = value
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode(broken, end_to_end)


@pytest.mark.parametrize("end_to_end", FORMS)
def test_one_nan_score_among_many_objects_is_an_error(outputs, end_to_end: bool) -> None:
    """NaN sorts last, where the limit on objects once cut it off unseen."""
    broken = outputs(end_to_end)
    if end_to_end:
        broken["output0"][0, 250, 4] = np.nan
    else:
        broken["output0"][0, 5, 80] = np.nan
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode(broken, end_to_end, max_objects=1)


@pytest.mark.parametrize("part", [0, -1], ids=["box", "coefficient"])
@pytest.mark.parametrize("end_to_end", FORMS)
def test_one_nan_in_an_object_is_an_error(outputs, end_to_end: bool, part: int) -> None:
    broken = outputs(end_to_end)
    if end_to_end:
        broken["output0"][0, 0, part] = np.nan
    else:
        broken["output0"][0, part, 3] = np.nan
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode(broken, end_to_end)


@pytest.mark.parametrize("end_to_end", FORMS)
def test_scores_before_the_sigmoid_are_an_error_with_the_cure(outputs, end_to_end: bool) -> None:
    broken = outputs(end_to_end, [((40.0, 60.0, 32.0, 24.0), 7.25, 1)])
    with pytest.raises(InferenceError, match=r"score 7\.25, above 1. Export it with the sigmoid inside"):
        decode(broken, end_to_end)


@pytest.mark.parametrize("class_id", [3, 255, -1])
def test_a_class_id_beyond_the_names_is_an_error(outputs, class_id: int) -> None:
    broken = outputs(True, [((40.0, 60.0, 32.0, 24.0), 0.9, class_id)])
    with pytest.raises(InferenceError, match=f"output output0 has class id {class_id}, its card 3 classes"):
        decode(broken, True)


def test_rows_below_the_threshold_may_hold_anything_for_a_class(outputs) -> None:
    padded = outputs(True)
    padded["output0"][0, 10:, 5] = -1
    assert len(decode(padded, True).instances) == 2


@pytest.mark.parametrize("end_to_end", FORMS)
def test_a_wrong_channel_count_is_an_error(outputs, end_to_end: bool) -> None:
    broken = outputs(end_to_end)
    axis = 2 if end_to_end else 1
    broken["output0"] = np.delete(broken["output0"], -1, axis=axis)
    says = r"has 7 numbers per box, .* 6 \+ 2" if end_to_end else r"has 8 numbers per box, .* 4 \+ 3 classes \+ 2"
    with pytest.raises(InferenceError, match=says):
        decode(broken, end_to_end)


@pytest.mark.parametrize("end_to_end", FORMS)
@pytest.mark.parametrize("output", ["output0", "output1"])
def test_a_wrong_shape_is_an_error(outputs, output: str, end_to_end: bool) -> None:
    for broken in (outputs(end_to_end)[output][0], np.concatenate([outputs(end_to_end)[output]] * 2)):
        with pytest.raises(InferenceError, match=f"output {output} is .*, not a batch of one"):
            decode({**outputs(end_to_end), output: broken}, end_to_end)


@pytest.mark.parametrize("end_to_end", FORMS)
def test_half_precision_outputs_are_read(outputs, end_to_end: bool) -> None:
    halves = {name: array.astype(np.float16) for name, array in outputs(end_to_end).items()}
    np.testing.assert_allclose(decode(halves, end_to_end).instances.boxes_px, BOXES_PX, atol=0.2)  # type: ignore[arg-type]


@pytest.mark.parametrize("end_to_end", FORMS)
def test_the_result_outlives_the_outputs(outputs, end_to_end: bool) -> None:
    arrays = outputs(end_to_end)
    found = decode(arrays, end_to_end).instances
    before = [array.copy() for array in (found.boxes_px, found.scores, found.class_ids, found.label_map)]
    for array in arrays.values():
        array[:] = 0.5
    for array, copy in zip((found.boxes_px, found.scores, found.class_ids, found.label_map), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_thousand_sure_boxes_and_more_are_survived() -> None:
    """Noise: every anchor is an object. The best must be among the kept."""
    rng = np.random.default_rng(2)
    rows = np.zeros((1, 4 + 3 + 2, 3000), np.float32)
    rows[0, :2] = rng.uniform(0, 128, (2, 3000))
    rows[0, 2:4] = rng.uniform(4, 40, (2, 3000))
    rows[0, 4:7] = rng.uniform(0.3, 0.95, (3, 3000))
    rows[0, 4, 1234] = 1.0
    rows[0, :4, 1234] = (64, 64, 20, 20)
    found = decode({"output0": rows, "output1": np.ones((1, 2, 32, 32), np.float32)}, max_objects=254).instances
    assert found.scores[0] == 1.0
    assert (np.diff(found.scores) <= 0).all()
    assert len(found) <= 254


@pytest.mark.parametrize(
    "roles",
    [
        {"predictions": "output0"},
        {"prototypes": "output1"},
        {"predictions": "output0", "detections": "output0", "prototypes": "output1"},
    ],
)
def test_a_card_needs_prototypes_and_one_kind_of_rows(roles: dict[str, str]) -> None:
    with pytest.raises(CardError, match=r"pets: a yolo_seg card needs outputs\.prototypes and one of"):
        open_family(card(outputs=roles))


def as_rows(outputs: Outputs, objectness: float = 0.95) -> Outputs:
    """YOLOv5's form of YOLOv8's: a row an anchor, and an objectness that the class scores are to be multiplied by."""
    columns = outputs["output0"][0].T
    rows = np.concatenate((columns[:, :4], np.full((len(columns), 1), objectness), columns[:, 4:]), axis=1)
    rows[:, 5:8] /= objectness
    return {"output0": rows[None].astype(np.float32), "output1": outputs["output1"]}


def decode_rows(outputs: Outputs, **settings: Any) -> Segmentation:
    family = open_family(card(outputs={"rows": "output0", "prototypes": "output1"}))
    return family.decode(outputs, fit(FRAME, NET, "letterbox"), DecodeSettings(**settings))


def test_rows_with_objectness_are_read_as_predictions_are(outputs) -> None:
    wanted, found = decode(outputs()).instances, decode_rows(as_rows(outputs())).instances
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6)
    for attribute in ("boxes_px", "class_ids", "label_map"):
        np.testing.assert_array_equal(getattr(found, attribute), getattr(wanted, attribute))


def test_objectness_times_class_is_the_score(outputs) -> None:
    rows = as_rows(outputs())
    rows["output0"][0, :, 4] *= 0.5
    np.testing.assert_allclose(decode_rows(rows).instances.scores, [0.45, 0.3], rtol=1e-6)
    assert decode_rows(rows, score_threshold=0.4).instances.class_ids.tolist() == [1]


def test_rows_of_one_object_are_suppressed(outputs) -> None:
    objects = [((40, 60, 32, 24), 0.9, 1), ((41, 60, 32, 24), 0.8, 1), ((41, 60, 32, 24), 0.7, 2)]
    np.testing.assert_allclose(decode_rows(as_rows(outputs(objects=objects))).instances.scores, [0.9, 0.7], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(3, 0), (80, 4), (80, 6), (3, 9)], ids=["box", "objectness", "class", "coefficient"])
def test_one_number_of_rows_that_is_not_finite_is_an_error(outputs, place: tuple[int, int], value: float) -> None:
    broken = as_rows(outputs())
    broken["output0"][0][place] = value
    with pytest.raises(InferenceError, match="NaN or infinite"):
        decode_rows(broken)


def test_rows_before_the_sigmoid_or_of_another_width_are_an_error(outputs) -> None:
    with pytest.raises(InferenceError, match=r"score 7\.25, above 1. Export it with the sigmoid inside"):
        decode_rows(as_rows(outputs(), objectness=7.25))
    narrow = as_rows(outputs())
    narrow["output0"] = narrow["output0"][..., :-1]
    with pytest.raises(InferenceError, match=r"has 9 numbers per box, its card says 5 \+ 3 classes \+ 2 coefficients"):
        decode_rows(narrow)


def test_noise_in_every_row_is_survived() -> None:
    rows = np.random.default_rng(2).uniform(0.3, 0.95, (1, 25200, 10)).astype(np.float32)
    rows[0, :, :4] *= 128
    found = decode_rows({"output0": rows, "output1": np.ones((1, 2, 32, 32), np.float32)}, max_objects=254).instances
    assert 0 < len(found) <= 254
