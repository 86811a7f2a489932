"""`run.py models` as a user types it: list, info, add, verify, remove."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.models import zoo
from realtime.cli import main
from realtime.knobs import Knobs

from ...engines.conftest import Nets
from .conftest import error_of, files_in, lines_of

CAR_BGR = np.array((255, 100, 0))
"""Of the tiny model's card."""


# add


def test_an_added_model_works_everywhere_by_name(
    home: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(tiny_model), "--name", "mine", "--frames", str(pictures), "--backend", "ort"]) == 0
    facts = lines_of(capsys.readouterr().out)
    assert facts["family"] == "semantic"
    assert facts["input"].startswith("64x48 uint8 nhwc bgr")
    assert facts["classes"] == "ground, car, person"
    assert facts["found"].startswith("1 car; 5")
    assert "ms per frame on ONNX Runtime" in facts["ran"]
    assert facts["preview"] == "out/mine-preview.png"
    assert files_in(home) == ["mine/card.toml", "mine/model.onnx"]

    assert main(["models", "info", "mine"]) == 0
    info = lines_of(capsys.readouterr().out)
    assert {key: facts[key] for key in info} == info
    assert main(["process", str(pictures), "--model", "mine", "--jsonl", "o.jsonl", "--backend", "ort"]) == 0
    assert "mine on ONNX Runtime" in capsys.readouterr().out
    assert "car" in Path("o.jsonl").read_text()


def test_classes_are_named_on_the_command_line(
    home: Path, nets_folder: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nets = Nets(nets_folder)
    path = nets.constant({"logits": np.ones((1, 12, 64, 64), np.float32)}, name="city")
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    add = ["models", "add", str(path), "--frames", str(pictures), "--backend", "ort", "--classes"]
    assert "the network has 12 classes but 11 names are given" in error_of(capsys, [*add, "camvid"])
    assert main([*add, "camvid+void"]) == 0
    assert lines_of(capsys.readouterr().out)["objects"] == "car, pedestrian, bicyclist"


def test_a_card_to_copy_stands_below_the_error(
    home: Path, nets_folder: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that is missing at once; the card is right as it is."""
    path = Nets(nets_folder).constant({"logits": np.ones((1, 12, 64, 64), np.float32)}, name="city")
    add = ["models", "add", str(path), "--frames", str(pictures), "--backend", "ort"]
    assert main(add) == 2
    line, _, lines = capsys.readouterr().err.partition("\n\n")
    assert "classes = [" in line
    assert "input.mean and input.std" in line
    path.with_suffix(".toml").write_text(lines)
    assert main(add) == 0
    out = capsys.readouterr().out
    assert lines_of(out)["objects"] == "car, pedestrian, bicyclist"
    assert lines_of(out)["preview"] == "out/city-preview.png; assumed: channels rgb, fit stretch"


def test_the_preview_is_drawn_as_the_application_draws(home: Path, tiny_model: Path, pictures: Path) -> None:
    assert main(["models", "add", str(tiny_model), "--frames", str(pictures), "--preview", "see/it.png"]) == 0
    preview = cv2.imread("see/it.png")
    assert preview is not None
    assert preview.shape[1] == 480, "small frames are enlarged"
    assert preview.shape[0] > 360, "a legend below"
    opacity = Knobs().opacity
    np.testing.assert_allclose(preview[300, 240], 125 * (1 - opacity) + CAR_BGR * opacity, atol=2)
    assert files_in(Path()) == ["see/it.png"]


def test_the_installed_clips_are_the_default(home: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", str(tiny_model)]) == 0
    assert ", in 4 frames" in lines_of(capsys.readouterr().out)["found"]
    preview = cv2.imread("out/tiny-preview.png")
    assert preview is not None
    assert preview.shape[1] == 2 * 640, "two frames of the wider clip side by side"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "card", "seen"),
    [("yolo11n-seg-coco/yolo11n-seg_coco_320.onnx", "", "person"), ("yolox-nano-coco/yolox_nano.onnx", "", "person")],
    ids=["yolo11", "yolox"],
)
def test_models_of_others_are_added_and_find_objects(
    home: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, card: str, seen: str
) -> None:
    """Third-party files as they are, with a card of the missing facts only; their folder may be read-only."""
    if card:
        labels = shared / "models" / Path(file).parent / "labels.txt"
        names = f"classes = {labels.read_text().splitlines()}\n" if labels.is_file() else ""
        (tmp_path / "card.toml").write_text(names + card)
    more = ["--card", str(tmp_path / "card.toml")] if card else []
    more += ["--backend", "ort", "--frames", str(shared / "coco8-seg" / "coco8-seg" / "images" / "val")]
    assert main(["models", "add", str(shared / "models" / file), "--name", "theirs", *more]) == 0
    assert seen in lines_of(capsys.readouterr().out)["found"]
    assert main(["models", "verify", "theirs"]) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--name", "../mine"], "cannot be the name of a model"),
        (["--name", "road"], "bundled"),
        (["--frames", "nowhere.mp4"], "nowhere.mp4"),
        (["--preview", "it.jpg"], "--preview it.jpg: not a .png file"),
        (["--preview", "file/it.png"], "Name another file with --preview"),
        (["--card", "nothing.toml"], "nothing.toml"),
        (["--backend", "openvno"], 'Did you mean "openvino"'),
    ],
)
def test_an_add_that_fails_leaves_nothing(
    home: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    Path("file").write_text("not a folder")
    assert words in error_of(capsys, ["models", "add", str(tiny_model), *more])
    assert files_in(home.parent.parent.parent / "work") == ["file"]
    assert not home.exists() or not [path for path in home.iterdir() if path.suffix != ".lock"]


def test_a_model_that_loads_and_does_not_run_is_not_added(
    home: Path, nets_folder: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its logits are NaN, which shows only when it runs."""
    nets = Nets(nets_folder)
    path = nets.constant({"logits": np.full((1, 3, 64, 64), np.nan, np.float32)}, name="nan")
    path.with_suffix(".toml").write_text('classes = ["a", "b", "c"]\n[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n')
    assert "contains NaN" in error_of(capsys, ["models", "add", str(path), "--frames", str(pictures)])
    assert list(home.iterdir()) == []
    assert files_in(Path()) == []


# list, info, verify, remove


@pytest.fixture
def mine(home: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of an added model."""
    assert main(["models", "add", str(tiny_model), "--name", "mine", "--frames", str(pictures)]) == 0
    capsys.readouterr()
    return home / "mine"


def test_the_list_shows_which_models_are_bundled(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["NAME", "FROM", "FAMILY"]
    found = {row.split()[0]: row.split()[1] for row in rows if len(row.split()) > 5}
    assert found["road"] == "bundled"
    assert found["mine"] == "you"


def test_a_broken_card_does_not_hide_the_others(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "card.toml").write_text("broken")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "its card cannot be read" in out
    assert "road " in out


def test_info_takes_a_file_and_the_option_means_the_same(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", str(tiny_model)]) == 0
    printed = capsys.readouterr().out
    assert main(["models", "--model", str(tiny_model)]) == 0
    assert capsys.readouterr().out == printed
    assert "tiny" in printed


def test_verify_reads_every_model(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    facts = lines_of(capsys.readouterr().out)
    assert set(facts) == {*zoo.bundled_names(), "mine"}
    assert set(facts.values()) == {"matches its card"}


def test_verify_ends_with_code_2_when_one_was_changed(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (mine / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert main(["models", "verify"]) == 2
    printed = capsys.readouterr()
    assert lines_of(printed.out)["road"] == "matches its card"
    assert "was changed or damaged" in lines_of(printed.out)["mine"]
    assert printed.err.startswith("error: 1 of ")
    assert "mine" in printed.err
    assert main(["models", "verify", "road"]) == 0
    assert "mine" not in capsys.readouterr().out


def test_remove_takes_own_models_only(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a bundled model" in error_of(capsys, ["models", "remove", "road"])
    assert 'Did you mean "mine"' in error_of(capsys, ["models", "remove", "mime"])
    assert "no model of your own" in error_of(capsys, ["models", "remove", "../mine"])
    assert main(["models", "remove", "mine"]) == 0
    assert str(mine) in capsys.readouterr().out
    assert list(mine.parent.iterdir()) == []
    assert 'no model "mine"' in error_of(capsys, ["models", "info", "mine"])


def test_a_wrong_action_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "infoo"])
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert "info" in printed
    with pytest.raises(SystemExit):
        main(["models", "add", "x.onnx", "--nmae", "x"])
    assert 'Did you mean "--name"' in capsys.readouterr().err


def test_a_card_can_be_read_in_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its long texts were once one line each, with the commands to copy among them."""
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models", "info", "road"]) == 0
    lines = capsys.readouterr().out.splitlines()
    prose = [line for line in lines if "run.py" not in line]
    assert max(map(len, prose)) <= 100
    command = (
        "run.py train --recipe road --data MADE/cityscapes-256 --data SETS/pennfudan --data SETS/coco-220 --data SETS/camvid \\"
    )
    assert " " * 9 + command in lines
    (of_set,) = (line for line in lines if line.strip().startswith("camvid held out: mIoU"))
    assert "sky" in of_set
    card, path = zoo.card_of("road")
    assert any(f"size_bytes {path.stat().st_size}" in line for line in lines)
    assert " ".join(" ".join(lines).split()).count(" ".join(card.limits.split())) == 1, "nothing is lost"
