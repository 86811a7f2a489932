"""`run.py evaluate` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.cli import main

CLASSES = 'classes = ["road", "automobile"]\n'
"""Other class names: the tiny model has ground, car and person, but no road."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures of a grey car over dark ground, two held out, with maps of objects and of the surface."""
    folder = tmp_path / "street"
    for name in ("images", "labels", "inst", "lane"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        label = np.zeros((48, 64), np.uint8)
        label[10:30, 10 : 40 + number] = 1
        image = np.where(label[..., None] == 1, 125, 30).astype(np.uint8).repeat(3, axis=2)
        stem = f"{'ab'[number // 2]}_{number}"
        cv2.imwrite(str(folder / "images" / f"{stem}.png"), image)
        for name, values in (("labels", label), ("inst", label), ("lane", 1 - label)):
            cv2.imwrite(str(folder / name / f"{stem}.png"), values)
    (folder / "dataset.toml").write_text(f'{CLASSES}hold_out = ["b_*"]\ninstances = "inst"\nsurface = "lane"\n')
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--backend", "ort"])


def test_another_size_of_the_input_is_scored(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tiny_model, "--data", data, "--means", "road=ground", "--size", "48x64", "--json", "figures.json") == 0
    assert "CPU, fp32, input 64x48\n" in capsys.readouterr().out
    assert json.loads(Path("figures.json").read_text())["model"]["input_px"] == [64, 48]
    assert evaluate(tiny_model, "--data", data, "--means", "road=ground", "--json", "figures.json") == 0, "earlier scores"
    assert json.loads(Path("figures.json").read_text())["model"]["input_px"] == [64, 48]


def test_a_set_of_many_shapes_has_no_fitting_size(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tiny_model, "--data", data, "--size", "auto") == 2
    assert "--size auto: the pictures of a set have many shapes. Give none for the model's own" in capsys.readouterr().err


def test_scores_replace_no_other_file(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as the annotations that they are made from."""
    Path("instances.json").write_text('{"images": [], "annotations": []}')
    assert evaluate(tiny_model, "--data", data, "--json", "instances.json") == 2
    assert "--json instances.json: exists, and has no scores of an earlier run. Name" in capsys.readouterr().err
    assert Path("instances.json").read_text() == '{"images": [], "annotations": []}'


def test_scores_are_printed_drawn_and_written(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tiny_model, "--data", data, "--json", "f/figures.json", "--means", "road=ground") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tiny on street: 2 held-out images (b_*)\n")
    assert "backend     ONNX Runtime" in printed
    assert "classes     road = ground (as given)" in printed
    assert "automobile = car (known name)" in printed
    assert "mIoU 100.0   pixel accuracy 100.0   class accuracy 100.0   boundary F1 100.0 (within 0.6 px)" in printed
    assert "mask AP 100.0, AP50 100.0, AP75 100.0" in printed
    assert "(2 of 2 detections are right, 2 true objects)" in printed
    assert "surface" not in printed, "the model does not predict it"
    for name in ("confusion", "worst"):
        picture = cv2.imread(f"out/tiny-street-{name}.png")
        assert picture.std() > 10, "something is drawn"

    facts = json.loads(Path("f/figures.json").read_text())
    assert (facts["model"]["name"], facts["model"]["family"], facts["backend"]["name"]) == ("tiny", "semantic", "ort")
    assert {"realtime-segmentation", "python", "numpy"} <= set(facts["versions"])
    (of_set,) = facts["sets"]
    assert (of_set["name"], of_set["images"], of_set["mapping"]) == ("street", 2, {"road": ["ground"], "automobile": ["car"]})
    assert of_set["pixels"]["iou_of"] == {"road": 1.0, "automobile": 1.0}
    assert of_set["pixels"]["confusion"]["columns"] == ["road", "automobile", "none"]
    assert np.sum(of_set["pixels"]["confusion"]["pixels"]) == 2 * 48 * 64
    assert of_set["objects"]["ap_of"] == {"road": None, "automobile": 1.0}
    assert set(of_set["latency_p50_ms"]) == {"preprocess", "inference", "decode"}


def test_classes_unknown_to_the_model_are_listed(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tiny_model, "--data", data) == 0
    printed = capsys.readouterr().out
    assert "road: not known to the model" in printed
    assert "over the 1 classes it knows (50.0 over all 2)" in printed


def test_several_sets_all_images_and_a_few_of_them(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "again.toml").write_text(f'folder = "street"\nname = "again"\n{CLASSES}')
    assert evaluate(tiny_model, "--data", data, "--data", data.parent / "again.toml", "--split", "all", "--limit", "3") == 0
    printed = capsys.readouterr().out
    assert "tiny on street: 3 of all 4 images, 2 of them held out" in printed
    assert "tiny on again: 3 of all 4 images, none of them held out" in printed


def test_pictures_are_written_to_the_named_folder(tiny_model: Path, data: Path) -> None:
    assert evaluate(tiny_model, "--data", data, "--sheets", "here/too") == 0
    assert {path.name for path in Path("here/too").iterdir()} == {"tiny-street-confusion.png", "tiny-street-worst.png"}
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--data", "DATA", "--means", "road=grnd"], 'the model has no class "grnd". Did you mean "ground"?'),
        (["--data", "DATA", "--means", "road"], "Write SET CLASS=MODEL CLASS"),
        (["--data", "DATA", "--precision", "fp16"], "--precision: not with --backend ort"),
        (["--data", "DATA", "--threshold", "2"], "--threshold 2: not between 0 and 1"),
        (["--data", "DATA", "--json", "."], "--json .: is a folder"),
    ],
)
def test_mistakes_are_one_line(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert evaluate(tiny_model, *(str(data) if word == "DATA" else word for word in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_broken_label_is_an_error_that_names_the_file(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(data / "labels" / "b_3.png"), np.full((48, 64), 7, np.uint8))
    assert evaluate(tiny_model, "--data", data) == 2
    assert "b_3.png: class id 7, but the set has 2 classes" in capsys.readouterr().err


def test_without_the_extra_scores_are_printed_without_a_chart(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "dataset.toml").write_text(CLASSES)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert evaluate(tiny_model, "--data", data) == 0
    printed = capsys.readouterr().out
    assert "mIoU" in printed
    assert "no chart" in printed
    assert "pip install -e '.[evaluate]'" in printed
    assert evaluate(tiny_model, "--data", data, "--sheets", "x") == 2, "with --sheets it is an error before anything runs"
    assert "pip install -e '.[evaluate]'" in capsys.readouterr().err
