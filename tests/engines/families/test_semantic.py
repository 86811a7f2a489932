from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.card import ModelCard, card_from_dict
from engines.models.fit import Fit, fit
from engines.types import VOID_CLASS, Segmentation, Size

NET = Size(64, 32)


def card(
    outputs: dict[str, str] | None = None,
    classes: tuple[str, ...] = ("road", "car", "person", "nothing"),
    things: tuple[str, ...] = ("car", "person"),
    void: tuple[str, ...] = ("nothing",),
    net: Size = NET,
) -> ModelCard:
    facts: dict[str, Any] = {
        "name": "street",
        "family": "semantic",
        "classes": list(classes),
        "things": list(things),
        "void": list(void),
        "outputs": outputs or {"logits": "out"},
        "input": {
            "tensor": "image",
            "size_px": [net.width, net.height],
            "layout": "nchw",
            "dtype": "float32",
            "channels": "rgb",
            "fit": "stretch",
        },
    }
    return card_from_dict(facts, "card")


def logits_of(class_map: npt.NDArray[np.uint8], count: int = 4, certainty: float = 4.0) -> npt.NDArray[np.float32]:
    """(1, C, H, W) logits that are `certainty` for the pixel's class and 0 for the others."""
    return (np.eye(count, dtype=np.float32)[class_map] * np.float32(certainty)).transpose(2, 0, 1)[None]


def scene() -> npt.NDArray[np.uint8]:
    """Road, a car of 12 x 8, a person of 4 x 10, a speck of a car, and a void strip."""
    class_map = np.zeros((32, 64), np.uint8)
    class_map[10:18, 6:18] = 1
    class_map[12:22, 40:44] = 2
    class_map[2:4, 50:53] = 1
    class_map[28:] = 3
    return class_map


FRAME = Size(640, 320)


def geometry_of(frame: Size = FRAME, how: str = "stretch", net: Size = NET) -> Fit:
    return fit(frame, net, how)


def decode(
    outputs: dict[str, npt.NDArray[Any]],
    roles: dict[str, str] | None = None,
    geometry: Fit | None = None,
    settings: DecodeSettings | None = None,
    **facts: Any,
) -> Segmentation:
    return open_family(card(roles, **facts)).decode(outputs, geometry or geometry_of(), settings or DecodeSettings())


def check_scene(segmentation: Segmentation, score: float) -> None:
    expected = scene()
    expected[expected == 3] = VOID_CLASS
    assert segmentation.class_map is not None
    np.testing.assert_array_equal(segmentation.class_map, expected)
    found = segmentation.instances
    assert found.class_ids.tolist() == [1, 2]
    assert found.boxes_px.tolist() == [[60, 100, 180, 180], [400, 120, 440, 220]]
    np.testing.assert_allclose(found.scores, score, atol=1e-3)
    labels = np.zeros((32, 64), np.uint8)
    labels[10:18, 6:18] = 1
    labels[12:22, 40:44] = 2
    np.testing.assert_array_equal(found.label_map, labels)
    assert (found.boxes_px.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)


def test_logits_become_classes_void_and_objects() -> None:
    certainty = np.exp(4) / (np.exp(4) + 3)
    check_scene(decode({"out": logits_of(scene())}), certainty)


def test_half_precision_logits_are_read_alike() -> None:
    check_scene(decode({"out": logits_of(scene()).astype(np.float16)}), np.exp(4) / (np.exp(4) + 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("shape", [(32, 64), (1, 32, 64), (1, 1, 32, 64), (1, 32, 64, 1)], ids=str)
def test_labels_of_any_integer_and_shape_become_classes(shape: tuple[int, ...], dtype: Any) -> None:
    check_scene(decode({"out": scene().astype(dtype).reshape(shape)}, {"labels": "out"}), 1.0)


@pytest.mark.parametrize("resolution", [1, 2, 4])
def test_a_confidence_map_scores_objects_at_its_own_resolution(resolution: int) -> None:
    confidence = np.full((32 // resolution, 64 // resolution), 51, np.uint8)
    confidence[:, : 32 // resolution] = 204
    roles = {"labels": "out", "confidence": "sure"}
    outputs = {"out": scene()[None], "sure": confidence[None]}

    found = decode(outputs, roles, settings=DecodeSettings(score_threshold=0.1)).instances
    assert found.class_ids.tolist() == [1, 2]
    np.testing.assert_allclose(found.scores, [0.8, 0.2], atol=1e-6)

    assert decode(outputs, roles, settings=DecodeSettings(score_threshold=0.5)).instances.class_ids.tolist() == [1]


def test_objects_below_the_threshold_leave_the_label_map_but_not_the_class_map() -> None:
    segmentation = decode({"out": logits_of(scene(), certainty=0.1)}, settings=DecodeSettings(score_threshold=0.5))
    assert len(segmentation.instances) == 0
    assert not segmentation.instances.label_map.any()
    assert segmentation.class_map is not None
    assert (segmentation.class_map == 1).sum() == 12 * 8 + 6


def test_no_more_objects_than_wanted_the_biggest_of_equals_first() -> None:
    found = decode({"out": scene()[None]}, {"labels": "out"}, settings=DecodeSettings(max_objects=1)).instances
    assert found.boxes_px.tolist() == [[60, 100, 180, 180]]
    assert found.cut_off == len(decode({"out": scene()[None]}, {"labels": "out"}).instances) - 1 > 0


def test_letterboxed_maps_lose_their_padding() -> None:
    geometry = geometry_of(Size(320, 320), "letterbox")  # content is 32 x 32, from x = 16
    class_map = np.full((32, 64), 2, np.uint8)  # "person" in the padding must not show
    class_map[:, 16:48] = 0
    class_map[8:16, 20:30] = 1

    for outputs, roles in (({"out": logits_of(class_map)}, {"logits": "out"}), ({"out": class_map[None]}, {"labels": "out"})):
        segmentation = decode(outputs, roles, geometry)
        assert segmentation.class_map is not None
        assert segmentation.class_map.shape == segmentation.instances.label_map.shape == (32, 32)
        assert set(np.unique(segmentation.class_map)) == {0, 1}
        assert segmentation.instances.class_ids.tolist() == [1]
        assert segmentation.instances.boxes_px.tolist() == [[40, 80, 140, 160]]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
def test_a_coarse_map_under_a_letterbox_lies_where_the_frame_does(stride: int) -> None:
    """720p in 640x640 starts at row 140, which is row 17.5 of a map at 1/8: cut at a whole row, all lay 8 pixels too high."""
    net, frame = Size(640, 640), Size(1280, 720)
    geometry = fit(frame, net, "letterbox")
    class_map = np.zeros((640 // stride, 640 // stride), np.uint8)
    class_map[192 // stride : 320 // stride, 64 // stride : 256 // stride] = 1

    for outputs, roles in (({"out": logits_of(class_map)}, {"logits": "out"}), ({"out": class_map[None]}, {"labels": "out"})):
        segmentation = decode(outputs, roles, geometry, net=net)
        assert segmentation.instances.boxes_px.tolist() == [[128, 104, 512, 360]]
        assert segmentation.class_map is not None
        height, width = segmentation.class_map.shape
        assert width * 720 == height * 1280


def test_labels_beyond_the_named_classes_are_void() -> None:
    class_map = scene().astype(np.int64)
    class_map[0, :6] = (4, 255, 256, 300, -1, 2**40)
    found = decode({"out": class_map[None]}, {"labels": "out"}).class_map
    assert found is not None
    assert found[0, :7].tolist() == [VOID_CLASS] * 6 + [0]


def test_a_thing_named_twice_is_found_once() -> None:
    found = decode({"out": scene()[None]}, {"labels": "out"}, things=("car", "person", "car")).instances
    assert found.class_ids.tolist() == [1, 2]


def test_the_result_outlives_the_outputs() -> None:
    """An engine's output buffers are reused by its next run."""
    for outputs, roles in (({"out": logits_of(scene())}, {"logits": "out"}), ({"out": scene()[None]}, {"labels": "out"})):
        segmentation = decode(outputs, roles)
        before = segmentation.class_map.copy(), segmentation.instances.label_map.copy()  # type: ignore[union-attr]
        outputs["out"][:] = 1
        np.testing.assert_array_equal(segmentation.class_map, before[0])
        np.testing.assert_array_equal(segmentation.instances.label_map, before[1])


def test_all_zero_logits_are_the_first_class_and_no_objects() -> None:
    segmentation = decode({"out": np.zeros((1, 4, 32, 64), np.float32)})
    assert segmentation.class_map is not None
    assert not segmentation.class_map.any()
    assert len(segmentation.instances) == 0


def test_noise_is_survived() -> None:
    """Garbage from a broken network must not stop the program: as many specks as a megapixel map holds."""
    noise = np.random.default_rng(0).integers(0, 2, (1, 1080, 1920)).astype(np.uint8)
    noise[0, ::2, ::2] = 1
    noise[0, 1::2] = 0
    noise[0, :, 1::2] = 0
    segmentation = decode({"out": noise}, {"labels": "out"})
    assert len(segmentation.instances) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_an_error(value: float) -> None:
    logits = logits_of(scene())
    logits[0, 2, 5, 5] = value
    with pytest.raises(InferenceError, match=r"output out contains NaN or infinite values. Use --backend ort"):
        decode({"out": logits})


def test_large_finite_logits_are_fine() -> None:
    logits = logits_of(scene(), certainty=3e38)
    check_scene(decode({"out": logits}), 1.0)


@pytest.mark.parametrize("shape", [(1, 5, 32, 64), (1, 3, 32, 64), (2, 4, 32, 64), (4, 32, 64), (1, 32, 64, 5)], ids=str)
def test_logits_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match=r"output out is .*, not logits \(1, 4, H, W\)"):
        decode({"out": np.zeros(shape, np.float32)})


@pytest.mark.parametrize("shape", [(2, 32, 64), (1, 4, 32, 64), (64,)], ids=str)
def test_labels_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match=r"output out is .*, not one \(H, W\) map"):
        decode({"out": np.zeros(shape, np.uint8)}, {"labels": "out"})


def test_labels_of_floats_are_an_error() -> None:
    with pytest.raises(InferenceError, match="output out is float32, not integer labels"):
        decode({"out": np.full((1, 32, 64), 0.5, np.float32)}, {"labels": "out"})


def test_an_argmax_that_was_cast_to_floats_is_read() -> None:
    found, expected = (
        decode({"out": scene()[None].astype(kind)}, {"labels": "out"}).class_map for kind in (np.float32, np.uint8)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("role", ["logits", "probabilities"])
def test_channels_may_come_last(role: str) -> None:
    shares = np.random.default_rng(0).random((1, 4, 32, 64), np.float32)
    expected = decode({"out": shares}, {role: "out"}).class_map
    found = decode({"out": np.ascontiguousarray(shares.transpose(0, 2, 3, 1))}, {role: "out"}).class_map
    np.testing.assert_array_equal(found, expected)


def test_a_confidence_in_floats_is_an_error_and_not_a_score_of_nothing() -> None:
    outputs = {"out": scene()[None], "sure": np.ones((1, 32, 64), np.float32)}
    with pytest.raises(InferenceError, match="output sure is float32, not uint8"):
        decode(outputs, {"labels": "out", "confidence": "sure"})


@pytest.mark.parametrize("roles", [{}, {"logits": "a", "labels": "b"}, {"confidence": "a"}])
def test_a_card_needs_logits_or_labels(roles: dict[str, str]) -> None:
    given = card({"logits": "out"})
    facts = {name: getattr(given, name) for name in given.__struct_fields__} | {"outputs": roles}
    with pytest.raises(CardError, match=r"needs one of outputs\.logits, outputs\.labels"):
        open_family(ModelCard(**facts))


def test_more_classes_than_a_byte_holds_are_refused() -> None:
    with pytest.raises(CardError, match=r"street: 256 classes do not fit a class map. Name at most 255"):
        open_family(card(classes=tuple(f"c{i}" for i in range(256)), things=(), void=()))


def test_class_maps_are_as_fine_as_the_picture_where_that_is_wanted_and_objects_stay_as_they_were() -> None:
    outputs = {"out": logits_of(scene())}
    plain, fine = decode(outputs), decode(outputs, settings=DecodeSettings(map_width_px=320, fine_class_maps=True))
    assert fine.class_map is not None
    assert plain.class_map is not None
    assert fine.class_map.shape == (160, 320)
    np.testing.assert_array_equal(fine.class_map[2::5, 2::5], plain.class_map)  # the middles of the network's pixels
    assert set(np.unique(fine.class_map)) == {0, 1, 2, VOID_CLASS}
    np.testing.assert_array_equal(fine.instances.label_map, plain.instances.label_map)
    np.testing.assert_array_equal(fine.instances.boxes_px, plain.instances.boxes_px)


def test_a_picture_smaller_than_the_map_changes_nothing() -> None:
    outputs = {"out": logits_of(scene())}
    fine = decode(outputs, settings=DecodeSettings(map_width_px=32, fine_class_maps=True))
    np.testing.assert_array_equal(fine.class_map, decode(outputs).class_map)  # type: ignore[arg-type]
