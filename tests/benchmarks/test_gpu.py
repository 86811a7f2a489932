"""The GPU's benchmark runs from end to end, on the stand-ins of a graphics card and of a Jetson, whose figures mean nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_masks
from engines.models import zoo
from engines.types import Size

from ..engines.conftest import Nets
from ..engines.gpu_machine import GpuMachine, fake_machine
from ..fakes import host_kernels
from ..fakes.gpu.fake_gpu import World

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

Machine = Callable[..., AbstractContextManager[GpuMachine]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(gpu, "WARM_UP", 2)
    for name, small in (("WARM_UP", 1), ("NET", Size(64, 64)), ("CELLS", Size(16, 16))):
        monkeypatch.setattr(gpu_masks, name, small)
    return lambda **world: fake_machine(tmp_path / "machine", monkeypatch, World(**world))


def result(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--frame", "64x48", *words])
    gpu.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_engine_on_a_graphics_card(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Nets(tmp_path).semantic()
    with machine() as card:
        card.build(zoo.find(str(model)))
        found = result(monkeypatch, capsys, str(model), "--count", "20", "--out", str(tmp_path / "gpu.json"))
        assert found["machine"]["gpu"] == card.world.gpu_name
    assert {"with graph", "without graph"} <= set(found["frame"])
    assert found["gpu_parts"]["network"]["p50_ms"] >= 0
    assert found["conditions"]["throttled"] in (None, [])
    assert json.loads((tmp_path / "gpu.json").read_text()) == found


def test_the_parts_of_a_frame_on_a_jetson(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with machine(is_integrated=True, compute_capability=(8, 7), gpu_name="Orin"):
        found = result(monkeypatch, capsys, "--backend", "none", "--count", "3")
    assert found["zero copy"] is True
    assert {format: way["zero copy"] for format, way in found["raw"].items()} == dict.fromkeys(("bgrx", "nv12", "i420"), True)
    assert found["kernel"]["p50_ms"] >= 0
    assert found["with copies"]["zero copy"] is False
    assert set(found["masks"]["parts on the GPU"]) == {"upload", "kernels", "download"}
    assert (found["masks"]["objects"], found["masks"]["pixels that differ"]) == (30, 0)
