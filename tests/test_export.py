"""`run.py export` as a user runs it, on the bundled model and on third-party ones, judged by what the models then see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.building.frames import real_frames
from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare, shortfall
from engines.model import load_model
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.cli import main


def answers(path: Path, backend: str, settings: object) -> list:
    with Segmenter(load_model(path), backend) as segmenter:
        return [segmenter(frame, settings) for frame in real_frames(None, 6)]


@pytest.fixture
def third_party(shared: Path) -> Path:
    return shared / "models/yolo11n-seg-coco"


def test_the_bundled_model_in_half_precision_sees_the_same(repo_root: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--precision", "fp16", "--out", str(tmp_path / "half.onnx")]) == 0
    assert "fp16" in capsys.readouterr().out
    model = load_model(tmp_path / "half.onnx")
    assert model.precision == "fp16"
    assert model.path.stat().st_size < 0.6 * (repo_root / "assets/models/road/model.onnx").stat().st_size
    wanted = answers(repo_root / "assets/models/road/model.onnx", "ort", REFERENCE_SETTINGS)
    report = compare(wanted, answers(model.path, "ort", CANDIDATE_SETTINGS))
    assert not shortfall(report, "fp16"), report


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_a_fused_yolo_sees_the_same_on_every_backend(third_party: Path, tmp_path: Path, backend: str) -> None:
    pytest.importorskip("openvino" if backend == "openvino" else "onnxruntime")
    source = next(third_party.glob("*320*.onnx"))
    assert main(["export", str(source), "--fuse", "--out", str(tmp_path / "fused.onnx")]) == 0
    fused = load_model(tmp_path / "fused.onnx")
    assert set(fused.card.outputs) == {"candidates", "prototypes"}
    wanted = answers(source, backend, REFERENCE_SETTINGS)
    if backend == "openvino":  # bfloat16, which rounds the same numbers at other places once the graph differs
        report = compare(wanted, answers(fused.path, backend, CANDIDATE_SETTINGS))
        assert not shortfall(report, "bf16"), report
        return
    for one, other in zip(wanted, answers(fused.path, backend, REFERENCE_SETTINGS), strict=True):
        np.testing.assert_array_equal(one.instances.class_ids, other.instances.class_ids)
        np.testing.assert_allclose(one.instances.boxes_px, other.instances.boxes_px, atol=0.01)
        np.testing.assert_array_equal(one.instances.label_map, other.instances.label_map)


def test_another_size_runs(tmp_path: Path) -> None:
    assert main(["export", "road", "--size", "192x320", "--out", str(tmp_path / "small.onnx")]) == 0
    model = load_model(tmp_path / "small.onnx")
    assert model.card.input.size == Size(320, 192)
    (first, *_) = answers(model.path, "ort", REFERENCE_SETTINGS)
    assert first.class_map is not None
    assert first.class_map.size > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "384"], "not a size; write height x width"),
        (["--precision", "fp8"], "invalid choice"),
        (["--batch", "two"], "not a whole number"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options: list[str], words: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["export", "road", "--out", str(tmp_path / "out.onnx"), *options])
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_size_the_network_cannot_have_leaves_nothing(tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--size", "100x100", "--out", str(tmp_path / "odd.onnx")]) in (0, 2)
    if (tmp_path / "odd.onnx").exists():
        assert load_model(tmp_path / "odd.onnx").card.input.size == Size(100, 100)
    else:
        assert capsys.readouterr().err.startswith("error: ")
        assert not list(tmp_path.iterdir())


def test_a_bad_place_is_told_before_any_work(tmp_path: Path, capsys) -> None:
    assert main(["export", "road", "--out", str(tmp_path / "nowhere" / "out.onnx")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["export", "road", "--out", str(tmp_path / "out.txt")]) == 2
    assert ".onnx" in capsys.readouterr().err
