"""`run.py import` as a user runs it: from a Keras file to a model that `process` runs."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from realtime.cli import main


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 8 x 8 grey pixels with weights made by hand: bright or dark, by the mean."""
    if not (importlib.util.find_spec("keras") and importlib.util.find_spec("torch")):
        pytest.skip("needs keras and torch: pip install -e '.[keras]'")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    path = tmp_path_factory.mktemp("keras") / "spots.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras and PyTorch warn about each other
        import keras
        from keras import layers

        body = [layers.AveragePooling2D(4), layers.Flatten(), layers.Dense(2, activation="softmax")]
        model = keras.Sequential([keras.Input((8, 8, 1)), *body])
        model.layers[-1].set_weights([np.array([[-5.0, 5.0]] * 4), np.array([10.0, -10.0])])
        model.save(path)
    return path


def test_a_classifier_is_imported_and_finds_what_it_knows(
    spots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "spots.onnx"
    options = ["--sliding", "--size", "48x64", "--classes", "dark, bright", "--things", "bright", "--void", "dark"]
    assert main(["import", str(spots), "--out", str(out), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"read     {spots}: 3 layers, input 8x8x1, its last softmax left out: the card's scores are made of logits"
    assert lines[1].startswith("pixels   grey (BT.601), 0..255 x 1/255 (assumed: ")
    assert lines[2] == "sliding  a 8x8 window every 4x4 pixels: 12x16 labels of a 48x64 frame"
    assert lines[3].startswith("parity   100.00 % of 768 windows get Keras' class; numbers differ by ")
    assert lines[4] == "classes  dark, bright, as semantic"
    assert lines[5].startswith(f"written  {out} (0.0 MB), input 48x64")
    assert lines[6].strip() == str(out.with_suffix(".toml"))
    assert lines[7] == f"next     run.py view SOURCE --model {out}"

    frame = np.full((96, 128, 3), 20, np.uint8)
    frame[40:72, 80:112] = 240
    (tmp_path / "frames").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"frames/{number}.png"), frame)
    found = tmp_path / "found.jsonl"
    assert main(["process", str(tmp_path / "frames"), "--model", str(out), "--backend", "ort", "--jsonl", str(found)]) == 0
    objects = [entry for line in found.read_text().splitlines() for entry in json.loads(line).get("objects", ())]
    assert objects
    assert {entry["class"] for entry in objects} == {"bright"}
    for entry in objects:
        np.testing.assert_allclose(entry["box_px"], [80, 40, 112, 72], atol=9)  # a cell is 8 pixels of this frame


def test_the_model_is_written_next_to_its_file_by_default(spots: Path) -> None:
    assert main(["import", str(spots), "--sliding", "--size", "16x16", "--name", "night"]) == 0
    assert 'name = "night"' in spots.with_suffix(".toml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere.keras"], "nowhere.keras: no such file. Name a .keras or .h5 file"),
        (["x.keras", "--scale", "1/0"], 'argument --scale: "1/0" is not a number. Write it as 0.0039 or 1/255'),
        (["x.keras", "--classes", "a,,b"], 'argument --classes: "a,,b" is not a list of names. Write each once'),
        (["x.keras", "--classes", "a,a"], 'argument --classes: "a,a" is not a list of names'),
        (["x.keras", "--size", "28"], 'argument --size: "28" is not a size'),
        (["x.keras", "--channels", "grb"], 'argument --channels: "grb" is not known. Did you mean "rgb"?'),
    ],
)
def test_an_error_on_the_command_line_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = main(["import", *options])
    except SystemExit as error:
        code = error.code
    assert code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1


def test_the_tutorial_s_code_makes_what_its_command_imports(
    spots: Path, repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few samples it learns nothing; but it runs, and the command prints the lines of the page for its file."""
    page = (repo_root / "docs/keras.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    assert "SAMPLES, EPOCHS = 6000, 6" in code
    command = next(line for line in page.splitlines() if line.startswith("$ python run.py import "))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code.replace("SAMPLES, EPOCHS = 6000, 6", "SAMPLES, EPOCHS = 64, 1"), {"__name__": "tutorial"})
    capsys.readouterr()
    assert main([*command.split()[3:], "--size", "60x80"]) == 0
    printed, shown = capsys.readouterr().out.splitlines(), page.partition(command)[2].splitlines()[1:9]
    assert [line[:9] for line in printed] == [line[:9] for line in shown]
    assert printed[0] == shown[0]
    assert printed[4] == shown[4]
    assert (tmp_path / "digits.onnx").is_file()


def test_without_keras_the_cure_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys
    import zipfile

    monkeypatch.setitem(sys.modules, "keras", None)
    config = {"class_name": "Sequential", "config": {"layers": []}}
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert main(["import", str(tmp_path / "net.keras")]) == 2
    assert (
        "Keras cannot be imported (import of keras halted; None in sys.modules). Install Keras 3: pip install -e '.[keras]'"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "net.onnx").exists()
