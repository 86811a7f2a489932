# ruff: noqa: E402
"""`run.py train` in its own process: killed or interrupted, it continues as if it had not been."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import open_set
from engines.training.checkpoint import RunFolder, load_checkpoint
from engines.training.recipe import recipe_from_dict
from engines.training.train import train
from realtime.cli import main

from .conftest import toml_of

pytestmark = pytest.mark.slow

Facts = Callable[..., dict[str, Any]]
ROOT = Path(__file__).parents[3]
STEPS = 24


def arguments(facts: dict[str, Any], data: Path, out: Path) -> list[str]:
    recipe = out.with_suffix(".toml")
    recipe.write_text(toml_of(facts))
    return ["train", "--recipe", str(recipe), "--data", str(data), "--out", str(out), "--threads", "1"]


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """run.py in its own process, which does not outlive the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "run.py", *command], cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 50) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, "ended early"
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["kill", "hang-up"])
def test_an_interrupted_run_ends_like_one_without_interruption(
    how: str, toy_set: Path, street_facts: Facts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Curve and weights of every head are equal bit by bit."""
    facts = street_facts(steps=STEPS, evaluate_every=8)
    command, broken = arguments(facts, toy_set, tmp_path / "broken"), RunFolder(tmp_path / "broken")
    with started(command) as process:
        wait_until(broken.last.exists, process)
        if how == "kill":
            process.kill()
        else:
            process.send_signal(signal.SIGHUP)
            output, _ = process.communicate(timeout=30)
            assert process.returncode == 129
            assert "--resume goes on" in output
    at = load_checkpoint(broken.last).step
    assert 0 < at < STEPS
    if how == "hang-up":
        assert f"after step {at} of {STEPS}" in output

    assert main([*command, "--resume"]) == 0
    assert "try it   run.py view" in capsys.readouterr().out
    recipe = recipe_from_dict(facts, "street")
    train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "whole")
    whole = RunFolder(tmp_path / "whole")
    assert broken.curve.read_bytes() == whole.curve.read_bytes()
    expected, actual = load_checkpoint(whole.last), load_checkpoint(broken.last)
    assert expected.step == actual.step == STEPS
    for name, value in expected.ema.items():
        assert torch.equal(value, actual.ema[name]), name
        assert torch.equal(expected.weights[name], actual.weights[name]), name


def test_the_curve_grows_during_the_run(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    """As a table and as a picture, which are whole at all times."""
    folder = RunFolder(tmp_path / "run")

    def rows() -> int:
        with folder.curve.open() as file:
            found = list(csv.DictReader(file))
        assert all(None not in row.values() for row in found)
        return len(found)

    with started(arguments(toy_facts(steps=100_000, evaluate_every=3), toy_set, folder.path)) as process:
        wait_until(folder.picture.exists, process)
        first, size = rows(), folder.picture.stat().st_size
        assert first >= 1
        assert cv2.imread(str(folder.picture)) is not None
        wait_until(lambda: rows() > first and folder.picture.stat().st_size != size, process)
        assert cv2.imread(str(folder.picture)) is not None
