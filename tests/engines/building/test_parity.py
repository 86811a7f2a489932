from __future__ import annotations

import numpy as np
import pytest

from engines.building.parity import BARS, compare, shortfall
from engines.types import Instances, Segmentation, Size


def semantic(class_map: np.ndarray) -> Segmentation:
    return Segmentation(Instances.none(Size.of(class_map)), class_map)


def objects(label_map: np.ndarray, class_ids: list[int]) -> Segmentation:
    count = len(class_ids)
    boxes = np.zeros((count, 4), np.float32)
    return Segmentation(Instances(boxes, np.full(count, 0.9, np.float32), np.array(class_ids, np.int32), label_map))


def two_blocks() -> np.ndarray:
    label_map = np.zeros((40, 60), np.uint8)
    label_map[5:15, 5:25] = 1
    label_map[20:35, 30:50] = 2
    return label_map


def test_equal_results_agree_completely() -> None:
    class_map = np.arange(48, dtype=np.uint8).reshape(6, 8)
    report = compare([semantic(class_map)], [semantic(class_map)])
    assert (report.frames, report.label_agreement, report.mask_iou, report.nan_count) == (1, 1.0, None, 0)
    report = compare([objects(two_blocks(), [1, 2])], [objects(two_blocks(), [1, 2])])
    assert (report.label_agreement, report.mask_iou) == (None, 1.0)


def test_agreement_is_the_share_of_equal_labels_over_all_frames() -> None:
    wanted, found = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    found[0, :4] = 3
    report = compare([semantic(wanted), semantic(wanted)], [semantic(wanted), semantic(found)])
    assert report.label_agreement == pytest.approx(0.98)


def test_the_order_of_rows_and_additional_objects_do_not_matter() -> None:
    other_order = two_blocks().copy()
    other_order[two_blocks() == 1], other_order[two_blocks() == 2] = 2, 1
    other_order[0:3, 40:60] = 3
    report = compare([objects(two_blocks(), [7, 8])], [objects(other_order, [8, 7, 7])])
    assert report.mask_iou == 1.0


def test_a_missing_object_counts_zero() -> None:
    only_one = np.where(two_blocks() == 1, 1, 0).astype(np.uint8)
    report = compare([objects(two_blocks(), [1, 2])], [objects(only_one, [1])])
    assert report.mask_iou == pytest.approx(0.5)
    of_another_class = compare([objects(two_blocks(), [1, 2])], [objects(two_blocks(), [1, 5])])
    assert of_another_class.mask_iou == pytest.approx(0.5)


def test_a_shifted_mask_counts_by_its_overlap() -> None:
    wanted, found = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    wanted[0:10, 0:10], found[0:10, 5:15] = 1, 1
    report = compare([objects(wanted, [0])], [objects(found, [0])])
    assert report.mask_iou == pytest.approx(50 / 150)


@pytest.mark.parametrize("precision", BARS)
def test_a_shortfall_is_described(precision: str) -> None:
    class_map = np.zeros((100, 100), np.uint8)
    good = compare([semantic(class_map)], [semantic(class_map)])
    assert shortfall(good, precision) == ""
    bad = class_map.copy()
    bad[:10] = 1
    assert "90.00% of the labels" in shortfall(compare([semantic(class_map)], [semantic(bad)]), precision)
    assert "NaN" in shortfall(compare([semantic(class_map)], [semantic(class_map)], nan_count=1), precision)
    lost = compare([objects(two_blocks(), [1, 2])], [objects(np.zeros((40, 60), np.uint8), [])])
    assert "masks overlap" in shortfall(lost, precision)


def test_the_bar_of_half_precision() -> None:
    assert (BARS["fp16"].label_agreement, BARS["fp16"].mask_iou) == (0.995, 0.98)


def matte(alpha: np.ndarray) -> Segmentation:
    """A matte whose pixels of more than half opacity are one object."""
    seen = objects((alpha > 127).astype(np.uint8), [0])
    return Segmentation(seen.instances, alpha=alpha)


def test_mattes_are_compared_by_their_opacity_alone() -> None:
    wanted = np.zeros((10, 20), np.uint8)
    wanted[:, 5:15] = 255
    found = wanted.copy()
    found[:, 5] = 153  # 0.6: the object is the same, the edge is softer
    report = compare([matte(wanted)], [matte(found)])
    assert report.label_agreement is None
    assert report.mask_iou == pytest.approx(9.6 / 10)
    assert report.alpha_difference == pytest.approx(0.4 / 20)
    assert compare([matte(wanted)], [matte(wanted)]).alpha_difference == 0
    assert compare([matte(wanted)], [matte(wanted[:5])]).alpha_difference == 1


@pytest.mark.parametrize("precision", BARS)
def test_a_small_person_who_is_lost_fails(precision: str) -> None:
    """Their share of the picture, and so the mean difference of the opacity, is far below what is allowed."""
    wanted = np.zeros((100, 100), np.uint8)
    wanted[:4, :10] = 255
    nobody = np.zeros_like(wanted)
    report = compare([matte(wanted), matte(nobody)], [matte(nobody), matte(nobody)])
    assert report.mask_iou == 0, "of the picture with somebody in it"
    assert shortfall(report, precision).startswith("masks overlap those of FP32 by 0.000 (IoU)")


@pytest.mark.parametrize("precision", BARS)
def test_a_large_difference_of_opacity_fails(precision: str) -> None:
    wanted = np.full((100, 100), 100, np.uint8)
    most = BARS[precision].alpha_difference
    near, far = (np.full_like(wanted, 100 + round(255 * difference)) for difference in (0, most + 1 / 255))
    assert shortfall(compare([matte(wanted)], [matte(near)]), precision) == ""
    trouble = shortfall(compare([matte(wanted)], [matte(far)]), precision)
    assert trouble.startswith("the opacity differs by 0.0")
    assert trouble.endswith(f"{most} is allowed")


def test_the_surface_of_a_road_counts_among_the_labels() -> None:
    class_map, surface = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    other = surface.copy()
    other[:2] = 1
    wanted, found = (Segmentation(Instances.none(Size(10, 10)), class_map, surface=map_) for map_ in (surface, other))
    assert compare([wanted], [found]).label_agreement == pytest.approx(0.9)
