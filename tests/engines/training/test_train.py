# ruff: noqa: E402
"""The training loop on tiny nets: the files it writes, and runs that it refuses or that fail."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import DataSet, Sample, open_set
from engines.training import TrainingError
from engines.training.checkpoint import Checkpoint, RunFolder, load_checkpoint
from engines.training.data import TrainingSets, batch_at
from engines.training.model import SegmentationNet
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.train import Stepper, learning_rate, make_optimizer, train

pytestmark = pytest.mark.slow

Facts = Callable[..., dict[str, Any]]


def run(recipe: Recipe, data: Path, folder: Path, **options: Any) -> RunFolder:
    train(recipe, [open_set(data, recipe.sets[0])], folder, **options)
    return RunFolder(folder)


def rows(folder: RunFolder) -> list[dict[str, str]]:
    with folder.curve.open() as file:
        return list(csv.DictReader(file))


def test_the_learning_rate_rises_and_then_falls_to_0(toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(steps=100, warm_up_steps=10, learning_rate=1.0), "toy")
    rates = [learning_rate(step, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) == 9
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[100] == 0


def test_norms_and_biases_are_not_decayed(toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(weight_decay=0.3), "toy")
    net = SegmentationNet(recipe.net, 3, ("surface", "instances"))
    decayed, spared = make_optimizer(net, recipe).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0)
    assert {p.ndim for p in decayed["params"]} == {4}
    assert {p.ndim for p in spared["params"]} == {1}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(net.parameters()))


def test_curve_has_one_row_per_evaluation_and_best_is_no_worse_than_last(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    done = run(recipe_from_dict(toy_facts(), "toy"), toy_set, tmp_path / "run")
    found = rows(done)
    assert [int(row["step"]) for row in found] == [2, 4, 6]
    assert set(found[0]) == {"step", "loss", "held_out_loss", "learning_rate", "miou", "miou_toy"}
    assert all(np.isfinite(float(value)) for row in found for value in row.values())
    best = load_checkpoint(done.best).curve[-1]["miou"]
    assert best == max(float(row["miou"]) for row in found)
    picture = cv2.imread(str(done.picture))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3, "lines of several colours"
    assert sorted(path.name for path in done.path.iterdir()) == ["best.pt", "curve.csv", "curve.png", "last.pt"]


def test_mean_of_several_sets_decides_which_is_best(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=2), "toy")
    data_set = open_set(toy_set, recipe.sets[0])
    other = DataSet(msgspec.structs.replace(data_set.settings, name="other"), data_set.training, data_set.held_out[:1])
    train(recipe, [data_set, other], tmp_path / "run")
    (row,) = rows(RunFolder(tmp_path / "run"))
    assert float(row["miou"]) == pytest.approx((float(row["miou_toy"]) + float(row["miou_other"])) / 2, abs=1e-3)


def test_without_held_out_images_there_is_no_best_checkpoint(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts() | {"sets": [{"name": "toy", "classes": ["sky", "road", "car"]}]}, "toy")
    done = run(recipe, toy_set, tmp_path / "run")
    assert not done.best.exists()
    assert set(rows(done)[0]) == {"step", "loss", "learning_rate"}
    assert done.picture.is_file()
    assert load_checkpoint(done.last).step == 6


def test_fresh_run_does_not_overwrite_another(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=1), "toy")
    run(recipe, toy_set, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"contains a run already\. Add --resume"):
        run(recipe, toy_set, tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_named(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file/run: cannot be made .*\. Name another folder with --out"):
        run(recipe_from_dict(toy_facts(), "toy"), toy_set, tmp_path / "file" / "run")


def test_resuming_with_another_recipe_is_refused(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    run(recipe_from_dict(toy_facts(steps=1), "toy"), toy_set, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"trained with schedule\.batch = 2, and now it is 3\. Restore that setting, or"):
        run(recipe_from_dict(toy_facts(steps=1, batch=3), "toy"), toy_set, tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match=r"nothing/last\.pt: no such checkpoint, so .* Leave out --resume"):
        run(recipe_from_dict(toy_facts(steps=2), "toy"), toy_set, tmp_path / "nothing", resume=True)


class Interrupting(tuple[Sample, ...]):
    """Samples of which drawing number `at` does something else first. A batch of the toy recipe draws two."""

    action: Callable[[], None]
    at: int
    drawn: int = 0

    def __getitem__(self, index: Any) -> Any:
        self.drawn += 1
        if self.drawn == self.at:
            self.action()
        return super().__getitem__(index)


def interrupting(data_set: DataSet, action: Callable[[], None], at: int) -> DataSet:
    samples = Interrupting(data_set.training)
    samples.action, samples.at = action, at
    return dataclasses.replace(data_set, training=samples)


def cut_power() -> None:
    raise RuntimeError("power cut")


def test_a_power_cut_between_two_evaluations_costs_minutes_not_hours(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    """A step that ends later than `save_every_s` after the last save is saved, and the curve stays the same."""
    recipe = recipe_from_dict(toy_facts(steps=6, evaluate_every=100), "toy")
    whole = run(recipe, toy_set, tmp_path / "whole")
    cut = RunFolder(tmp_path / "cut")
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, [interrupting(open_set(toy_set, recipe.sets[0]), cut_power, at=9)], cut.path, save_every_s=0.0)
    assert load_checkpoint(cut.last).step == 4
    run(recipe, toy_set, cut.path, resume=True)
    assert cut.curve.read_bytes() == whole.curve.read_bytes()


def test_a_run_may_be_made_longer_but_not_shorter_than_it_is(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    run(recipe_from_dict(toy_facts(steps=2), "toy"), toy_set, tmp_path / "run")
    longer = run(recipe_from_dict(toy_facts(steps=4), "toy"), toy_set, tmp_path / "run", resume=True)
    after = load_checkpoint(longer.last)
    assert (after.step, after.recipe.schedule.steps, [row["step"] for row in after.curve]) == (4, 4, [2, 4])
    with pytest.raises(TrainingError, match=r"has 4 steps already, and schedule\.steps is 3\. Set schedule\.steps to more"):
        run(recipe_from_dict(toy_facts(steps=3), "toy"), toy_set, tmp_path / "run", resume=True)


def test_the_card_may_change_during_a_run(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    run(recipe_from_dict(toy_facts(steps=1), "toy"), toy_set, tmp_path / "run")
    again = recipe_from_dict(toy_facts(steps=1) | {"card": {"limits": "other words"}, "name": "renamed"}, "toy")
    state = train(again, [open_set(toy_set, again.sets[0])], tmp_path / "run", resume=True)
    assert state.step == 1


def test_a_loss_that_is_not_finite_ends_the_run_with_the_cure(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts(steps=40, learning_rate=1e30, warm_up_steps=0, gradient_clip=1e30), "toy")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf)\. Lower schedule.learning_rate"):
        run(recipe, toy_set, tmp_path / "run")


class FullMemory(SegmentationNet):
    """As on a GPU whose memory is too small: that fails in the forward pass."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_running_out_of_memory_names_the_cure(toy_set: Path, toy_facts: Facts) -> None:
    recipe = recipe_from_dict(toy_facts(), "toy")
    data = TrainingSets(recipe, (open_set(toy_set, recipe.sets[0]),))
    step = Stepper(FullMemory(recipe.net, 3), recipe, [])
    with pytest.raises(TrainingError, match=r"step 0: out of GPU memory\. Lower schedule\.batch or augmentation\.crop_px"):
        step(batch_at(0, data), 0)


def test_l1_makes_weights_smaller(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    def convolutions(l1: float) -> float:
        recipe = recipe_from_dict(toy_facts(steps=6, evaluate_every=6, l1=l1, weight_decay=0.0), "toy")
        state = train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / f"run{l1}")
        return sum(float(value.abs().sum()) for value in state.weights.values() if value.ndim > 1)

    assert convolutions(0.01) < 0.99 * convolutions(0.0)


def test_composites_without_their_set_are_refused_before_the_first_step(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    recipe = recipe_from_dict(toy_facts() | {"composites": {"source": "people", "class": "car"}}, "toy")
    with pytest.raises(TrainingError, match=r'pastes objects of the set "people"\. Add --data PATH/people'):
        run(recipe, toy_set, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_half_precision_trains_too(toy_set: Path, street_facts: Facts, tmp_path: Path) -> None:
    """As on a processor with bf16: the forward pass in bfloat16, the loss and the weights in float32."""
    recipe = recipe_from_dict(street_facts(steps=2, mixed_precision=True), "street")
    half = train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "half", half=torch.bfloat16)
    assert {value.dtype for value in half.weights.values() if value.is_floating_point()} == {torch.float32}
    whole = recipe_from_dict(street_facts(steps=2, mixed_precision=False), "street")
    full = train(whole, [open_set(toy_set, whole.sets[0])], tmp_path / "full")
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.05)


def test_the_scale_of_fp16_gradients_survives_an_interruption(toy_set: Path, toy_facts: Facts, tmp_path: Path) -> None:
    """It depends on the steps since the last overflow, so it must not start from scratch. It is stopped during the first step."""
    recipe = recipe_from_dict(toy_facts(steps=4, evaluate_every=4, mixed_precision=True), "toy")
    data_set = open_set(toy_set, recipe.sets[0])
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    train(recipe, [data_set], whole.path, half=torch.float16)
    asked: list[bool] = []
    stopped = interrupting(data_set, lambda: asked.append(True), at=1)
    requests = nullcontext(lambda: bool(asked))
    assert train(recipe, [stopped], broken.path, half=torch.float16, stop_requests=requests).step == 1
    train(recipe, [data_set], broken.path, resume=True, half=torch.float16)
    expected, actual = load_checkpoint(whole.last), load_checkpoint(broken.last)
    assert actual.scaler == expected.scaler
    assert expected.scaler["_growth_tracker"] == 4, "the number of steps without an overflow"
    assert all(torch.equal(value, actual.weights[name]) for name, value in expected.weights.items())


@pytest.mark.gpu
def test_training_on_a_gpu_gives_a_similar_loss(toy_set: Path, street_facts: Facts, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    recipe = recipe_from_dict(street_facts(steps=3, evaluate_every=3, mixed_precision=True), "street")
    states: list[Checkpoint] = []
    for name in ("cpu", "cuda"):
        train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / name, device=torch.device(name))
        states.append(load_checkpoint(tmp_path / name / "last.pt"))
    on_cpu, on_gpu = states
    assert {name: value.shape for name, value in on_gpu.ema.items()} == {name: value.shape for name, value in on_cpu.ema.items()}
    assert {value.device.type for value in on_gpu.ema.values()} == {"cpu"}, "a checkpoint can be read without a GPU"
    assert on_gpu.step == 3
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=0.1)
    resumed = train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "cuda", resume=True, device=torch.device("cuda"))
    assert resumed.step == 3
