"""`run.py bench` on a real GPU: what its card must know there. Skips where no engine can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.bench.card import read_card
from realtime.bench.engine import obstacle
from realtime.cli import main
from realtime.process import jetson

from ..engines.conftest import Nets

pytestmark = pytest.mark.gpu

STREET = "synthetic://street?width=640&height=360&objects=5&seconds=1"


def test_the_card_is_of_the_gpu_and_knows_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = obstacle()
    if lacking is not None:
        pytest.skip(lacking.what)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    model = Nets(tmp_path).semantic()
    code = main(["bench", STREET, "--model", str(model), "--quick", "--repeats", "1", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    if code and "compute capability" in error:
        pytest.skip("TensorRT-RTX does not support this GPU")
    assert code == 0, error
    card = read_card(tmp_path / "out/card.json")
    assert card.model.backend == "trt"
    assert card.engine is not None
    assert card.engine.wall_s is not None
    conditions = card.conditions
    assert conditions is not None
    assert "GPU" in conditions.clocks, conditions.unreadable
    assert conditions.temperatures, conditions.unreadable
    assert conditions.throttled is not None, conditions.unreadable
    assert card.fixed is not None
    assert "power" in card.fixed.figures, card.fixed.unreadable
    if jetson.is_jetson():
        assert {"jetson linux", "power mode"} <= set(card.machine)
