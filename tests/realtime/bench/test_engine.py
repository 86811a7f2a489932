"""`run.py bench` where a GPU is seen: it builds the engine first, or says what it measures instead and why."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.errors import NoGpuError
from engines.plans.store import Store
from realtime.bench import engine as engine_of_bench
from realtime.bench.engine import first_line, obstacle
from realtime.bench.gpus import seen
from realtime.cli import main

from ...engines.conftest import Nets
from ...engines.gpu_machine import GpuMachine, fake_machine
from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World, install

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

STREET = "synthetic://street?width=96&height=72&objects=3&seconds=0.5"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuMachine]:
    if not host_kernels.is_available():
        pytest.skip("needs g++, to run the kernel on the CPU")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("realtime.commands.common.benching.QUICK_WARM_UP_S", 0.02)
    with fake_machine(tmp_path / "machine", monkeypatch) as machine:
        yield machine


@pytest.fixture
def bench(machine: GpuMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], Any]]:
    """Runs it over a tiny network; the exit code, the lines on stderr, the card."""
    model = Nets(tmp_path).semantic()
    (tmp_path / "labels.txt").write_text("blue\ngreen\nred\n")

    def run(*options: str) -> tuple[int, list[str], Any]:
        quick = ("--quick", "--seconds", "0.2", "--repeats", "1")
        code = main(["bench", STREET, "--model", str(model), *quick, *options])
        card = Path("out/bench/card.json")
        return code, capsys.readouterr().err.splitlines(), json.loads(card.read_text()) if card.exists() else None

    return run


def test_an_engine_that_lacks_is_built_first_and_its_time_is_on_the_card(bench: Any, capsys: Any) -> None:
    code, lines, card = bench()
    assert code == 0
    assert lines[0] == "measures the GPU: NVIDIA Fake RTX 4000, after building its engine, once"
    assert any("colours, fp16: building" in line for line in lines), "progress is shown"
    assert any("built the engine in" in line for line in lines)
    assert card["model"]["backend"] == "trt"
    assert card["engine"]["wall_s"] is not None
    assert re.search(r"\| engine \| built in \d+ s on 20", Path("out/bench/card.md").read_text())

    code, lines, card = bench("--backend", "trt")
    assert lines[0] == "measures the GPU: NVIDIA Fake RTX 4000"
    assert not any("building" in line for line in lines), "the second time it is cached"
    assert (card["model"]["backend"], card["engine"]["wall_s"]) == ("trt", None)
    assert card["engine"]["build_s"] >= 0


def test_the_engine_for_the_number_of_images_that_is_asked_for_is_built(bench: Any) -> None:
    code, lines, _ = bench("--backend", "trt", "--batch", "2")
    assert code == 0
    assert [one.passport.request.batch for one in Store().engines()] == [2]
    assert "after building its engine" in lines[0]


def test_no_build_measures_without_the_engine_and_says_how_to_build_it(bench: Any, machine: GpuMachine) -> None:
    machine.world.has_cuda_provider = False
    code, lines, card = bench("--no-build")
    assert code == 0
    assert card["model"]["backend"] in ("openvino", "ort")
    assert lines[0].startswith("measures the CPU, not the GPU: no engine for colours")
    assert "run.py build" in lines[0]
    assert card["engine"] is None


def test_with_no_build_and_trt_the_missing_engine_is_the_error(bench: Any) -> None:
    code, lines, card = bench("--no-build", "--backend", "trt")
    assert (code, card) == (2, None)
    assert "run.py build" in lines[-1]


def test_another_backend_that_is_named_is_respected(bench: Any, machine: GpuMachine) -> None:
    code, lines, card = bench("--backend", "ort")
    assert (code, card["model"]["backend"]) == (0, "ort")
    assert not any("measures the" in line for line in lines)
    assert machine.world.calls["Builder.build_serialized_network"] == 0


def test_a_build_that_fails_is_an_error_that_names_the_way_without_it(bench: Any, machine: GpuMachine) -> None:
    machine.world.build_error = "Could not find any implementation for node conv"
    code, lines, card = bench()
    assert (code, card) == (2, None)
    assert "--no-build" in lines[-1]


def test_the_first_line_says_why_the_cpu_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with install(World(has_driver=False)):
        lacking = obstacle()
        assert isinstance(lacking, NoGpuError)
        assert first_line(lacking, tmp_path) == "measures the CPU: this machine has no NVIDIA GPU"
        (tmp_path / "sys/bus/pci/devices/0000:01:00.0").mkdir(parents=True)
        (tmp_path / "sys/bus/pci/devices/0000:01:00.0/vendor").write_text("0x10de\n")
        (tmp_path / "sys/bus/pci/devices/0000:01:00.0/class").write_text("0x030000\n")
        line = first_line(lacking, tmp_path)
    assert line.startswith("measures the CPU, not the GPU: no NVIDIA driver here (libcuda.so.1 is missing). Install")
    monkeypatch.setattr(engine_of_bench, "here", lambda: ("ort-cuda", "ort"))
    assert first_line(lacking, tmp_path).startswith("measures the GPU through ONNX Runtime")


@pytest.mark.parametrize(
    ("world", "words"), [({"has_tensorrt": False}, "TensorRT is not installed"), ({"has_pycuda": False}, "PyCUDA")]
)
def test_a_package_that_lacks_is_named_with_its_cure(
    world: dict[str, bool], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: ...\n")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with install(World(**world)):  # type: ignore[arg-type]
        lacking = obstacle()
        assert lacking is not None
        line = first_line(lacking, tmp_path)
    assert line.startswith(f"measures the CPU, not the GPU: {words}")
    assert "pip install" in line


def test_an_nvidia_sound_card_is_no_gpu(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:01:00.1"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x10de\n")
    (folder / "class").write_text("0x040300\n")
    assert not seen(tmp_path)
    (folder / "class").write_text("0x030200\n")
    assert seen(tmp_path) == "an NVIDIA GPU (PCI 0000:01:00.1)"


def test_under_wsl_a_gpu_is_nvidias_only_where_windows_has_its_driver(tmp_path: Path) -> None:
    """/dev/dxg is there with an Intel or AMD GPU as well."""
    lacking = NoGpuError("no NVIDIA driver here (libcuda.so.1 is missing)", "Install it")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").write_text("")
    assert first_line(lacking, tmp_path) == "measures the CPU: this machine has no NVIDIA GPU"
    (tmp_path / "usr/lib/wsl/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/wsl/lib/libcuda.so.1").write_text("")
    assert first_line(lacking, tmp_path).startswith("measures the CPU, not the GPU: ")
