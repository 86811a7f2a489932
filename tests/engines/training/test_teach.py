"""Labels from teachers: probable ones only, consistent with known labels, and the mean of several teachers. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.datasets.folder import open_set
from engines.datasets.settings import SetSettings, open_settings
from engines.errors import CardError, DataError
from engines.training import TrainingError
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.teach import likely_labels, mean_probabilities, restricted, teach, teacher_table
from realtime.cli import main

from .conftest import toml_of

WIDTH, HEIGHT = 32, 16
GREYS = (0, 125, 250)
"""Left, middle and right of the picture."""


def write_teacher(path: Path, slopes: list[float], offsets: list[float], classes: list[str], form: str = "logits") -> Path:
    """Logits that are linear in the grey value; form "probabilities": their softmax; "labels": their argmax; "alpha": the share
    of the second class, in bytes.
    """
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Conv", ["grey", "slopes", "offsets"], ["logits"]),
    ]
    weights = {
        "slopes": np.array(slopes, np.float32).reshape(-1, 1, 1, 1),
        "offsets": np.array(offsets, np.float32),
        "second": np.array([1], np.int64),
        "full": np.array(255, np.float32),
    }
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(slopes), HEIGHT, WIDTH])
    if form == "probabilities":
        nodes += [helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(slopes), HEIGHT, WIDTH])
    elif form == "labels":
        nodes += [helper.make_node("ArgMax", ["logits"], ["labels"], axis=1, keepdims=0)]
        output = helper.make_tensor_value_info("labels", TensorProto.INT64, [1, HEIGHT, WIDTH])
    elif form == "alpha":
        nodes += [
            helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
            helper.make_node("Gather", ["shares", "second"], ["share"], axis=1),
            helper.make_node("Mul", ["share", "full"], ["scaled"]),
            helper.make_node("Cast", ["scaled"], ["alpha"], to=TensorProto.UINT8),
        ]
        output = helper.make_tensor_value_info("alpha", TensorProto.UINT8, [1, 1, HEIGHT, WIDTH])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items() if name in used]
    graph = helper.make_graph(nodes, "teacher", [image], [output], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    names = ", ".join(f'"{name}"' for name in classes)
    family = "matting" if form == "alpha" else "semantic"
    card = f'name = "{path.stem}"\nfamily = "{family}"\nclasses = [{names}]\noutputs = {{{form} = "{form}"}}\n'
    card += "[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
    path.with_suffix(".toml").write_text(card, encoding="utf-8")
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Predicts "street" (with higher probability for darker pixels) or "roof" by brightness, and never "person"."""
    return write_teacher(tmp_path / "grey.onnx", [-0.1, 0.1, 0.0], [10.0, -15.0, -100.0], ["street", "roof", "person"])


MEANS = {"street": ["road"], "roof": ["building"]}


def facts(**teachers: Any) -> dict[str, Any]:
    known = {"name": "known", "classes": ["ground", "far"], "means": {"ground": ["road"], "far": ["building"]}}
    return {
        "name": "r",
        "classes": ["road", "building"],
        "input_px": [64, 32],
        "schedule": {"steps": 1},
        "sets": [known],
        "teachers": teachers or {"grey": {"means": MEANS}},
    }


@pytest.fixture
def recipe() -> Recipe:
    return recipe_from_dict(facts(), "test")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """One picture: dark left, medium in the middle, bright right; labelled ground on the left half and far on the right."""
    for folder in ("images", "labels"):
        (tmp_path / "known" / folder).mkdir(parents=True)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, 12:20], image[:, 20:] = GREYS[1], GREYS[2]
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[:, 16:] = 1
    label[:4], label[4:8, :12] = 255, 1
    cv2.imwrite(str(tmp_path / "known" / "images" / "a.png"), image)
    cv2.imwrite(str(tmp_path / "known" / "labels" / "a.png"), label)
    return tmp_path / "known"


def taught(folder: Path, stem: str = "a") -> np.ndarray:
    label = cv2.imread(str(folder / "labels" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    assert label is not None
    return label


def parts(label: np.ndarray) -> tuple[int, int, int]:
    """The label in the last row, left, in the middle and right."""
    return int(label[-1, 4]), int(label[-1, 16]), int(label[-1, 28])


def test_probable_and_consistent_labels_are_written(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    teach([teacher], recipe, known, recipe.sets[0], tmp_path / "taught", min_probability=0.6)
    label = taught(tmp_path / "taught")
    assert (tmp_path / "taught" / "images" / "a.png").read_bytes() == (known / "images" / "a.png").read_bytes()
    assert (label[:4, :12] == 0).all(), "without a known label the teacher decides"
    assert (label[:4, 12:20] == 255).all(), "the teacher is uncertain about medium grey"
    assert (label[:, 20:] == 1).all(), "the right is a roof, and labelled far"
    assert (label[4:8, :12] == 255).all(), "street contradicts far"
    assert (label[8:, :12] == 0).all()
    assert (label[4:, 12:16] == 0).all(), "where it is uncertain, the known label decides"


def test_images_alone_are_labelled_too(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    teach([teacher], recipe, known, None, tmp_path / "taught", min_probability=0.6)
    label = taught(tmp_path / "taught")
    assert (label[:, :12] == 0).all()
    assert (label[:, 12:20] == 255).all()
    assert (label[:, 20:] == 1).all()


def test_several_teachers_are_averaged_by_their_weight(teacher: Path, known: Path, tmp_path: Path) -> None:
    """The second predicts "building" everywhere; its weight decides where the two differ."""
    certain = write_teacher(tmp_path / "certain.onnx", [0.0, 0.0], [0.0, 20.0], ["a", "b"])
    labels = []
    for weight in (0.1, 1.0, 4.0):
        both = recipe_from_dict(
            facts(grey={"means": MEANS}, certain={"means": {"a": ["road"], "b": ["building"]}, "weight": weight}), "test"
        )
        teach([teacher, certain], both, known, None, tmp_path / f"taught{weight}", min_probability=0.6)
        labels.append(parts(taught(tmp_path / f"taught{weight}")))
    assert labels == [(0, 255, 1), (255, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize("role", ["probabilities", "logits"])
def test_a_teacher_with_a_softmax_inside_gets_no_second_one(role: str, known: Path, tmp_path: Path) -> None:
    """With a second one no pixel would be surer than 0.73, also where its card takes its probabilities for logits."""
    path = write_teacher(tmp_path / "other.onnx", [-0.1, 0.1], [10.0, -15.0], ["street", "roof"], "probabilities")
    card = path.with_suffix(".toml")
    card.write_text(card.read_text().replace("{probabilities =", f"{{{role} ="))
    recipe = recipe_from_dict(facts(other={"means": MEANS}), "test")
    teach([path], recipe, known, None, tmp_path / "taught", min_probability=0.9)
    assert parts(taught(tmp_path / "taught")) == (0, 255, 1)


@pytest.mark.parametrize("form", ["labels", "alpha"])
def test_teachers_may_output_labels_or_a_matte(form: str, known: Path, tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "other.onnx", [-0.1, 0.1], [10.0, -15.0], ["street", "roof"], form)
    recipe = recipe_from_dict(facts(other={"means": MEANS}), "test")
    teach([path], recipe, known, None, tmp_path / "taught", min_probability=0.6)
    left, _, right = parts(taught(tmp_path / "taught"))
    assert (left, right) == (0, 1)


def test_classes_without_meaning_are_not_used(known: Path, tmp_path: Path) -> None:
    three = write_teacher(tmp_path / "grey.onnx", [-0.1, 0.1, 0.0], [10.0, -15.0, 50.0], ["street", "roof", "person"])
    recipe = recipe_from_dict(facts(), "test")
    teach([three], recipe, known, None, tmp_path / "taught", min_probability=0.6)
    assert (taught(tmp_path / "taught") == 255).all(), "it predicts only persons, which are not used"


def test_the_prediction_for_the_mirror_image_is_averaged(known: Path, tmp_path: Path) -> None:
    """It predicts by position: left road, right building; averaged with the mirror image, neither."""
    path = tmp_path / "place.onnx"
    ramp = np.zeros((1, 2, HEIGHT, WIDTH), np.float32)
    ramp[:, 0, :, : WIDTH // 2] = ramp[:, 1, :, WIDTH // 2 :] = 9
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["grey", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "ramp"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "place",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, HEIGHT, WIDTH])],
        [numpy_helper.from_array(np.array(0, np.float32), "zero"), numpy_helper.from_array(ramp, "ramp")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    path.with_suffix(".toml").write_text('name = "place"\nclasses = ["a", "b"]\n[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n')
    for mirror, wanted in ((False, {0, 1}), (True, {255})):
        means = {"a": ["road"], "b": ["building"]}
        recipe = recipe_from_dict(facts(place={"means": means, "mirror": mirror}), "test")
        teach([path], recipe, known, None, tmp_path / f"taught{mirror}", min_probability=0.6)
        assert set(np.unique(taught(tmp_path / f"taught{mirror}"))) == wanted


def test_dark_images_are_brightened_for_teachers_with_brighten(known: Path, tmp_path: Path) -> None:
    dark = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    cv2.imwrite(str(known / "images" / "a.png"), dark)
    labels = []
    for brighten in (False, True):
        # Road below a grey of 75, building above.
        path = write_teacher(tmp_path / "limit.onnx", [0.0, 1.0], [0.0, -75.0], ["street", "roof"])
        recipe = recipe_from_dict(facts(limit={"means": MEANS, "brighten": brighten}), "test")
        teach([path], recipe, known, None, tmp_path / f"taught{brighten}", min_probability=0.6)
        labels.append(parts(taught(tmp_path / f"taught{brighten}"))[0])
    assert labels == [0, 1]


def test_the_written_set_can_be_trained_on(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    """It holds out the images that its source holds out: otherwise a model would be scored on training images."""
    for stem in ("b", "c", "d"):
        (known / "images" / f"{stem}.png").write_bytes((known / "images" / "a.png").read_bytes())
        (known / "labels" / f"{stem}.png").write_bytes((known / "labels" / "a.png").read_bytes())
    (known / "val.txt").write_text("c\n")
    settings = SetSettings(
        "known", ("ground", "far"), hold_out=("b",), hold_out_list="val.txt", means=recipe.sets[0].means, licence="research only"
    )
    teach([teacher], recipe, known, settings, tmp_path / "taught", min_probability=0.6)
    folder, made = open_settings(tmp_path / "taught")
    assert (made.classes, made.licence) == (recipe.classes, "research only")
    data_set = open_set(folder, made)
    assert [sample.name for sample in data_set.held_out] == ["b", "c"]
    assert [sample.name for sample in data_set.training] == ["a", "d"]


def test_every_nth_image_is_labelled(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    for stem in ("b", "c", "d"):
        (known / "images" / f"{stem}.png").write_bytes((known / "images" / "a.png").read_bytes())
    teach([teacher], recipe, known, None, tmp_path / "taught", min_probability=0.6, every=3)
    assert sorted(path.stem for path in (tmp_path / "taught" / "labels").iterdir()) == ["a", "d"]


def test_labels_are_the_most_probable_classes_above_the_threshold() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6, 7)).astype(np.float32) * 3
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    expected = np.where(probabilities.max(axis=0) >= 0.7, probabilities.argmax(axis=0), 255)
    assert (likely_labels(probabilities, 0.7) == expected).all()
    assert 0 < (expected == 255).mean() < 1


def test_void_excludes_nothing_and_a_known_label_excludes_other_classes() -> None:
    probabilities = np.array([[[0.6, 0.6, 0.9]], [[0.4, 0.4, 0.1]]], np.float32)
    known = np.array([[255, 1, 1]], np.uint8)
    found = restricted(probabilities, known, np.array([[True, False], [False, True]]))
    np.testing.assert_allclose(found[:, 0], [[0.6, 0, 0], [0.4, 1, 0]], atol=1e-6)  # the last: the teacher is wrong there


def test_a_mean_is_weighted() -> None:
    one, other = np.full((2, 1, 1), 0.2, np.float32), np.full((2, 1, 1), 0.8, np.float32)
    np.testing.assert_allclose(mean_probabilities([one, other], [3.0, 1.0]), 0.35)


def test_of_several_meanings_the_first_is_used() -> None:
    table = teacher_table(("a", "b"), {"a": ("road", "building"), "b": ()}, ("building", "road"))
    assert table.tolist() == [[False, True], [False, False]]


FAULTS: list[tuple[Callable[[Path], dict[str, Any]], str]] = [
    (lambda folder: facts(other={"means": MEANS}), r"recipe \"r\" has no table \[teachers\.grey\]\. Known: other"),
    (lambda folder: facts(grey={"means": {"sky": ["road"]}}), 'the teacher has no class "sky". Known: street, roof, person'),
]


@pytest.mark.parametrize(("made", "words"), FAULTS, ids=["no table", "no class"])
def test_a_teacher_without_a_fitting_table_is_refused(
    made: Callable[[Path], dict[str, Any]], words: str, teacher: Path, known: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=words):
        teach([teacher], recipe_from_dict(made(tmp_path), "test"), known, None, tmp_path / "taught", min_probability=0.6)
    assert not (tmp_path / "taught").exists()


def test_a_set_with_unknown_classes_is_refused(teacher: Path, recipe: Recipe, known: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r'known: set "known": the model has no class "ground"'):
        teach([teacher], recipe, known, SetSettings("known", ("ground", "far")), tmp_path / "taught", min_probability=0.6)
    assert not (tmp_path / "taught").exists()


def test_a_folder_with_labels_is_not_overwritten(teacher: Path, recipe: Recipe, known: Path) -> None:
    before = (known / "labels" / "a.png").read_bytes()
    for out in (known, known / ".." / "known"):
        with pytest.raises(TrainingError, match=r"contains labels already\. Name a new folder with --out"):
            teach([teacher], recipe, known, None, out, min_probability=0.6)
    assert (known / "labels" / "a.png").read_bytes() == before


def test_a_model_that_cannot_teach_is_refused(recipe: Recipe, known: Path, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(TrainingError, match=r"recipe \"r\" has no table \[teachers\.tiny\]"):
        teach([tiny_model], recipe, known, None, tmp_path / "taught", min_probability=0.6)
    path = write_teacher(tmp_path / "grey.onnx", [1.0, 0.0], [0.0, 0.0], ["a", "b"])
    path.with_suffix(".toml").write_text("nonsense = 1\n" + path.with_suffix(".toml").read_text())
    with pytest.raises(CardError, match="nonsense"):
        teach([path], recipe, known, None, tmp_path / "taught", min_probability=0.6)
    with pytest.raises(DataError, match="no folder images/"):
        teach([path], recipe, tmp_path, None, tmp_path / "taught", min_probability=0.6)


@pytest.mark.parametrize("has_labels", [True, False])
def test_the_command_respects_existing_labels(
    has_labels: bool, teacher: Path, known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not the recipe knows a set of the folder's name."""
    if not has_labels:
        (known / "labels" / "a.png").unlink()
        (known / "labels").rmdir()
    made = facts()
    (tmp_path / "r.toml").write_text(toml_of(made))
    out = tmp_path / "taught"
    command = ["teach", str(teacher), "--recipe", str(tmp_path / "r.toml"), "--data", str(known), "--out", str(out)]
    assert main(command) == 0
    assert f"run.py data check {out}" in capsys.readouterr().out
    assert (taught(out)[4:8, :12] == (255 if has_labels else 0)).all()
    assert main(command) == 2
    assert "contains labels already" in capsys.readouterr().err
