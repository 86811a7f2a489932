"""Average precision of constructed detections with a known curve, crowds, and scores at the threshold."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from engines.datasets.folder import TrueObject, objects_of
from engines.errors import DataError, EvaluationError
from engines.evaluation.objects import ObjectFigures, ObjectScorer
from engines.types import Size

SIZE = Size(100, 80)


def block(x: int, y: int, w: int = 20, h: int = 20) -> np.ndarray:
    mask = np.zeros((SIZE.height, SIZE.width), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


TRUE = [TrueObject(0, block(0, 0)), TrueObject(0, block(40, 0)), TrueObject(1, block(0, 40)), TrueObject(1, block(40, 40))]


def figures(found: list[tuple[int, float, np.ndarray]], truths: list[TrueObject] = TRUE, class_count: int = 3) -> ObjectFigures:
    scorer = ObjectScorer(class_count, threshold=0.5)
    scorer.add_image(SIZE, truths)
    for class_id, score, mask in found:
        scorer.add_mask(class_id, score, mask)
    return scorer.figures()


PERFECT = [(0, 0.9, block(0, 0)), (0, 0.8, block(40, 0)), (1, 0.7, block(0, 40)), (1, 0.6, block(40, 40))]


def test_a_perfect_predictor() -> None:
    found = figures(PERFECT)
    assert (found.ap, found.ap50, found.ap75) == pytest.approx((1, 1, 1))
    assert found.ap_of[:2] == pytest.approx((1, 1))
    assert math.isnan(found.ap_of[2]), "a class that does not occur has no figure"
    assert (found.precision, found.recall, found.f1) == (1, 1, 1)
    assert (found.truths, found.found, found.hits) == (4, 4, 4)


def test_images_with_more_objects_than_count_are_counted() -> None:
    """COCO counts 100 detections of an image: recall ends there, and nobody knew why."""
    places = [(x, y) for y in range(0, 80, 7) for x in range(0, 100, 8)]
    for count, crowded in ((100, 0), (101, 1)):
        found = figures([], [TrueObject(0, block(x, y, 5, 5)) for x, y in places[:count]])
        assert (found.truths, found.crowded) == (count, crowded)
    assert figures([(0, 0.6, block(x, y, 5, 5)) for x, y in places[:100]]).crowded == 1
    assert figures([(0, 0.4, block(x, y, 5, 5)) for x, y in places[:100]]).crowded == 0, "none that is shown"


def test_one_of_two_found() -> None:
    """Precision 1 up to recall 0.5, and nothing beyond: 51 of COCO's 101 recall steps."""
    found = figures([PERFECT[0], PERFECT[2]])
    assert found.ap == pytest.approx(51 / 101)
    assert (found.precision, found.recall, found.f1) == (1, 0.5, pytest.approx(2 / 3))


def test_a_wrong_one_before_each_right_one() -> None:
    """Class 0: wrong, right, wrong, right. Precision 1/2 at both recalls; the envelope makes it 1/2 throughout."""
    wrong = block(80, 60, 10, 10)
    found = figures([(0, 0.95, wrong), (0, 0.9, block(0, 0)), (0, 0.85, wrong), (0, 0.8, block(40, 0))], TRUE[:2])
    assert found.ap == pytest.approx(0.5)
    assert (found.precision, found.recall) == (0.5, 1)


def test_a_mask_of_seven_tenths_counts_up_to_iou_seven_tenths() -> None:
    """IoU 0.7 passes 0.50, 0.55, 0.60, 0.65 and 0.70: five of ten thresholds."""
    found = figures([(0, 0.9, block(0, 0, 20, 14))], TRUE[:1])
    assert found.ap50 == pytest.approx(1)
    assert found.ap75 == pytest.approx(0)
    assert found.ap == pytest.approx(0.5)


def test_the_wrong_class_is_not_a_hit() -> None:
    found = figures([(1, 0.9, block(0, 0))], TRUE[:1])
    assert (found.ap, found.hits, found.found) == (0, 0, 1)


def test_detections_below_the_threshold_count_for_the_curve_only() -> None:
    found = figures([(class_id, score - 0.45, mask) for class_id, score, mask in PERFECT])
    assert found.ap == pytest.approx(1)
    assert (found.found, found.hits, found.recall) == (0, 0, 0)
    assert math.isnan(found.precision)


def test_a_crowd_is_neither_missed_nor_found() -> None:
    crowd = TrueObject(0, block(60, 40, 40, 40), is_crowd=True)
    found = figures([*PERFECT, (0, 0.9, block(70, 50, 20, 20))], [*TRUE, crowd])
    assert found.ap == pytest.approx(1)
    assert (found.truths, found.found, found.precision) == (4, 4, 1)


def test_overlapping_objects_are_each_scored_whole() -> None:
    """Pasted into one label map, the lower one would lose half of itself; scored before, it is perfect."""
    truths = [TrueObject(0, block(0, 0, 40, 20)), TrueObject(0, block(20, 0, 40, 20))]
    found = figures([(0, 0.9, block(0, 0, 40, 20)), (0, 0.8, block(20, 0, 40, 20))], truths)
    assert found.ap == pytest.approx(1)
    pasted = figures([(0, 0.9, block(0, 0, 40, 20)), (0, 0.8, block(40, 0, 20, 20))], truths)
    assert pasted.ap75 < 0.6


@pytest.mark.parametrize(
    "outline",
    [
        block(10, 20, 30, 40),
        [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]],
        {"size": [80, 100], "counts": [10 * 80 + 20, *[40, 40] * 29, 40, 20 + 60 * 80]},
    ],
    ids=["mask", "polygon", "run lengths"],
)
def test_every_form_of_an_outline_is_the_same_object(outline: object) -> None:
    found = figures([(0, 0.9, block(10, 20, 30, 40))], [TrueObject(0, outline)])  # type: ignore[arg-type]
    assert found.ap == pytest.approx(1)


@pytest.mark.parametrize("outline", [{"size": [80, 100]}, {"size": [10, 10], "counts": [100]}, [["a"]]])
def test_an_invalid_outline_is_an_error(outline: object) -> None:
    with pytest.raises(DataError, match="outline"):
        ObjectScorer(1, 0.5).add_image(SIZE, [TrueObject(0, outline)])  # type: ignore[arg-type]


def test_boxes_are_scored_as_boxes() -> None:
    scorer = ObjectScorer(1, threshold=0.5, by="box")
    scorer.add_image(SIZE, TRUE[:2])
    scorer.add_box(0, 0.9, np.array((0, 0, 20, 20), np.float32))
    scorer.add_box(0, 0.8, np.array((40, 0, 60, 10), np.float32))
    found = scorer.figures()
    assert (found.ap50, found.ap75) == pytest.approx((1, 51 / 101)), "the second box has half the height: IoU 0.5"
    assert found.by == "box"


def test_nothing_found_at_all() -> None:
    found = figures([])
    assert (found.ap, found.recall, found.found) == (0, 0, 0)


def test_images_do_not_mix() -> None:
    scorer = ObjectScorer(1, threshold=0.5)
    scorer.add_image(SIZE, TRUE[:1])
    scorer.add_image(SIZE, [])
    scorer.add_mask(0, 0.9, block(0, 0))
    assert (scorer.figures().ap, scorer.figures().precision) == (0, 0)


def test_a_review_of_one_image() -> None:
    scorer = ObjectScorer(2, threshold=0.5)
    scorer.add_image(SIZE, [*TRUE, TrueObject(1, block(80, 60), is_crowd=True)])
    for class_id, score, mask in (PERFECT[0], (0, 0.6, block(0, 0)), PERFECT[2], (1, 0.3, block(40, 40))):
        scorer.add_mask(class_id, score, mask)
    review = scorer.review(SIZE)
    assert review.f1 == pytest.approx(2 * 2 / (4 + 3)), "one object is found once, and what is unsure not at all"
    assert (review.truth[0, 0], review.truth[40, 0], review.truth[70, 90]) == (0, 1, 255)
    assert (review.found[0, 0], review.found[45, 45]) == (0, 255)


def test_objects_of_a_map_have_the_class_of_most_of_their_pixels() -> None:
    instances, label = np.zeros((80, 100), np.uint8), np.full((80, 100), 2, np.uint8)
    instances[:10, :10], label[:10, :6], label[:10, 6:10] = 1, 0, 1
    instances[20:30, :10], label[20:30, :10] = 2, 255
    instances[40:50, :10], label[40:50, :5], label[40:50, 5:10] = 255, 1, 255
    found = list(objects_of(instances, label, (0, 1)))
    assert [(item.class_id, item.is_crowd, int(np.sum(item.outline))) for item in found] == [  # type: ignore[arg-type]
        (0, False, 100), (0, True, 100), (1, True, 100), (0, True, 50), (1, True, 100),
    ]  # fmt: skip


def test_a_missing_library_is_an_error_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(EvaluationError, match=r"pip install -e '\.\[evaluate\]'"):
        ObjectScorer(1, 0.5)
