"""The loop on tiny nets: it learns, it can be interrupted anywhere, and what it leaves behind describes itself."""

from __future__ import annotations

import csv
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.training.cards import to_toml  # noqa: E402
from engines.training.checkpoint import load_checkpoint  # noqa: E402
from engines.training.cli import main  # noqa: E402
from engines.training.data import open_set  # noqa: E402
from engines.training.deployed import torch_predictor  # noqa: E402
from engines.training.errors import TrainingError  # noqa: E402
from engines.training.evaluate import score_set  # noqa: E402
from engines.training.losses import set_loss  # noqa: E402
from engines.training.model import RoadNet, normalised, parameter_count  # noqa: E402
from engines.training.rebalance import rebalance  # noqa: E402
from engines.training.recipe import NetSettings, Recipe, recipe_from_dict  # noqa: E402
from engines.training.train import RunFolder, learning_rate, train  # noqa: E402

pytestmark = pytest.mark.slow

Facts = Callable[..., dict[str, Any]]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in one order, so that two runs can be compared bit by bit."""
    torch.set_num_threads(1)


def run(recipe: Recipe, data: Path, folder: Path, resume: bool = False) -> RunFolder:
    train(recipe, [open_set(data, recipe.sets[0])], folder, resume)
    return RunFolder(folder)


def test_net_of_the_default_settings_is_small_and_keeps_its_promise_of_size() -> None:
    net = RoadNet(NetSettings(), 11).eval()
    assert 0.8e6 < parameter_count(net) < 1.2e6
    with torch.inference_mode():
        assert net(normalised(torch.zeros(1, 96, 160, 3, dtype=torch.uint8))).shape == (1, 11, 24, 40)


@pytest.mark.parametrize("activation", ["leaky_relu", "hardswish", "silu"])
def test_activation_is_a_setting(activation: str) -> None:
    net = RoadNet(NetSettings(width=0.25, activation=activation), 3).eval()
    assert torch.isfinite(net(torch.zeros(1, 3, 64, 64))).all()


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(TrainingError, match=r'net.activation "rellu" is unknown; write one of relu'):
        RoadNet(NetSettings(activation="rellu"), 3)


def test_learning_rate_climbs_then_falls_to_nothing(toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(steps=100, warm_up_steps=10, learning_rate=1.0), "toy")
    rates = [learning_rate(step, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) == 9
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[100] == 0


def test_it_learns_three_coloured_classes(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=60, batch=4, evaluate_every=60, ema=0.9, learning_rate=5e-3), "toy")
    mild = msgspec.structs.replace(
        recipe.augmentation, brightness=0.05, contrast=0.1, gamma=(0.9, 1.1), hue_deg=0.0, saturation=0.1
    )
    recipe = msgspec.structs.replace(recipe, augmentation=mild)
    checkpoint = load_checkpoint(run(recipe, toy_set, tmp_path / "run").last)
    score = score_set(torch_predictor(checkpoint.net()), open_set(toy_set, recipe.sets[0]), recipe.classes, recipe.input_px)
    assert score.miou > 85, score


def test_killed_run_resumes_to_the_curve_and_weights_of_an_uninterrupted_one(
    toy_set: Path, toy_facts: Facts, tmp_path: Path
) -> None:
    facts = toy_facts(steps=120, evaluate_every=10)
    recipe = recipe_from_dict(facts, "toy")
    broken = RunFolder(tmp_path / "broken")
    with started(facts, toy_set, broken.path) as process:
        wait_until(broken.last.exists)
        process.kill()
    assert 0 < load_checkpoint(broken.last).step < 120

    resumed, whole = run(recipe, toy_set, broken.path, resume=True), run(recipe, toy_set, tmp_path / "whole")
    assert resumed.curve.read_bytes() == whole.curve.read_bytes()
    expected, actual = load_checkpoint(whole.last), load_checkpoint(resumed.last)
    assert expected.step == actual.step == 120
    for name, value in expected.ema.items():
        assert torch.equal(value, actual.ema[name]), name


def test_ctrl_c_saves_and_says_how_to_go_on(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    broken = RunFolder(tmp_path / "run")
    with started(toy_facts(steps=100_000, evaluate_every=20), toy_set, broken.path) as process:
        wait_until(broken.last.exists)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    step = load_checkpoint(broken.last).step
    assert f"stopped after step {step}; go on with --resume" in output.decode()


def started(facts: dict[str, Any], data: Path, out: Path) -> subprocess.Popen[bytes]:
    """The train command in a process of its own."""
    recipe = out.with_suffix(".toml")
    recipe.write_text(toml_of(facts))
    arguments = ["train", "--recipe", str(recipe), "--data", str(data), "--out", str(out), "--threads", "1"]
    command = [sys.executable, "-m", "engines.training", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def wait_until(condition: Callable[[], bool], timeout_s: float = 50) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def toml_of(facts: dict[str, Any]) -> str:
    tables = "".join(to_toml({"sets": entry}).replace("[sets]", "[[sets]]") for entry in facts["sets"])
    return to_toml({key: value for key, value in facts.items() if key != "sets"}) + tables


def test_curve_has_one_row_per_evaluation_and_best_is_no_worse_than_last(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    done = run(recipe_from_dict(toy_facts(), "toy"), toy_set, tmp_path / "run")
    with done.curve.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    best = load_checkpoint(done.best).curve[-1]["miou"]
    assert best == max(float(row["miou_toy"]) for row in rows)


def test_fresh_run_does_not_overwrite_another(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=1), "toy")
    run(recipe, toy_set, tmp_path / "run")
    with pytest.raises(TrainingError, match="holds a run already; add --resume"):
        run(recipe, toy_set, tmp_path / "run")


def test_resuming_with_another_recipe_is_refused(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    run(recipe_from_dict(toy_facts(steps=1), "toy"), toy_set, tmp_path / "run")
    with pytest.raises(TrainingError, match="trained with another recipe"):
        run(recipe_from_dict(toy_facts(steps=2), "toy"), toy_set, tmp_path / "run", resume=True)
    run(recipe_from_dict(toy_facts(steps=1) | {"card": {"limits": "other words"}}, "toy"), toy_set, tmp_path / "run", resume=True)


def test_loss_that_is_no_number_ends_the_run_with_the_cure(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=40, learning_rate=1e30, warm_up_steps=0, gradient_clip=1e30), "toy")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf); lower schedule.learning_rate"):
        run(recipe, toy_set, tmp_path / "run")


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint at all"])
def test_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"some\.pt: (no such|is no) checkpoint"):
        load_checkpoint(path)


def test_missing_and_unknown_sets_end_with_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "road", "--data", str(tmp_path / "camvid"), "--out", str(tmp_path / "run")]) == 2
    assert 'needs the set "idd-lite"; add --data' in capsys.readouterr().err
    assert main(["train", "--recipe", "road", "--data", str(tmp_path / "kitti"), "--out", str(tmp_path / "run")]) == 2
    assert 'has no set "kitti"; its sets are: camvid, idd-lite' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_can_begin_with_the_weights_of_another(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(), "test")
    first = run(recipe, toy_set, tmp_path / "first")
    sets = [open_set(toy_set, recipe.sets[0])]
    stopped = msgspec.structs.replace(recipe, schedule=msgspec.structs.replace(recipe.schedule, learning_rate=0.0))
    second = train(stopped, sets, tmp_path / "second", start_from=first.last)
    expected = load_checkpoint(first.last).ema
    # Nothing is learnt at rate 0, so the convolutions are those it began with (norm statistics go on counting).
    convolutions = [name for name, value in expected.items() if value.ndim > 1]
    assert convolutions
    for name in convolutions:
        assert torch.allclose(second.weights[name], expected[name])


def test_another_net_cannot_be_begun_with(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    first = run(recipe_from_dict(toy_facts(), "test"), toy_set, tmp_path / "first")
    other = recipe_from_dict({**toy_facts(), "net": {"width": 0.5, "depths": [1, 1, 1]}}, "test")
    with pytest.raises(TrainingError, match="another net"):
        train(other, [open_set(toy_set, other.sets[0])], tmp_path / "second", start_from=first.last)
    assert not (tmp_path / "second").exists()


def test_rebalancing_moves_the_logits_by_the_weights_and_nothing_else(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict({**toy_facts(), "emphasis": {"car": 3.0}}, "test")
    trained = run(recipe, toy_set, tmp_path / "run").last
    data_set = open_set(toy_set, recipe.sets[0])
    rebalance(trained, data_set, 0.5, tmp_path / "moved.pt")
    before, after = load_checkpoint(trained), load_checkpoint(tmp_path / "moved.pt")
    weights = set_loss(recipe.sets[0], data_set.pixel_shares(), recipe).weights
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        moved = (after.net()(images) - before.net()(images)).mean(dim=(0, 2, 3))
    assert weights[2] > weights[0]
    assert torch.allclose(moved, -0.5 * weights.log(), atol=1e-4)
    assert after.step == before.step


def test_rebalancing_wants_a_set_of_the_same_classes(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(), "test")
    trained = run(recipe, toy_set, tmp_path / "run").last
    data_set = open_set(toy_set, recipe.sets[0])
    other = dataclasses.replace(data_set, settings=msgspec.structs.replace(data_set.settings, classes=("a", "b")))
    with pytest.raises(TrainingError, match="has other classes than the model"):
        rebalance(trained, other, 0.5, tmp_path / "moved.pt")
    assert not (tmp_path / "moved.pt").exists()
