"""Models run and scored: tiny real networks whose answer is known for every pixel."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.datasets.folder import TrueObject
from engines.datasets.settings import SetSettings
from engines.datasets.truth import Truth, TruthSet, open_truth
from engines.errors import EvaluationError
from engines.evaluation.mapping import map_classes, read_classes, read_surface
from engines.evaluation.scores import SetFigures
from engines.evaluation.scoring import PixelScorer, score_set
from engines.models.coco import COCO_CLASSES
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import Instances, Segmentation, Size

ZERO_TO_ONE = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
CARD = f'classes = ["red", "green", "blue"]\nthings = ["green"]\n{ZERO_TO_ONE}'
COLOURS = SetSettings("colours", ("blue", "green", "red"))


def truth_set(truths: list[Truth], settings: SetSettings = COLOURS) -> TruthSet:
    by_name = {truth.name: truth for truth in truths}
    return TruthSet(settings, tuple(by_name), "made here", by_name.__getitem__)


def scored(path: Path, truths: TruthSet, threshold: float = 0.3) -> SetFigures:
    model = load_model(path)
    mapping = map_classes(truths.settings, model.card.classes, model.card.void)
    with Segmenter(model, "ort") as segmenter:
        return score_set(segmenter, truths, mapping, threshold)


def blocks(painted: Callable[..., Any]) -> tuple[Any, np.ndarray]:
    """A frame in BGR colours 0, 1, 2 and that map; 32 x 24 is what the networks take."""
    class_map = np.zeros((24, 32), np.uint8)
    class_map[6:12, 8:18], class_map[20:] = 1, 2
    return painted(class_map), class_map


def test_a_network_that_is_always_right(nets, painted: Callable[..., Any]) -> None:
    """Its classes are named and ordered differently from the set's: red, green, blue on blue, green, red."""
    image, label = blocks(painted)
    seen: list[tuple[int, int]] = []
    model = load_model(nets.semantic(card=CARD))
    truths = truth_set([Truth("a", image, label), Truth("b", image, label)])
    with Segmenter(model, "ort") as segmenter:
        figures = score_set(
            segmenter, truths, map_classes(COLOURS, model.card.classes), 0.3, lambda done, of: seen.append((done, of))
        )
    assert figures.pixels is not None
    assert figures.pixels.iou.tolist() == [1, 1, 1]
    assert (figures.pixels.miou, figures.pixels.pixel_accuracy, figures.pixels.boundary_f1) == (1, 1, 1)
    assert np.diag(figures.pixels.counts).sum() == figures.pixels.counts.sum() == 2 * 24 * 32
    assert (figures.images, figures.objects, figures.surface) == (2, None, None)
    assert min(figures.latency_ms.values()) > 0
    assert [case.figure for case in figures.worst] == [1, 1]
    assert seen == [(1, 2), (2, 2)]


def test_the_worst_image_comes_first(nets, painted: Callable[..., Any]) -> None:
    image, label = blocks(painted)
    wrong = label.copy()
    wrong[:, :16] = 2
    figures = scored(nets.semantic(card=CARD), truth_set([Truth("right", image, label), Truth("wrong", image, wrong)]))
    assert [case.image.name for case in figures.worst] == ["wrong", "right"]
    assert figures.worst[0].figure < 0.5


def test_objects_of_a_semantic_model_are_scored_too(nets, painted: Callable[..., Any]) -> None:
    image, label = blocks(painted)
    mask = (label == 1).astype(np.uint8)
    figures = scored(nets.semantic(card=CARD), truth_set([Truth("a", image, label, objects=(TrueObject(1, mask),))]))
    assert figures.objects is not None
    assert (figures.objects.ap, figures.objects.precision, figures.objects.recall) == pytest.approx((1, 1, 1))
    assert figures.pixels is not None


def test_a_model_without_objects_on_a_set_of_objects_is_an_error(nets, painted: Callable[..., Any]) -> None:
    image, label = blocks(painted)
    card = f'classes = ["red", "green", "blue"]\n{ZERO_TO_ONE}'
    with pytest.raises(EvaluationError, match=r"finds no single objects, and .* has no other labels"):
        scored(nets.semantic(card=card), truth_set([Truth("a", image, objects=(TrueObject(1, label),))]))


YOLO = [((40.0, 60.0, 32.0, 24.0), 0.9, 1), ((38.0, 64.0, 40.0, 40.0), 0.6, 0)]
"""Two boxes that overlap; each mask is the left half of its box."""


def left_half(box: tuple[float, float, float, float]) -> np.ndarray:
    x, y, w, h = box
    mask = np.zeros((128, 128), np.uint8)
    mask[round(y - h / 2) : round(y + h / 2), round(x - w / 2) : round(x)] = 1
    return mask


def yolo(nets, exact_yolo: Callable[..., Any], objects: Any = YOLO) -> Path:
    card = 'classes = ["cat", "dog", "owl"]\nthings = ["cat", "dog", "owl"]\n'
    path = nets.constant(exact_yolo(objects, 3, Size(128, 128), False), name="pets", size=(128, 128))
    path.with_suffix(".toml").write_text(card)
    return Path(path)


def test_masks_are_scored_before_they_are_pasted(nets, exact_yolo: Callable[..., Any]) -> None:
    """The two objects overlap by half, and both are perfect."""
    image = np.zeros((128, 128, 3), np.uint8)
    objects = tuple(TrueObject(class_id, left_half(box)) for box, _, class_id in YOLO)
    settings = SetSettings("pets", ("cat", "dog"))
    figures = scored(yolo(nets, exact_yolo), truth_set([Truth("a", image, objects=objects)], settings))
    assert figures.objects is not None
    assert figures.objects.ap_of == pytest.approx((1, 1))
    assert figures.pixels is None
    (case,) = figures.worst
    assert case.figure == 1
    assert set(np.unique(case.predicted)) == {0, 1, 255}


def test_a_model_of_objects_is_painted_for_a_set_of_pixels(nets, exact_yolo: Callable[..., Any]) -> None:
    """The better object is on top; elsewhere is the background."""
    label = left_half(YOLO[1][0]) * np.uint8(1)
    label[left_half(YOLO[0][0]) > 0] = 2
    settings = SetSettings("pets", ("background", "cat", "dog"))
    figures = scored(yolo(nets, exact_yolo), truth_set([Truth("a", np.zeros((128, 128, 3), np.uint8), label)], settings))
    assert figures.pixels is not None
    assert figures.pixels.iou.tolist() == [1, 1, 1]


def test_objects_below_the_threshold_are_not_painted_but_count_for_the_curve(nets, exact_yolo: Callable[..., Any]) -> None:
    label = np.zeros((128, 128), np.uint8)
    objects = tuple(TrueObject(class_id + 1, left_half(box)) for box, _, class_id in YOLO)
    settings = SetSettings("pets", ("background", "cat", "dog"))
    truths = truth_set([Truth("a", np.zeros((128, 128, 3), np.uint8), label, objects=objects)], settings)
    figures = scored(yolo(nets, exact_yolo), truths, threshold=0.95)
    assert figures.objects is not None
    assert figures.pixels is not None
    assert (figures.objects.ap, figures.objects.found) == (pytest.approx(1), 0)
    assert figures.pixels.pixel_accuracy == 1


@pytest.mark.parametrize("classes", [("background", "cat"), ("cat",)])
def test_objects_of_other_classes_are_not_false_positives(nets, exact_yolo: Callable[..., Any], classes: Any) -> None:
    """The dog is background to a set of cats, and unknown to a set without a background."""
    objects = (TrueObject(classes.index("cat"), left_half(YOLO[1][0])),)
    truths = truth_set([Truth("a", np.zeros((128, 128, 3), np.uint8), objects=objects)], SetSettings("cats", classes))
    found = scored(yolo(nets, exact_yolo), truths).objects
    assert found is not None
    assert (found.found, found.hits, found.precision) == (1, 1, 1)


def test_a_detector_is_scored_by_its_boxes_and_not_on_pixels(nets) -> None:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = (10, 20, 50, 60, 0.9, 1)
    path = nets.constant({"output0": rows}, name="detector", size=(128, 128))
    facts = 'family = "boxes"\nclasses = ["cat", "dog"]\nthings = ["cat", "dog"]\noutputs = {detections = "output0"}\n'
    path.with_suffix(".toml").write_text(facts + ZERO_TO_ONE)
    image, mask = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.uint8)
    mask[20:60, 10:50] = 1
    settings = SetSettings("pets", ("cat", "dog"))
    figures = scored(path, truth_set([Truth("a", image, objects=(TrueObject(1, mask),))], settings))
    assert figures.objects is not None
    assert (figures.objects.by, figures.objects.ap) == ("box", pytest.approx(1))
    assert not figures.worst
    with pytest.raises(EvaluationError, match="boxes and no masks"):
        scored(path, truth_set([Truth("a", image, mask)], settings))


def test_a_class_unknown_to_the_model_is_scored_separately() -> None:
    """Over what it knows it is perfect; over all classes the other counts as 0, and its pixels stay in the matrix."""
    settings = SetSettings("set", ("car", "wall"))
    mapping = map_classes(settings, ("car", "cat"))
    scorer = PixelScorer(mapping, 2)
    scorer.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 255, 255]], np.uint8))
    figures = scorer.figures()
    assert (figures.miou, figures.miou_all, figures.pixel_accuracy) == (1, 0.5, 1)
    assert np.isnan(figures.iou[1])
    assert figures.counts.tolist() == [[2, 0, 0], [0, 0, 2]]


def test_a_class_without_means_is_left_out_altogether() -> None:
    settings = SetSettings("set", ("car", "wall"), means={"wall": ()})
    scorer = PixelScorer(map_classes(settings, ("car",)), 2)
    scorer.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8))
    figures = scorer.figures()
    assert (figures.miou, figures.miou_all) == (1, 1)
    assert figures.counts.sum() == 2


def test_figures_are_means_over_images_only_where_outlines_are(painted: Callable[..., Any]) -> None:
    """Pixels are counted over the whole set; outlines are a mean over the images that have any."""
    scorer = PixelScorer(map_classes(COLOURS, COLOURS.classes), 3)
    _, label = blocks(painted)
    scorer.add(label, label)
    scorer.add(np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8))
    assert scorer.figures().boundary.tolist() == [1, 1, 1]


def test_a_matte_is_the_foreground_from_half_on(nets) -> None:
    alpha = np.zeros((1, 1, 16, 16), np.float32)
    alpha[..., 8:], alpha[..., :4] = 1.0, 0.4
    path = nets.constant({"alpha": alpha}, name="matte", size=(16, 16))
    path.with_suffix(".toml").write_text(
        f'family = "matting"\nclasses = ["person"]\noutputs = {{alpha = "alpha"}}\n{ZERO_TO_ONE}fit = "stretch"\n'
    )
    label = np.zeros((16, 16), np.uint8)
    label[:, 8:] = 1
    settings = SetSettings("people", ("background", "person"))
    figures = scored(path, truth_set([Truth("a", np.zeros((16, 16, 3), np.uint8), label)], settings))
    assert figures.pixels is not None
    assert figures.pixels.iou.tolist() == [1, 1]


def test_maps_are_read_at_the_label_s_size() -> None:
    card = load_card()
    mapping = map_classes(COLOURS, card.classes)
    class_map = np.array([[0, 1], [2, 255]], np.uint8)
    found = read_classes(Segmentation(Instances.none(Size(2, 2)), class_map), card, mapping, Size(4, 6))
    np.testing.assert_array_equal(found, np.kron([[2, 1], [0, 255]], np.ones((3, 2))).astype(np.uint8))


def test_a_lane_line_is_drivable_area_too() -> None:
    surface = np.array([[0, 1, 2, 0]], np.uint8)
    found = read_surface(Segmentation(Instances.none(Size(4, 1)), surface=surface), Size(4, 1))
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == ([[0, 1, 1, 0]], [[0, 0, 1, 0]])
    assert read_surface(Segmentation(Instances.none(Size(4, 1))), Size(4, 1)) is None


def load_card() -> Any:
    from engines.models.card import InputSpec, ModelCard

    return ModelCard("c", "semantic", InputSpec("i", (8, 8), "nchw", "float32", "rgb", "stretch"), {}, ("red", "green", "blue"))


@pytest.mark.slow
def test_road_on_a_clip_that_it_has_not_seen(shared: Path, tmp_path: Path) -> None:
    """Four of the 62 frames; over all it has 50.6 mIoU."""
    from engines.models import zoo

    source = shared / "data" / "camvid"
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for path in sorted((source / kind).glob("0001TP_*"))[::20]:
            shutil.copy(path, tmp_path / kind)
    names = ", ".join(f'"{name}"' for name in zoo.find("road").card.classes)
    (tmp_path / "dataset.toml").write_text(f"classes = [{names}]\n")
    model = zoo.find("road")
    truths = open_truth(tmp_path)
    with Segmenter(model, "ort") as segmenter:
        figures = score_set(segmenter, truths, map_classes(truths.settings, model.card.classes), model.card.threshold)
    assert figures.pixels is not None
    assert figures.images == 4
    assert 0.42 < figures.pixels.miou < 0.75
    assert figures.pixels.iou[model.card.classes.index("road")] > 0.8


@pytest.mark.slow
def test_yolo_on_images_of_coco(shared: Path, tmp_path: Path) -> None:
    """Four images say little of a model, but a mistake in masks, classes or matching would show: measured 0.54."""
    shutil.copytree(shared / "coco8-seg" / "coco8-seg", tmp_path / "coco8-seg")
    (tmp_path / "coco8-seg" / "labels.txt").write_text("\n".join(COCO_CLASSES))  # the set does not name its classes
    truths = open_truth(tmp_path / "coco8-seg")
    assert truths.names == ("val/000000000036", "val/000000000042", "val/000000000049", "val/000000000061")
    model = load_model(shared / "models" / "yolo11n-seg-coco" / "yolo11n-seg_coco_640.onnx")
    with Segmenter(model, "ort") as segmenter:
        figures = score_set(segmenter, truths, map_classes(truths.settings, model.card.classes), 0.3)
    assert figures.objects is not None
    assert figures.objects.ap > 0.45
    assert figures.objects.precision > 0.5
    assert cv2.countNonZero(figures.worst[0].truth) > 0


def test_a_set_without_any_object_is_no_score(nets, exact_yolo: Callable[..., Any]) -> None:
    settings, image = SetSettings("pets", ("cat", "dog")), np.zeros((128, 128, 3), np.uint8)
    with pytest.raises(EvaluationError, match="pets: none of its 1 images has an object, so nothing can be scored"):
        scored(yolo(nets, exact_yolo), truth_set([Truth("a", image, objects=())], settings))
