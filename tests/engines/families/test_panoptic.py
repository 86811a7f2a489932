"""Objects separated by their centres: exactly constructed outputs, and parity with a slow grouping, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.decoding.grouping import (
    FAR_SHARE,
    HALVES_RATIO,
    HALVES_SHARE,
    LEAST_PEAK_SCORE,
    LEAST_SIDE_CELLS,
    MERGE_SHARE,
    NEAR_SHARE,
    OWN_SHARE,
    PIECE_BORDER,
    PIECE_SHARE,
)
from engines.decoding.postprocess import components
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.card import InputSpec, ModelCard
from engines.models.fit import fit
from engines.types import VOID_CLASS, Segmentation, Size

from .slow_panoptic import slow_label_map

NET = Size(128, 64)
CLASSES = ("road", "car", "pedestrian", "bicyclist")
ROLES = ("labels", "peaks", "offsets")
CELL_PX = 4

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Thing:
    """A rectangle of whole pixels. centre_px: where its cells say its centre is, its middle by default. score 0: no peak."""

    class_id: int
    box: tuple[int, int, int, int]
    score: float = 0.9
    centre_px: tuple[float, float] | None = None

    @property
    def centre(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return self.centre_px or ((x0 + x1) / 2, (y0 + y1) / 2)


def card(roles: Sequence[str] = ROLES, net: Size = NET, how: str = "stretch", **facts: Any) -> ModelCard:
    image = InputSpec("image", (net.width, net.height), "nhwc", "uint8", "rgb", how)  # type: ignore[arg-type]
    described: dict[str, Any] = {"classes": CLASSES, "things": CLASSES[1:]} | facts
    return ModelCard("street", "panoptic", image, {role: role for role in roles}, **described)


def outputs_of(things: Sequence[Thing], net: Size = NET, step: int = CELL_PX) -> Outputs:
    """What a perfect network gives for `things`, later ones in front; offsets point nowhere in particular beside them."""
    labels = np.zeros((net.height, net.width), np.uint8)
    rows, columns = (np.indices((net.height // step, net.width // step)) + 0.5) * step
    offsets = np.full((2, *rows.shape), 31.0, np.float32)
    peaks = np.zeros((16, 3), np.float32)
    middle = slice(step // 2, None, step)
    for number, thing in enumerate(things):
        x0, y0, x1, y1 = thing.box
        labels[y0:y1, x0:x1] = thing.class_id
        own = np.zeros(labels.shape, bool)
        own[y0:y1, x0:x1] = True
        cells = own[middle, middle]
        offsets[:, cells] = thing.centre[0] - columns[cells], thing.centre[1] - rows[cells]
        if thing.score:
            peaks[number] = (*thing.centre, thing.score)
    peaks = peaks[np.argsort(-peaks[:, 2], kind="stable")]
    return {"labels": labels[None], "peaks": peaks[None], "offsets": offsets[None]}


def decode(outputs: Outputs, frame: Size = NET, net: Size = NET, how: str = "stretch", **settings: Any) -> Segmentation:
    one_class = {"classes": ("person",), "things": ("person",)} if "alpha" in outputs else {}
    return open_family(card(tuple(outputs), net, how, **one_class)).decode(
        outputs, fit(frame, net, how), DecodeSettings(**settings)
    )


def boxes(segmentation: Segmentation) -> list[list[float]]:
    return segmentation.instances.boxes_px.tolist()


def check_sound(segmentation: Segmentation) -> None:
    """Rows fall by score, every row has pixels, and each box encloses exactly these."""
    found = segmentation.instances
    assert set(np.unique(found.label_map)) - {0} == set(range(1, len(found) + 1))
    assert (np.diff(found.scores) <= 0).all()
    for row, box in enumerate(found.boxes_px):
        rows, columns = np.nonzero(found.label_map == row + 1)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(box, edges, atol=1e-3)


TOUCHING = [Thing(1, (20, 20, 52, 44), 0.9), Thing(1, (52, 20, 84, 44), 0.8)]


def test_two_cars_that_touch_are_two() -> None:
    segmentation = decode(outputs_of(TOUCHING))
    assert boxes(segmentation) == [[20, 20, 52, 44], [52, 20, 84, 44]]
    assert segmentation.instances.class_ids.tolist() == [1, 1]
    np.testing.assert_allclose(segmentation.instances.scores, [0.9, 0.8])
    assert segmentation.class_map is not None
    assert (segmentation.class_map == 1).sum() == 2 * 32 * 24
    assert segmentation.alpha is None
    assert segmentation.surface is None
    check_sound(segmentation)


@pytest.mark.parametrize("shift", range(1, 4))
def test_edges_between_cells_and_within_them_are_the_class_maps(shift: int) -> None:
    """A car whose sides lie anywhere in a cell loses and gains no pixel."""
    box = (20 + shift, 20 + shift, 55 - shift, 47 + shift)
    segmentation = decode(outputs_of([Thing(1, box)]))
    assert boxes(segmentation) == [list(map(float, box))]
    x0, y0, x1, y1 = box
    assert (segmentation.instances.label_map > 0).sum() == (x1 - x0) * (y1 - y0)
    assert segmentation.instances.label_map[y0:y1, x0:x1].all()


def test_a_car_behind_a_pole_is_one() -> None:
    pole = Thing(0, (48, 10, 56, 60))
    segmentation = decode(outputs_of([Thing(1, (20, 20, 84, 44)), pole]))
    assert boxes(segmentation) == [[20, 20, 84, 44]]
    check_sound(segmentation)


def test_a_centre_without_pixels_is_not_an_object() -> None:
    outputs = outputs_of(TOUCHING[:1])
    outputs["peaks"][0, 1] = (110, 20, 0.7)
    assert boxes(decode(outputs)) == [[20, 20, 52, 44]]


def test_centres_below_the_least_score_are_none() -> None:
    outputs = outputs_of([Thing(1, (20, 20, 52, 44), LEAST_PEAK_SCORE - 0.01)])
    assert decode(outputs).instances.scores.tolist() == [1.0], "a component, which has no centre to be unsure of"
    outputs = outputs_of([Thing(1, (20, 20, 52, 44), LEAST_PEAK_SCORE + 0.2)])
    np.testing.assert_allclose(decode(outputs).instances.scores, [LEAST_PEAK_SCORE + 0.2])


def test_without_any_centre_the_components_are_objects() -> None:
    things = [Thing(1, (20, 20, 52, 44), 0), Thing(2, (80, 16, 92, 48), 0)]
    segmentation = decode(outputs_of(things))
    assert sorted(boxes(segmentation)) == [[20, 20, 52, 44], [80, 16, 92, 48]]
    check_sound(segmentation)
    outputs = outputs_of(things)
    outputs["peaks"] = outputs["peaks"][:, :0]
    assert sorted(boxes(decode(outputs))) == [[20, 20, 52, 44], [80, 16, 92, 48]]


def test_a_car_whose_centre_was_missed_is_not_given_to_its_neighbour() -> None:
    segmentation = decode(outputs_of([TOUCHING[0], Thing(1, (52, 20, 84, 44), 0)]))
    assert sorted(boxes(segmentation)) == [[20, 20, 52, 44], [52, 20, 84, 44]]
    check_sound(segmentation)


@pytest.mark.parametrize("apart", [2.0, 8.0])
def test_two_centres_of_one_car_are_one(apart: float) -> None:
    """Its cells vote for between the two, now nearer to the one, now to the other."""
    outputs = outputs_of(TOUCHING[:1])
    x, y = TOUCHING[0].centre
    outputs["peaks"][0, :2] = (x - apart / 2, y, 0.9), (x + apart / 2, y, 0.5)
    outputs["offsets"][0, 0, :, ::2] += 1
    outputs["offsets"][0, 0, :, 1::2] -= 1
    segmentation = decode(outputs)
    assert boxes(segmentation) == [[20, 20, 52, 44]]
    np.testing.assert_allclose(segmentation.instances.scores, [0.9])


def test_two_centres_as_far_apart_as_a_car_is_long_are_two() -> None:
    near = [Thing(1, (20, 20, 36, 44), 0.9), Thing(1, (36, 20, 52, 44), 0.8)]
    assert boxes(decode(outputs_of(near))) == [[20, 20, 36, 44], [36, 20, 52, 44]]


def test_a_child_before_a_lorrys_middle_is_not_merged_into_it() -> None:
    """Near for a lorry is far for a child: the smaller of the two sizes decides."""
    lorry, child = Thing(1, (8, 8, 120, 56), 0.9), Thing(2, (66, 28, 74, 52), 0.8)
    segmentation = decode(outputs_of([lorry, child]))
    assert boxes(segmentation) == [[8, 8, 120, 56], [66, 28, 74, 52]]
    assert segmentation.instances.class_ids.tolist() == [1, 2]


def test_a_person_on_a_bicycle_is_one_object_of_the_class_of_most_cells() -> None:
    centre = (46.0, 34.0)
    rider, bicycle = Thing(2, (40, 12, 52, 28), 0.8, centre), Thing(3, (36, 28, 56, 56), 0, centre)
    segmentation = decode(outputs_of([rider, bicycle]))
    assert boxes(segmentation) == [[36, 12, 56, 56]]
    assert segmentation.instances.class_ids.tolist() == [3]


def test_specks_are_dropped_and_those_in_or_beside_an_object_join_it() -> None:
    net = Size(640, 384)  # a speck is less than three cells
    car = Thing(1, (200, 200, 320, 280))
    alone = decode(outputs_of([car, Thing(1, (500, 200, 506, 206))], net), net, net)
    assert boxes(alone) == [[200, 200, 320, 280]]
    outputs = outputs_of([car], net)
    outputs["offsets"][0, :, 60, 65] = 300  # cells of the car that vote astray, and one at its edge
    outputs["offsets"][0, :, 50, 79] = 300
    found = decode(outputs, net, net)
    assert boxes(found) == [[200, 200, 320, 280]]
    assert found.instances.label_map[200:280, 200:320].all()


def test_a_thin_thing_between_the_cells_middles_is_an_object() -> None:
    """A far pedestrian three pixels wide, which none of the pixels looked at falls on."""
    outputs = outputs_of([])
    outputs["labels"][0, 10:50, 43:46] = 2
    segmentation = decode(outputs)
    assert boxes(segmentation) == [[43, 10, 46, 50]]


def test_thresholds_and_counts_leave_the_rest_unlabelled() -> None:
    outputs = outputs_of(TOUCHING)
    for kept in (decode(outputs, score_threshold=0.85), decode(outputs, max_objects=1)):
        assert boxes(kept) == [[20, 20, 52, 44]]
        assert not kept.instances.label_map[20:44, 52:84].any(), "its neighbour is not given what it leaves"
        assert (kept.class_map == 1).sum() == 2 * 32 * 24
    assert kept.instances.cut_off == 1


def test_confidence_and_peak_make_the_score() -> None:
    for step in (1, 4, 8):
        outputs = outputs_of([*TOUCHING[:1], Thing(2, (100, 16, 112, 48), 0)])
        outputs["confidence"] = np.full((1, 64 // step, 128 // step), 102, np.uint8)
        found = decode(outputs).instances
        np.testing.assert_allclose(found.scores, [0.9**0.25 * 0.4**0.75, 0.4], rtol=1e-6)


def test_an_opacity_is_of_one_class_and_its_own_confidence() -> None:
    outputs = outputs_of(TOUCHING)
    alpha = outputs.pop("labels") * np.uint8(204)
    alpha[0, 20:44, 16:20], alpha[0, 20:44, 84:88] = 127, 60  # soft edges
    segmentation = decode({"alpha": alpha, **outputs})
    assert boxes(segmentation) == [[20, 20, 52, 44], [52, 20, 84, 44]]
    assert segmentation.instances.class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(segmentation.instances.scores, np.array([0.9, 0.8]) ** 0.25 * 0.8**0.75, rtol=1e-6)
    np.testing.assert_array_equal(segmentation.alpha, alpha[0])
    assert segmentation.class_map is None


def test_the_surface_of_the_road_comes_out_at_its_own_resolution() -> None:
    surface = np.zeros((1, 32, 64), np.uint8)
    surface[0, 16:, :40], surface[0, 16:, 20] = 1, 2
    found = decode({**outputs_of(TOUCHING), "surface": surface})
    np.testing.assert_array_equal(found.surface, surface[0])
    surface[0, 0, 0] = 3
    with pytest.raises(InferenceError, match="output surface contains 3, which is none of 0 nothing, 1 drivable, 2 lane line"):
        decode({**outputs_of(TOUCHING), "surface": surface})


def test_a_letterboxs_padding_is_cut_away_and_not_looked_at() -> None:
    net, frame = Size(128, 128), Size(256, 140)  # content 128 x 70 from y = 29, which is no whole cell
    things = [Thing(1, (20, 40, 52, 64)), Thing(1, (52, 40, 84, 64), 0.8), Thing(2, (100, 0, 116, 29), 0.7)]
    outputs = outputs_of(things, net)
    outputs["surface"] = np.ones((1, 128, 128), np.uint8)
    segmentation = decode(outputs, frame, net, "letterbox")
    assert boxes(segmentation) == [[40, 22, 104, 70], [104, 22, 168, 70]]
    assert segmentation.instances.label_map.shape == segmentation.class_map.shape == segmentation.surface.shape == (70, 128)  # type: ignore[union-attr]
    assert (segmentation.instances.label_map > 0).sum() == 64 * 24


def test_void_classes_and_unnamed_ones_are_void_and_no_objects() -> None:
    outputs = outputs_of([Thing(1, (20, 20, 52, 44)), Thing(2, (80, 16, 92, 48))])
    outputs["labels"][0, 0, :3] = 4, 200, 255
    family = open_family(card(void=("pedestrian",)))
    segmentation = family.decode(outputs, fit(NET, NET, "stretch"), DecodeSettings())
    assert boxes(segmentation) == [[20, 20, 52, 44]]
    assert (segmentation.class_map == VOID_CLASS).sum() == 3 + 12 * 32
    assert decode(outputs).class_map[0, :4].tolist() == [VOID_CLASS] * 3 + [0]  # type: ignore[index]


def test_labels_in_other_integers_and_offsets_in_halves_are_read() -> None:
    outputs = outputs_of(TOUCHING)
    wide = outputs | {"labels": outputs["labels"].astype(np.int64)}
    halves = outputs | {name: outputs[name].astype(np.float16) for name in ("peaks", "offsets")}
    for changed in (wide, halves):
        assert boxes(decode(changed)) == [[20, 20, 52, 44], [52, 20, 84, 44]]


def test_the_result_outlives_the_outputs() -> None:
    outputs = outputs_of(TOUCHING) | {"surface": np.ones((1, 16, 32), np.uint8)}
    found = decode(outputs)
    arrays = [found.class_map, found.surface, found.instances.label_map, found.instances.boxes_px]
    before = [array.copy() for array in arrays]  # type: ignore[union-attr]
    for output in outputs.values():
        output[...] = 0
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", ["peaks", "offsets"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_an_error(name: str, value: float) -> None:
    outputs = outputs_of(TOUCHING)
    outputs[name].ravel()[-1] = value
    with pytest.raises(InferenceError, match=rf"output {name} contains NaN or infinite values. Use --backend ort"):
        decode(outputs)


@pytest.mark.parametrize(
    ("name", "broken", "says"),
    [
        ("peaks", np.zeros((1, 3, 16)), r"output peaks is \(1, 3, 16\), not peaks \(1, K, 3\): x, y, score"),
        ("peaks", np.zeros((16, 3)), r"output peaks is \(16, 3\), not a batch of one with 3 axes"),
        ("peaks", np.full((1, 4, 3), 2.0), r"score 2, above 1"),
        ("offsets", np.zeros((1, 3, 16, 32)), r"output offsets is \(1, 3, 16, 32\), not offsets \(1, 2, h, w\)"),
        ("offsets", np.zeros((1, 2, 15, 32)), r"output labels is \(64, 128\), not a multiple of the \(15, 32\) cells of offsets"),
        ("labels", np.zeros((1, 64, 128), np.float32), "output labels is float32, not integer labels"),
        ("confidence", np.zeros((1, 16, 32), np.float32), r"output confidence is float32, not uint8 \(255 x the probability\)"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_outputs_of_another_shape_or_kind_are_an_error(name: str, broken: npt.NDArray[Any], says: str) -> None:
    with pytest.raises(InferenceError, match=says):
        decode(outputs_of(TOUCHING) | {name: broken})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (card(("labels", "offsets")), r"needs outputs\.peaks and outputs\.offsets and one of .*; it has labels, offsets"),
        (card(("labels", "alpha", "peaks", "offsets")), "and one of outputs.labels, outputs.alpha"),
        (card(things=()), 'Write things = .*, or family = "semantic"'),
        (card(("alpha", "peaks", "offsets")), "an alpha has one class, which is a thing; its classes are road, car"),
    ],
    ids=["no peaks", "both", "no things", "alpha of many"],
)
def test_a_card_that_makes_no_sense_is_refused(given: ModelCard, says: str) -> None:
    with pytest.raises(CardError, match=says):
        open_family(given)


def crowded(seed: int, net: Size, step: tuple[int, int], count: int) -> Outputs:
    """Ellipses one before the other, offsets a little wrong and sometimes much, some centres missed, some found twice."""
    rng = np.random.default_rng(seed)
    height, width = net.height, net.width
    rows, columns = np.indices((height, width)) + 0.5
    ids, labels = np.zeros((height, width), int), np.zeros((height, width), np.uint8)
    for number in range(1, count + 1):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        across, down = rng.uniform(2, 24, 2)
        own = ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 < 1
        ids[own], labels[own] = number, rng.integers(1, 4)
    step_y, step_x = step
    cells = (height // step_y, width // step_x)
    middles = ids[step_y // 2 :: step_y, step_x // 2 :: step_x]
    at = (np.indices(cells)[::-1] + 0.5) * np.array((step_x, step_y))[:, None, None]
    offsets = rng.normal(0, 20, (2, *cells))
    peaks = []
    for number in range(1, count + 1):
        place = np.nonzero(ids == number)
        own = middles == number
        if len(place[0]) == 0:
            continue
        centre = np.array((place[1].mean() + 0.5, place[0].mean() + 0.5))
        offsets[:, own] = centre[:, None] - at[:, own] + rng.normal(0, rng.choice([0.1, 2, 8]), (2, int(own.sum())))
        peaks += [(*(centre + rng.normal(0, 2, 2)), rng.uniform(0.05, 1)) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    table = np.array([*sorted(peaks, key=lambda peak: -peak[2])[:32], (0, 0, 0)]).reshape(-1, 3)
    return {
        "labels": labels[None],
        "peaks": table[None].astype(np.float32),
        "offsets": offsets[None].astype(np.float32),
        "confidence": rng.integers(20, 256, (1, *cells)).astype(np.uint8),
    }


SCENES = st.tuples(st.integers(0, 2**31), st.sampled_from([(4, 4), (8, 8), (4, 8), (2, 2), (3, 4), (1, 1)]), st.integers(0, 14))


@settings(deadline=None, max_examples=25)
@given(SCENES, st.sampled_from([0.0, 0.4]))
def test_it_groups_as_the_slow_way_does(scene: tuple[int, tuple[int, int], int], threshold: float) -> None:
    seed, step, count = scene
    net = Size(48, 48)
    outputs = crowded(seed, net, step, count)
    segmentation = decode(outputs, net, net, score_threshold=threshold)
    things = np.where(outputs["labels"][0] > 0, outputs["labels"][0] + 1, 0)
    expected = slow_label_map(things, outputs["peaks"][0], outputs["offsets"][0], outputs["confidence"][0], net, threshold)
    np.testing.assert_array_equal(segmentation.instances.label_map, expected)


@settings(deadline=None, max_examples=40)
@given(SCENES)
def test_every_pixel_of_a_thing_has_one_row_and_boxes_enclose_them_exactly(scene: tuple[int, tuple[int, int], int]) -> None:
    seed, step, count = scene
    net = Size(96, 48)
    outputs = crowded(seed, net, step, count)
    segmentation = decode(outputs, net, net, score_threshold=0.0, max_objects=254)
    check_sound(segmentation)
    label_map, labels = segmentation.instances.label_map, outputs["labels"][0]
    assert not label_map[labels == 0].any()
    least = 16 * step[0] * step[1]
    for class_id, mask, (x, y, w, h) in components(labels, (1, 2, 3), least):
        left_out = (label_map[y : y + h, x : x + w] == 0) & (mask > 0)
        # What has no object are specks beside no object of their class. A region that is hardly an object may be nothing but two
        # of them, where its cells do not agree; of a big one they are little.
        assert left_out.sum() <= max(0.1 * (mask > 0).sum(), 2 * least), class_id


def test_the_constants_are_those_of_the_description() -> None:
    assert (MERGE_SHARE, NEAR_SHARE, LEAST_SIDE_CELLS, LEAST_PEAK_SCORE) == (0.3, 0.5, 4, 0.15)
    assert (OWN_SHARE, FAR_SHARE, PIECE_SHARE, PIECE_BORDER) == (1 / 3, 1, 0.25, 2)
    assert (HALVES_SHARE, HALVES_RATIO) == (0.7, 0.25)


def test_a_shoulder_with_wrong_votes_is_not_a_second_person() -> None:
    """A big object of which a fifth votes for a point that is neither its centre nor the fifth's own middle."""
    man, shoulder = (8, 8, 88, 56), (72, 24, 88, 56)
    outputs = outputs_of([Thing(1, man)])
    x0, y0, x1, y1 = (side // 4 for side in shoulder)
    outputs["offsets"][0, 0, y0:y1, x0:x1] += 36  # to x = 84, beyond half of a width from the centre at 48
    outputs["offsets"][0, 1, y0:y1, x0:x1] -= 24
    assert boxes(decode(outputs)) == [list(man)]


@pytest.mark.parametrize(
    ("man", "other", "count"),
    [
        pytest.param((8, 8, 88, 56), (88, 8, 96, 56), 1, id="an arm along his side"),
        pytest.param((8, 8, 88, 56), (88, 24, 104, 56), 2, id="a child who touches him along less than half of its outline"),
        pytest.param((8, 8, 32, 56), (32, 8, 40, 56), 2, id="not small beside him"),
    ],
)
def test_a_small_piece_along_an_object_is_a_part_of_it(man: Any, other: Any, count: int) -> None:
    """It votes for its own middle, and no centre was found there."""
    assert len(decode(outputs_of([Thing(1, man), Thing(1, other, score=0)])).instances) == count


def test_a_face_and_a_shoulder_that_both_seem_to_be_centres_are_one_man() -> None:
    """Of a face that fills a webcam's picture, the cells of the shoulder's side vote for the shoulder."""
    man = Thing(1, (8, 8, 120, 56), 0.6)
    outputs = outputs_of([man])
    x, y = man.centre
    outputs["peaks"][0, 1] = (x + 24, y, 0.4)
    outputs["offsets"][0, 0, :, 20:] += 24
    assert boxes(decode(outputs)) == [[8, 8, 120, 56]]
