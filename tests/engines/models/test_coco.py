from __future__ import annotations

from pathlib import Path

from engines.models.coco import COCO_CLASSES


def test_coco_has_eighty_different_names() -> None:
    assert len(set(COCO_CLASSES)) == len(COCO_CLASSES) == 80
    assert all(name == name.strip() and name for name in COCO_CLASSES)


def test_names_that_span_two_lines_are_whole() -> None:
    assert (COCO_CLASSES[0], COCO_CLASSES[12], COCO_CLASSES[38], COCO_CLASSES[67], COCO_CLASSES[79]) == (
        "person", "parking meter", "tennis racket", "cell phone", "toothbrush",
    )  # fmt: skip


def test_names_are_those_a_coco_model_is_shipped_with(shared: Path) -> None:
    labels = (shared / "models" / "yolo11n-seg-coco" / "labels.txt").read_text(encoding="utf-8").split("\n")
    assert tuple(line.strip() for line in labels if line.strip()) == COCO_CLASSES
