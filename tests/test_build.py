"""`run.py build` as a user runs it. Its engines are real: TensorRT-RTX builds ahead of time on a machine without a GPU."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.plans.passport import TRUST_WARNING, Calibration
from engines.plans.store import Found, Store
from realtime.cli import main
from realtime.commands.common.building import describe

from .engines.conftest import Nets
from .engines.plans.examples import passport_of

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not for this kind of machine")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_an_engine_is_built_in_a_child_and_its_passport_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "road", "--target", "8.6"]) == 0
    out, err = capfd.readouterr()
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["built"].startswith("road, fp16, 256x448, for any GPU of compute capability 8.6 with TensorRT-RTX")
    assert lines["layers"] == "not measured: the engine has not run on its GPU yet"
    assert lines["parity"].endswith(
        "of the labels as in fp32, over 8 frames, on the CPU with every result rounded as the GPU would"
    )
    assert "road, fp16: building" in err
    (found,) = Store().engines()
    assert Store().read(found)[:4] != b""
    assert found.passport.parity is not None
    assert found.passport.parity.label_agreement is not None
    assert found.passport.parity.label_agreement >= 0.995
    key = tmp_path / "state" / "realtime-segmentation" / "engine.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_second_build_finds_the_engine(nets_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["build", str(nets_folder / "colours.onnx"), "--target", "86", "--frames", str(nets_folder)]
    assert main(command) == 0
    assert capfd.readouterr().out.startswith("built")
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert (out[:6], err) == ("cached", "")
    assert main([*command, "--force"]) == 0
    assert capfd.readouterr().out.startswith("built")


@pytest.fixture
def nets_folder(tmp_path: Path) -> Path:
    """A folder with a tiny network and pictures to compare it on."""
    folder = tmp_path / "nets"
    folder.mkdir()
    Nets(folder).semantic()
    (folder / "labels.txt").write_text("blue\ngreen\nred\n")
    for seed in range(2):
        cv2.imwrite(str(folder / f"{seed}.png"), np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8))
    return folder


@pytest.mark.parametrize("options", [["--precision", "fp32"], ["--precision", "bf16"], ["--size", "48x64"], ["--batch", "4"]])
def test_other_engines_are_built_too(nets_folder: Path, options: list[str]) -> None:
    open_size = nets_folder / "open.onnx"
    Nets(nets_folder).semantic("open", size=("w", "h"), card="[input]\nsize_px = [32, 24]\nmean = [0,0,0]\nstd = [255,255,255]\n")
    assert main(["build", str(open_size), "--target", "86", "--frames", str(nets_folder), *options]) == 0
    (found,) = Store().engines()
    assert found.passport.request.target == "86"


def code_of(command: list[str]) -> int:
    """The exit code, also if argparse raises SystemExit."""
    try:
        return main(command)
    except SystemExit as end:
        return int(end.code or 0)


def test_the_verdict_names_nodes_without_a_kernel_and_what_the_user_should_know() -> None:
    nodes = tuple(f"/stage{number}/Conv" for number in range(7))
    passport = passport_of(without_kernel=nodes, warnings=("only 40% of its heavy layers are fp16",))
    lines = describe(Found(Path("x.plan"), passport, ""), is_new=True).splitlines()
    assert lines[-2].startswith(
        "kernels  TensorRT 10.3.0 has none in fp16 for these nodes, so they are in fp32: /stage0/Conv, /stage1"
    )
    assert lines[-2].endswith("/stage4/Conv and 2 more")
    assert lines[-1] == "warning  only 40% of its heavy layers are fp16"
    assert len(describe(Found(Path("x.plan"), passport_of(), ""), is_new=True).splitlines()) == len(lines) - 2


def test_the_verdict_says_what_int8_ranges_were_measured_on() -> None:
    for checks, end in ((12, "99.999 % of the values; compared on 12 others"), (0, "99.999 % of the values")):
        passport = passport_of(calibration=Calibration("/films/yard.mp4", 128, checks, 99.999))
        line = describe(Found(Path("x.plan"), passport, ""), is_new=True).splitlines()[-1]
        assert line == f"ranges   of 128 frames of /films/yard.mp4, {end}"


MISTAKES = [
    (["build", "rod"], 'no model "rod". Give a name or the path of an .onnx file. Did you mean "road"?'),
    (["build", "road", "--precision", "fp17"], 'Did you mean "fp16"?'),
    (["build", "road", "--runtime", "tensorrtrtx"], 'Did you mean "tensorrt-rtx"?'),
    (["build", "road", "--target", "87"], "does not build for compute capability 87. Known: 75, 80, 86, 89, 120, 121"),
    (["build", "road", "--target", "86", "--runtime", "tensorrt"], "Use --target with --runtime tensorrt-rtx"),
    (["build", "road", "--target", "86", "--size", "100x100"], "Use a size that works: 96x96, 128x96, 96x128, 128x128"),
    (["build", "road", "--target", "86", "--frames", "/nowhere"], "--frames /nowhere: no such file or folder. Name a video"),
    (["build", "road", "--calibrate", "/nowhere"], "--calibrate /nowhere: no such file or folder. Name a video"),
    (["build", "road", "--calibrate", "."], "--calibrate: only int8-qdq measures ranges, not fp16. Leave it out"),
    (["build", "road", "--precision", "int8-qdq"], "none is named. Name some minutes of it with --calibrate VIDEO|DIR"),
    (["build", "road", "--target", "sm"], "is not a compute capability. Write it as 86 or 8.6"),
    (["build", "road", "--fuse"], 'this command has no option "--fuse"; run.py export has it'),
    (["build", "road", "--runtime", "tensorrt-rtx"], "an engine is built on the GPU that it runs on"),
]


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[" ".join(command[1:]) for command, _ in MISTAKES])
def test_a_mistake_gets_one_line_with_the_cure(
    command: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert code_of(command) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert Store().engines() == []


@pytest.mark.parametrize("option", [["--precision", "fp16"], ["--inflight", "1"], ["--dla", "0"]])
def test_an_option_of_gpu_engines_is_not_ignored_on_the_cpu(option: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["process", "sample://bikes", "--out", "o.mp4", *option]) == 2
    assert f"{option[0]}: not with --backend auto. Add --backend trt" in capfd.readouterr().err


def test_trusting_a_foreign_engine_prints_the_risk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "foreign.plan"
    plan.write_bytes(b"anything")
    command = ["process", "sample://bikes", "--out", str(tmp_path / "o.mp4"), "--backend", "trt", "--trust-engine", str(plan)]
    assert main(command) == 2
    assert f"warning: {TRUST_WARNING}" in capfd.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_a_model_that_tensorrt_cannot_read_names_its_node(nets_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The network adds the determinant of a constant, which the CPU can run."""
    path = nets_folder / "colours.onnx"
    network = onnx.load(path)
    network.graph.node[-1].output[0] = "raw"
    network.graph.node.append(helper.make_node("Det", ["square"], ["determinant"], "odd"))
    network.graph.node.append(helper.make_node("Add", ["raw", "determinant"], ["logits"]))
    network.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "square"))
    onnx.save(network, str(path))
    assert main(["build", str(path), "--target", "86", "--frames", str(nets_folder)]) == 2
    assert "cannot read the network (node odd: it has no operator Det)" in capfd.readouterr().err
    assert Store().engines() == []


def test_an_engine_for_a_source_has_the_input_that_fits_its_pictures(
    nets_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = 'classes = ["a", "b", "c"]\n[input]\nfit = "letterbox"\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n'
    model = Nets(nets_folder).semantic("padded", size=(64, 64), card=card)
    (nets_folder / "wide").mkdir()
    cv2.imwrite(str(nets_folder / "wide/0.png"), np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8))
    command = ["build", str(model), "--target", "86", "--frames", str(nets_folder), "--precision", "fp32"]
    assert main([*command, "--for", str(nets_folder / "wide")]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("built    padded, fp32, 32x64, for any GPU")
    assert "input    32x64: the padding around 128x64 is left out (64x64 with it)" in out.splitlines()
    assert main([*command, "--for", str(nets_folder / "wide"), "--size", "32x64"]) == 2
    assert "--for with --size: both say the size. Leave out one of them" in capfd.readouterr().err
