"""A teacher's labels: sure ones only, and none that contradicts what is known. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.training.errors import TrainingError
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.teach import contradicts, sure_labels, teach

WIDTH, HEIGHT = 32, 16


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Says "street" (the darker the surer), "roof" or "person" by brightness: logits are slopes of the grey value."""
    slopes = helper.make_tensor("slopes", TensorProto.FLOAT, [3, 1, 1, 1], [-0.1, 0.1, 0.0])
    offsets = helper.make_tensor("offsets", TensorProto.FLOAT, [3], [10.0, -15.0, -100.0])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Conv", ["grey", "slopes", "offsets"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "teacher", [image], [logits], [slopes, offsets])
    path = tmp_path / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    card = 'classes = ["street", "roof", "person"]\n[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
    path.with_suffix(".toml").write_text(card, encoding="utf-8")
    return path


@pytest.fixture
def recipe() -> Recipe:
    known = {"name": "known", "classes": ["ground", "far"], "means": {"ground": ["road"], "far": ["building"]}}
    means = {"street": ["road"], "roof": ["building"], "person": []}
    taught = {"name": "taught", "classes": ["street", "roof", "person"], "means": means}
    facts = {
        "name": "r",
        "classes": ["road", "building"],
        "input_px": [64, 32],
        "schedule": {"steps": 1},
        "sets": [known, taught],
    }
    return recipe_from_dict(facts, "test")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """One picture: dark left, medium in the middle, bright right; known as ground on the left half and far on the right."""
    for folder in ("images", "labels"):
        (tmp_path / "known" / folder).mkdir(parents=True)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, 12:20], image[:, 20:] = 125, 250
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[:, 16:] = 1
    label[:4], label[4:8, :12] = 255, 1
    cv2.imwrite(str(tmp_path / "known" / "images" / "a.png"), image)
    cv2.imwrite(str(tmp_path / "known" / "labels" / "a.png"), label)
    return tmp_path / "known"


def test_sure_and_uncontradicted_labels_are_written(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    teach(teacher, recipe, known, tmp_path / "taught", sure=0.6)
    label = cv2.imread(str(tmp_path / "taught" / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (tmp_path / "taught" / "images" / "a.png").read_bytes() == (known / "images" / "a.png").read_bytes()
    assert (label[:4, :12] == 0).all(), "nothing is known there, so the teacher is believed"
    assert (label[:, 20:] == 1).all(), "the right is a roof, and known as far"
    assert (label[:, 12:20] == 255).all(), "the teacher is not sure of medium grey"
    assert (label[4:8, :12] == 255).all(), "street contradicts far"
    assert (label[8:, :12] == 0).all()


def test_sure_labels_are_the_softmax_above_the_bar() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6, 7)).astype(np.float32) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    expected = np.where(probabilities.max(axis=0) >= 0.7, probabilities.argmax(axis=0), 255)
    assert (sure_labels(logits, 0.7) == expected).all()
    assert 0 < (expected == 255).mean() < 1


def test_void_contradicts_nothing() -> None:
    label, known = np.array([[0, 255, 1]], np.uint8), np.array([[255, 0, 0]], np.uint8)
    assert contradicts(label, known, np.array([[True, False]])).tolist() == [[False, False, True]]


def test_a_teacher_of_other_classes_is_refused(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    teacher.with_suffix(".toml").write_text(teacher.with_suffix(".toml").read_text().replace("roof", "sky"), encoding="utf-8")
    with pytest.raises(TrainingError, match="classes are not those that recipe r gives to the set taught"):
        teach(teacher, recipe, known, tmp_path / "taught", sure=0.6)


def test_a_folder_that_is_no_set_of_the_recipe_is_refused(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='no set "other"; its sets are: known, taught'):
        teach(teacher, recipe, known, tmp_path / "other", sure=0.6)
    assert not (tmp_path / "other").exists()
