# ruff: noqa: E402
"""`run.py train` and `run.py export CHECKPOINT` as a user runs them: an error is one line, and exit code 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import open_set
from engines.models.card import card_from_dict, read_toml
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.training.checkpoint import Checkpoint, load_checkpoint, new_net, save_checkpoint
from engines.training.recipe import recipe_from_dict
from realtime.cli import main
from realtime.commands.train import settings_from, weights_of
from realtime.errors import SettingsError

from .conftest import toml_of
from .nets import random_net, ripples

Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Runs a command that must fail with code 2; returns its message, one line."""

    def run(command: list[str]) -> str:
        capfd.readouterr()
        assert main(command) == 2
        message = capfd.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        return message

    return run


@pytest.fixture
def train_command(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> list[str]:
    """`run.py train` on the toy set, for very few steps."""
    (tmp_path / "recipe.toml").write_text(toml_of(toy_facts(steps=2)))
    recipe, out = str(tmp_path / "recipe.toml"), str(tmp_path / "run")
    return ["train", "--recipe", recipe, "--data", str(toy_set), "--out", out, "--threads", "1"]


def wrong_id(folder: Path) -> None:
    label = cv2.imread(str(folder / "labels" / "seen_3.png"), cv2.IMREAD_UNCHANGED)
    label[5, 5] = 9
    cv2.imwrite(str(folder / "labels" / "seen_3.png"), label)


DATA_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "id": (wrong_id, "labels/seen_3.png: class id 9, but the set has 3 classes (0..2, 255 void)"),
    "no label": (lambda folder: (folder / "labels" / "seen_2.png").unlink(), "images/seen_2.png: has no label"),
    "unreadable": (lambda folder: (folder / "images" / "seen_0.png").write_bytes(b"no picture"), "seen_0.png: cannot be read"),
    "size": (
        lambda folder: cv2.imwrite(str(folder / "labels" / "seen_1.png"), np.zeros((64, 90), np.uint8)),
        "seen_1.png: 90x64, but its image is 96x64",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), DATA_FAULTS.values(), ids=DATA_FAULTS)
def test_a_fault_of_the_data_is_reported_before_the_first_step(
    spoil: Callable[[Path], Any], words: str, toy_set: Path, train_command: list[str], fails: Callable[[list[str]], str]
) -> None:
    spoil(toy_set)
    assert words in fails(train_command)
    assert not (toy_set.parent / "run").exists()


def test_missing_and_unknown_sets_are_named(tmp_path: Path, toy_set: Path, fails: Callable[[list[str]], str]) -> None:
    out = ["--out", str(tmp_path / "run"), "--threads", "1"]
    assert "toy: has no dataset.toml, so its classes are unknown. Make one" in fails(["train", "--data", str(toy_set), *out])
    (toy_set / "dataset.toml").write_text('classes = ["sky", "road", "car"]\n')
    message = fails(["train", "--recipe", "road", "--data", str(toy_set), *out])
    assert 'recipe "road" needs the set "cityscapes-256". Add --data PATH/cityscapes-256' in message
    assert "kitti: no such folder" in fails(["train", "--data", str(tmp_path / "kitti"), *out])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "rode"], 'no recipe "rode"'),
        (["--set", "net.widht=1"], 'unknown key "net.widht". Did you mean "net.width"?'),
        (["--set", "net.width=wide"], "Expected `float`, got `str`, at key `net.width`"),
        (["--set", "nett.width=1"], 'no table "nett"'),
        (["--set", "width"], '--set "width": is not a key with a value. Write a key of the recipe and its value: net.width=0.5'),
        (["--device", "gpu"], 'no device "gpu"'),
        (["--from", "rode"], 'no model "rode"'),
        (["--from", "nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["--resume"], "last.pt: no such checkpoint"),
    ],
)
def test_a_wrong_option_is_named(
    options: list[str], words: str, tmp_path: Path, train_command: list[str], fails: Callable[[list[str]], str]
) -> None:
    assert words in fails([*train_command, *options])
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_reported_with_the_command_that_installs_it(
    train_command: list[str], fails: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "Matplotlib is not installed" in fails(train_command)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "PyTorch is not installed" in fails(train_command)
    assert "pip install -e '.[train]'" in fails(["export", "last.pt", "--out", "here"])


def test_values_are_read_as_toml_or_else_as_text() -> None:
    texts = ["a=1", "b.c = 0.5", "d=[1, 2]", "e=true", "f=alpha", 'g="1"', "h="]
    assert settings_from(texts) == {"a": 1, "b.c": 0.5, "d": [1, 2], "e": True, "f": "alpha", "g": "1", "h": ""}
    with pytest.raises(SettingsError, match='--set "=1": is not a key with a value'):
        settings_from(["=1"])


@pytest.mark.slow
def test_training_ends_with_a_model_that_can_be_run(
    train_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*train_command, "--steps", "3", "--set", "schedule.evaluate_every=3", "--set", "name=mine"]) == 0
    printed, errors = capsys.readouterr()
    assert "\r" not in printed + errors, "progress in a file is whole lines"
    assert re.search(r"^step 3  loss [0-9.]+  .*  miou [0-9.e+-]+  miou_toy [0-9.e+-]+$", printed, re.MULTILINE)
    assert "data     toy: 6 to train on, 2 held out" in printed
    assert f"run      {tmp_path / 'run'}: curve.png and curve.csv grow there while it runs" in printed
    card = card_from_dict(read_toml(tmp_path / "run" / "card.toml"), "card.toml")
    assert card.name == "mine"
    assert f"score    toy: mIoU {card.figures['toy held out: mIoU']} on 2 held-out images" in printed
    assert f"try it   run.py view SOURCE --model {tmp_path / 'run' / 'model.onnx'}" in printed
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == 3
    # The exported model has weights, so another run can start from it.
    again = [word if word != str(tmp_path / "run") else str(tmp_path / "again") for word in train_command]
    assert main([*again, "--steps", "1", "--from", str(tmp_path / "run" / "model.onnx")]) == 0
    assert weights_of(str(tmp_path / "run" / "model.onnx")) == tmp_path / "run" / "weights.pt"


@pytest.mark.slow
def test_a_model_of_own_classes_gets_the_name_of_its_folder(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    """Otherwise all models of the recipe `binary` would have the name binary."""
    facts = toy_facts(steps=1) | {"name": "anybody's", "classes": [], "things": [], "sets": []}
    (tmp_path / "recipe.toml").write_text(toml_of(facts))
    (toy_set / "dataset.toml").write_text('classes = ["sky", "road", "car"]\n')
    out = tmp_path / "my field"
    command = ["train", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(toy_set), "--out", str(out), "--threads", "1"]
    assert main(command) == 0
    assert read_toml(out / "card.toml")["name"] == "my field"
    assert main([*command, "--resume", "--steps", "2"]) == 0


@pytest.mark.slow
def test_a_run_from_a_model_with_another_net_goes_on_with_that_net(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    facts = toy_facts(steps=1) | {"net": {"kind": "mobile", "width": 0.5, "top_down": [16, 8]}}
    old = recipe_from_dict(facts, "old")
    torch.manual_seed(0)
    weights = new_net(old).state_dict()
    save_checkpoint(tmp_path / "old.pt", Checkpoint(old, 1, weights, weights))
    (tmp_path / "recipe.toml").write_text(toml_of(toy_facts(steps=1) | {"net": {"dropout": 0.1}}))
    command = ["train", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(toy_set), "--out", str(tmp_path / "run")]
    assert main([*command, "--threads", "1", "--from", str(tmp_path / "old.pt")]) == 0
    assert main([*command, "--threads", "1", "--resume", "--steps", "2"]) == 0
    assert load_checkpoint(tmp_path / "run" / "last.pt").recipe.net.kind == "mobile"


def test_a_model_from_elsewhere_has_no_weights_to_start_from(tiny_model: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"tiny\.onnx: has no weights\.pt next to it\. Name a \.pt file, or a model trained here"
    ):
        weights_of(str(tiny_model))


@pytest.fixture
def checkpoint(tmp_path: Path, street_facts: Facts) -> Path:
    recipe = recipe_from_dict(street_facts(), "street")
    weights = random_net(3, recipe.heads).state_dict()
    save_checkpoint(tmp_path / "last.pt", Checkpoint(recipe, 6, weights, weights))
    return tmp_path / "last.pt"


def sizes(path: Path) -> list[int | str]:
    dimensions = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    return [d.dim_param or d.dim_value for d in dimensions]


def test_export_writes_a_model_and_a_card_that_agree(
    checkpoint: Path, toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model"), "--data", str(toy_set)]) == 0
    card = card_from_dict(read_toml(tmp_path / "model" / "card.toml"), "card.toml")
    printed = capsys.readouterr().out
    assert f"score    toy: mIoU {card.figures['toy held out: mIoU']} on 2 held-out images" in printed
    assert set(card.outputs) == {"labels", "confidence", "peaks", "offsets", "surface"}


def test_export_at_another_size(checkpoint: Path, tmp_path: Path, fails: Callable[[list[str]], str]) -> None:
    """--size is height x width, as in all commands."""
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model"), "--size", "96x160"]) == 0
    assert sizes(tmp_path / "model" / "model.onnx") == [1, 96, 160, 3]
    model = load_model(tmp_path / "model" / "model.onnx")
    assert model.card.input.size_px == (160, 96)
    with Segmenter(model, "ort") as segmenter:
        segmentation = segmenter(ripples((320, 240)))
    assert segmentation.class_map is not None
    assert segmentation.class_map.shape == (48, 80), "twice the resolution of the logits"
    message = fails(["export", str(checkpoint), "--out", str(tmp_path / "odd"), "--size", "100x160"])
    assert "input_px is [160, 100]. Write multiples of 32" in message
    assert not (tmp_path / "odd").exists()


def test_export_with_an_open_batch(checkpoint: Path, tmp_path: Path) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model"), "--batch", "dynamic"]) == 0
    assert sizes(tmp_path / "model" / "model.onnx") == ["batch", "height", "width", 3]
    with Segmenter(load_model(tmp_path / "model" / "model.onnx"), "ort") as segmenter:
        assert segmenter(ripples()).surface is not None


def test_export_with_an_open_size(checkpoint: Path, tmp_path: Path, fails: Callable[[list[str]], str]) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model"), "--size", "dynamic"]) == 0
    assert sizes(tmp_path / "model" / "model.onnx") == ["batch", "height", "width", 3]
    message = fails(["export", str(checkpoint), "--out", str(tmp_path / "one.onnx"), "--size", "dynamic"])
    assert "--size dynamic: a model of open size goes into a folder. Name it with --out DIR" in message
    message = fails(["export", "road", "--out", str(tmp_path / "one.onnx"), "--size", "dynamic"])
    assert "--size dynamic: the size of road can be changed, but not opened. Export its checkpoint, or name a size" in message


def test_a_checkpoint_is_exported_into_a_folder_next_to_it_by_default(
    checkpoint: Path, fails: Callable[[list[str]], str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(checkpoint)]) == 0
    model = checkpoint.parent / "last" / "model.onnx"
    assert f"written  {model}" in capfd.readouterr().out
    assert sizes(model) == [1, 64, 96, 3]
    assert "road: no file to write is named. Name it with --out FILE.onnx" in fails(["export", "road", "--fuse"])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ([], [1, 64, 96, 3]),
        (["--size", "64x128"], [1, 64, 128, 3]),
        (["--precision", "fp16"], [1, 64, 96, 3]),
        (["--batch", "dynamic"], ["batch", 64, 96, 3]),  # as for any model; in a folder the size is open too
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_a_checkpoint_can_be_exported_to_one_file(
    checkpoint: Path, tmp_path: Path, options: list[str], shape: list[int | str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.onnx"
    assert main(["export", str(checkpoint), "--out", str(out), *options]) == 0
    assert "100.0000% of its labels are the checkpoint's" in capsys.readouterr().out
    assert sizes(out) == shape
    with Segmenter(load_model(out), "ort") as segmenter:
        assert segmenter(ripples()).class_map is not None


def test_texts_of_the_card_may_come_from_another_recipe(checkpoint: Path, tmp_path: Path, street_facts: Facts) -> None:
    (tmp_path / "better.toml").write_text(toml_of(street_facts() | {"card": {"limits": "better words"}}))
    command = ["export", str(checkpoint), "--out", str(tmp_path / "model"), "--recipe", str(tmp_path / "better.toml")]
    assert main(command) == 0
    assert read_toml(tmp_path / "model" / "card.toml")["limits"] == "better words"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pt", "--out", "model"], "nowhere.pt: no such checkpoint"),
        (["last.pt", "--out", "model", "--precision", "fp16"], "Name it with --out FILE.onnx"),
        (["last.pt", "--out", "model", "--fuse"], "Name it with --out FILE.onnx"),
        (["last.pt", "--out", "model", "--calibrate", "clip.mp4"], "Name it with --out FILE.onnx"),
        (["last.pt", "--out", "model", "--batch", "4"], "--batch 4: a camera gives one frame at a time. Write 1 or dynamic"),
        (["last.pt", "--out", "model", "--data", "nowhere"], "nowhere: no such folder"),
        (["last.pt", "--out", "model", "--recipe", "rode"], 'no recipe "rode"'),
        (["last.pt", "--out", "last.pt/model"], "cannot be made"),
        (["road", "--out", "a.onnx", "--data", "toy"], "--data and --recipe are for a checkpoint (.pt). Leave them out"),
    ],
)
def test_a_wrong_export_is_named(
    checkpoint: Path, arguments: list[str], words: str, fails: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    assert words in fails(["export", *arguments])
    assert not (checkpoint.parent / "model").exists()


def test_a_set_that_was_not_trained_on_gives_figures_too(checkpoint: Path, toy_set: Path, tmp_path: Path) -> None:
    other = toy_set.rename(tmp_path / "other")
    (other / "dataset.toml").write_text('classes = ["sky", "road", "car"]\nhold_out = ["held_*"]\n')
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model"), "--data", str(other)]) == 0
    assert "other held out: mIoU" in read_toml(tmp_path / "model" / "card.toml")["figures"]
    assert len(open_set(other, load_checkpoint(checkpoint).recipe.sets[0]).held_out) == 2
