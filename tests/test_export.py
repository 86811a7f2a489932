"""`run.py export` as a user runs it, on bundled and third-party models, judged by the results of the exported models."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.building.frames import real_frames
from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare, shortfall
from engines.errors import BuildError
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.cli import main
from realtime.commands import export
from realtime.commands.common.options import parsed
from realtime.errors import SettingsError

pytestmark = pytest.mark.slow


def results(path: Path, backend: str, settings: object) -> list:
    with Segmenter(load_model(path), backend) as segmenter:
        return [segmenter(frame, settings) for frame in real_frames(None, 2)]


def test_the_bundled_model_in_half_precision_gives_the_same_results(repo_root: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--precision", "fp16", "--out", str(tmp_path / "half.onnx")]) == 0
    assert "fp16" in capsys.readouterr().out
    model = load_model(tmp_path / "half.onnx")
    assert model.precision == "fp16"
    assert model.path.stat().st_size < 0.6 * (repo_root / "assets/models/road/model.onnx").stat().st_size
    wanted = results(repo_root / "assets/models/road/model.onnx", "ort", REFERENCE_SETTINGS)
    report = compare(wanted, results(model.path, "ort", CANDIDATE_SETTINGS))
    assert not shortfall(report, "fp16"), report


@pytest.fixture(scope="module")
def fused_yolo(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A third-party network, and its fused export."""
    source = next((shared / "models/yolo11n-seg-coco").glob("*320*.onnx"))
    out = tmp_path_factory.mktemp("yolo") / "fused.onnx"
    assert main(["export", str(source), "--fuse", "--out", str(out)]) == 0
    return source, out


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_a_fused_yolo_gives_the_same_results_on_every_backend(fused_yolo: tuple[Path, Path], backend: str) -> None:
    pytest.importorskip("openvino" if backend == "openvino" else "onnxruntime")
    source, fused = fused_yolo[0], load_model(fused_yolo[1])
    assert set(fused.card.outputs) == {"candidates", "prototypes"}
    wanted = results(source, backend, REFERENCE_SETTINGS)
    if backend == "openvino":  # bfloat16, which rounds in other places if the graph differs
        report = compare(wanted, results(fused.path, backend, CANDIDATE_SETTINGS))
        assert not shortfall(report, "bf16"), report
        return
    for one, other in zip(wanted, results(fused.path, backend, REFERENCE_SETTINGS), strict=True):
        np.testing.assert_array_equal(one.instances.class_ids, other.instances.class_ids)
        np.testing.assert_allclose(one.instances.boxes_px, other.instances.boxes_px, atol=0.01)
        np.testing.assert_array_equal(one.instances.label_map, other.instances.label_map)


def test_another_size_runs(tmp_path: Path) -> None:
    assert main(["export", "road", "--size", "192x320", "--out", str(tmp_path / "small.onnx")]) == 0
    model = load_model(tmp_path / "small.onnx")
    assert model.card.input.size == Size(320, 192)
    (first, *_) = results(model.path, "ort", REFERENCE_SETTINGS)
    assert first.class_map is not None
    assert first.class_map.size > 0


def test_the_report_has_sizes_in_the_format_of_the_options(tmp_path: Path, capsys) -> None:
    """The size is height x width in both: it was once reported as width x height."""
    path = tmp_path / "small.onnx"
    assert main(["export", "road", "--size", "192x320", "--batch", "dynamic", "--fuse", "--out", str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    roles = ", ".join(f"{role} = {role}" for role in ("labels", "confidence", "peaks", "offsets", "surface"))
    assert first == f"written  {path} ({size}), fp32, input 192x320, outputs {roles}"
    assert second.strip() == str(path.with_suffix(".toml"))
    assert main(["export", "road", "--size", "100x330", "--out", str(path)]) == 2
    reported = capsys.readouterr().err
    assert "cannot run at 100x330 (height x width), batch 1. Use a size that works: 96x320, 128x320, 96x352, 128x352" in reported


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the installed clips, as a user's pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, frame in enumerate(real_frames(None, 90)):
        cv2.imwrite(str(folder / f"{number:02d}.jpg"), frame)
    return folder


def options_of(out: Path, precision: str, calibrate: Path | None) -> export.Options:
    words = ["road", "--out", str(out), "--fuse", "--precision", precision, "--size", "96x160"]
    return parsed(export.Options, [*words, "--calibrate", str(calibrate)] if calibrate else words)


def test_int8_is_measured_on_given_footage_and_judged_on_the_rest_of_it(tmp_path: Path, footage: Path, capsys) -> None:
    assert export.run(options_of(tmp_path / "int8.onnx", "int8-qdq", footage)) == 0
    first, _, ranges, parity = capsys.readouterr().out.splitlines()
    assert ", int8, " in first
    assert re.fullmatch(rf"ranges   of \d\d frames of {footage}", ranges)
    assert re.match(r"parity   9\d\.\d\d% of the labels as in fp32, over 12 frames", parity)
    assert parity.endswith("; ranges were measured on none of them")
    assert load_model(tmp_path / "int8.onnx").precision == "int8"


@pytest.mark.parametrize(
    ("precision", "calibrate", "error", "words"),
    [
        ("int8-qdq", None, BuildError, "road: int8-qdq measures its ranges on footage of the camera that the model is for"),
        ("int8-qdq", "nowhere.mp4", BuildError, "nowhere.mp4: no such video or folder of pictures"),
        ("int8-qdq", ".", BuildError, "no frame can be read from it"),
        ("fp16", "nowhere.mp4", SettingsError, "--calibrate: only int8-qdq measures ranges, not fp16. Leave it out"),
    ],
)
def test_missing_or_useless_footage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, calibrate: str | None, error: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        export.run(options_of(tmp_path / "out.onnx", precision, Path(calibrate) if calibrate else None))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "384"], "not a size. Write height x width"),
        (["--precision", "fp8"], '"fp8" is not known. Known: fp32, fp16, bf16, int8-qdq'),
        (["--batch", "two"], "not a whole number"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(options: list[str], words: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["export", "road", "--out", str(tmp_path / "out.onnx"), *options])
    reported = capsys.readouterr().err
    assert words in reported
    assert reported.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_impossible_size_leaves_nothing(tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--size", "100x100", "--out", str(tmp_path / "odd.onnx")]) == 2
    assert capsys.readouterr().err.startswith("error: road: its network cannot run at 100x100")
    assert not list(tmp_path.iterdir())


def test_a_bad_place_is_reported_before_any_work(tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--out", str(tmp_path / "nowhere" / "out.onnx")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["export", "road", "--out", str(tmp_path / "out.txt")]) == 2
    assert ".onnx" in capsys.readouterr().err
