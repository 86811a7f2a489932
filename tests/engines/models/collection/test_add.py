from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.errors import CardError, CollectionError, EngineError, ModelFileError, ModelNotFoundError
from engines.models import zoo
from engines.models.card import read_toml
from engines.models.coco import COCO_CLASSES
from engines.models.collection.add import add_downloaded, add_file
from engines.models.collection.folders import new_model
from engines.models.model import load_model
from engines.segmenter import Segmenter

from ...conftest import BGR, ZERO_TO_ONE, Nets


def add(path: Path, name: str = "mine", card: Path | None = None) -> None:
    with new_model(name) as folder:
        add_file(path, name, folder, card)


def test_an_added_model_needs_no_other_files(nets: Nets, own_folder: Path) -> None:
    path = nets.semantic(
        card='classes = ["blue", "green", "red"]\nlicence = "MIT"\nfigures = {"mIoU on mine" = 50}\n' + ZERO_TO_ONE
    )
    before = load_model(path).card
    add(path)
    path.unlink()
    model = zoo.find("mine")
    assert model.path == own_folder / "mine" / "model.onnx"
    assert sorted(p.name for p in model.path.parent.iterdir()) == ["card.toml", "model.onnx"]
    card = model.card
    assert (card.name, card.file, card.classes, card.licence) == ("mine", "model.onnx", ("blue", "green", "red"), "MIT")
    assert (card.input, card.outputs, card.figures) == (before.input, before.outputs, before.figures)
    assert card.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert card.source == "Added from colours.onnx."
    with Segmenter(model, "ort") as segmenter:
        seen = segmenter(np.tile(BGR[2], (24, 32, 1)))
    assert seen.class_map is not None
    assert set(np.unique(seen.class_map)) == {0}, "an RGB network gives red the class 0"


def test_class_names_next_to_the_file_are_used(nets: Nets) -> None:
    path = nets.semantic()
    path.with_suffix(".txt").write_text("sea\nwood\nfire\n")
    add(path)
    path.with_suffix(".txt").unlink()
    assert zoo.find("mine").card.classes == ("sea", "wood", "fire")


def test_classes_that_nothing_names_are_asked_for(nets: Nets, own_folder: Path) -> None:
    """A card that is kept names its classes. COCO's names were put in where there are 80, of whatever."""
    path = nets.semantic()
    with pytest.raises(
        CardError, match=r'names none of its 3 classes\. Write in colours\.toml: classes = \["first".*labels\.txt'
    ):
        add(path)
    eighty = nets.constant({"output0": np.zeros((1, 84, 100), np.float32)}, "eighty", metadata={"task": "detect"})
    with pytest.raises(CardError, match=r'names none of its 80 classes\. .*or classes = "coco" if they are those'):
        add(eighty)
    assert not (own_folder / "mine").exists()
    eighty.with_suffix(".toml").write_text('classes = "coco"\n')
    add(eighty)
    assert zoo.find("mine").card.classes == COCO_CLASSES


def test_weights_in_a_separate_file_are_merged(nets: Nets) -> None:
    path = nets.semantic(external_data=True, card='classes = ["red", "green", "blue"]\n' + ZERO_TO_ONE)
    assert path.with_name("colours.onnx.data").is_file()
    add(path)
    path.with_name("colours.onnx.data").unlink()
    with Segmenter(zoo.find("mine"), "ort") as segmenter:
        assert segmenter(np.tile(BGR[0], (24, 32, 1))).class_map is not None


def test_a_card_may_be_elsewhere(nets: Nets, tmp_path: Path) -> None:
    path = nets.semantic(card=None)
    card = tmp_path / "elsewhere.toml"
    card.write_text('file = "colours.onnx"\nclasses = ["a", "b", "c"]\n' + ZERO_TO_ONE)
    with pytest.raises(CardError, match=r"colours\.toml: classes = .*; input\.mean"):
        add(path)
    add(path, card=card)
    assert zoo.find("mine").card.classes == ("a", "b", "c")
    assert read_toml(zoo.own_dir() / "mine" / "card.toml")["file"] == "model.onnx"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('clases = ["a"]\n' + ZERO_TO_ONE, r'elsewhere\.toml: unknown key "clases"\. Did you mean "classes"'),
        ('classes = ["a"]\n' + ZERO_TO_ONE, r"colours\.onnx: the network has 3 classes but 1 names are given.*elsewhere\.toml"),
        ("= x", r"elsewhere\.toml: is not valid TOML"),
        ('family = "fancy"\noutputs = {x = "logits"}\nclasses = ["a"]\n' + ZERO_TO_ONE, "unknown family"),
    ],
)
def test_an_error_in_a_card_names_the_user_s_file(nets: Nets, tmp_path: Path, own_folder: Path, text: str, words: str) -> None:
    card = tmp_path / "elsewhere.toml"
    card.write_text(text)
    with pytest.raises(CardError, match=words) as caught:
        add(nets.semantic(card=None), card=card)
    assert ".part" not in str(caught.value), "the hidden folder is not named"
    assert list(own_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nothing.onnx", ModelNotFoundError, "no such model file"),
        ("road", ModelNotFoundError, "Give the path of an .onnx file"),
        (".", ModelNotFoundError, "Give the path of an .onnx file"),
        ("broken.onnx", ModelFileError, "not a readable ONNX file"),
        ("model.pt", CollectionError, "run.py export"),
        ("model.keras", CollectionError, "run.py import"),
        ("models.zip", CollectionError, "an archive. Unpack it"),
        ("models.tar.gz", CollectionError, "an archive. Unpack it"),
    ],
)
def test_a_file_that_is_not_onnx_is_an_error(
    tmp_path: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[EngineError], words: str
) -> None:
    """Symlinks in archives, bombs: no archive is ever opened."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for file in ("broken.onnx", "model.pt", "model.keras", "models.zip", "models.tar.gz"):
        Path(file).write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(error, match=words):
        add(Path(name))
    assert list(own_folder.iterdir()) == []


def test_an_unreadable_graph_leaves_nothing(nets: Nets, own_folder: Path) -> None:
    path = nets.constant({"strange": np.zeros((1, 7), np.float32)})
    with pytest.raises(CardError, match="unsupported outputs"):
        add(path)
    assert list(own_folder.iterdir()) == []


def test_weights_outside_the_folder_are_not_fetched(nets: Nets, tmp_path: Path, own_folder: Path) -> None:
    """A graph may name any file as its weights; a path out of its folder is refused."""
    path = nets.semantic(external_data=True)
    network = onnx.load(path, load_external_data=False)
    (tmp_path / "secret").write_bytes(bytes(1000))
    work = tmp_path / "work"
    work.mkdir()
    for tensor in network.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (work / "evil.onnx").write_bytes(network.SerializeToString())
    (work / "evil.toml").write_text(ZERO_TO_ONE)
    with pytest.raises(ModelFileError):
        add(work / "evil.onnx")
    assert list(own_folder.iterdir()) == []


def test_a_downloaded_file_gets_the_manifest_s_facts(nets: Nets, own_folder: Path, tmp_path: Path) -> None:
    part = tmp_path / "abc.part"
    nets.semantic(card=None).replace(part)
    facts = {"classes": ["a", "b", "c"], "input": {"mean": [0, 0, 0], "std": [255, 255, 255]}, "licence": "MIT"}
    with new_model("fetched") as folder:
        add_downloaded(part, "fetched", facts, folder)
    assert not part.exists()
    card = zoo.find("fetched").card
    assert (card.name, card.licence, card.classes) == ("fetched", "MIT", ("a", "b", "c"))
    assert sorted(path.name for path in (own_folder / "fetched").iterdir()) == ["card.toml", "model.onnx"]


def test_a_downloaded_file_that_its_manifest_does_not_describe_is_not_kept(nets: Nets, own_folder: Path, tmp_path: Path) -> None:
    part = tmp_path / "abc.part"
    nets.semantic(card=None).replace(part)
    with (
        pytest.raises(CardError, match=r"fetched: .*Write in the manifest: classes = .*; input\.mean") as caught,
        new_model("fetched") as folder,
    ):
        add_downloaded(part, "fetched", {}, folder)
    assert ".part" not in str(caught.value)
    assert list(own_folder.iterdir()) == []
