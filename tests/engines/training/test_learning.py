# ruff: noqa: E402
"""Over-fitting to four pictures: every head learns its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import DataSet, Sample, open_set
from engines.training.checkpoint import Checkpoint
from engines.training.data import CELL_PX
from engines.training.deployed import Deployed, score_set, torch_predictor
from engines.training.recipe import recipe_from_dict
from engines.training.train import train
from engines.types import Size, scaled_labels

from .conftest import draw_street
from .test_augment import STILL

pytestmark = pytest.mark.slow

Facts = Callable[..., dict[str, Any]]


class Learned(NamedTuple):
    data_set: DataSet
    checkpoint: Checkpoint


@pytest.fixture
def learned(street_facts: Facts, tmp_path: Path) -> Learned:
    for seed in range(4):
        draw_street(tmp_path / "toy", f"seen_{seed}", seed)
    facts = street_facts(steps=120, batch=4, warm_up_steps=5, evaluate_every=120, learning_rate=1e-2, ema=0.9)
    facts["sets"][0].pop("hold_out")
    facts |= {"net": {**facts["net"], "dropout": 0.0}, "task_weights": {"surface": 0.5, "centre": 0.5, "offset": 2.0}}
    recipe = msgspec.structs.replace(recipe_from_dict(facts, "street"), augmentation=STILL)
    data_set = open_set(tmp_path / "toy", recipe.sets[0])
    return Learned(data_set, train(recipe, [data_set], tmp_path / "run"))


def test_classes_surface_and_objects_are_learned_together(learned: Learned) -> None:
    net = learned.checkpoint.net()
    score = score_set(torch_predictor(net), learned.data_set, learned.checkpoint.recipe, learned.data_set.training)
    assert score.miou > 90, score
    deployed = Deployed(net).eval()
    errors = []
    for sample in learned.data_set.training:
        with torch.inference_mode():
            answers = deployed(torch.from_numpy(sample.image)[None])
        named = dict(zip(deployed.output_names, (answer[0].numpy() for answer in answers), strict=True))
        assert surface_iou(named["surface"], sample).min() > 0.5
        errors.append(offset_errors(named["offsets"], sample))
        found = named["peaks"][:2, :2]
        assert named["peaks"][2, 2] < 0.5 * named["peaks"][1, 2], "two cars, and no third"
        for centre in centres(sample):
            assert np.abs(found - centre).max(axis=1).min() <= 1.5 * CELL_PX, (found, centre)
    assert np.mean(errors) < 3, "pixels; a car's cells are 6.5 px from its centre on average"


def centres(sample: Sample) -> list[np.ndarray]:
    """x, y of both cars' centres."""
    assert sample.instances is not None
    return [np.argwhere(sample.instances == number)[:, ::-1].mean(axis=0) + 0.5 for number in (1, 2)]


def offset_errors(offsets: np.ndarray, sample: Sample) -> float:
    """Mean distance in pixels, per axis, of the predicted centres of a car's cells from its centre."""
    assert sample.instances is not None
    cells = sample.instances[CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    errors = []
    for number, centre in enumerate(centres(sample), 1):
        rows, columns = np.nonzero(cells == number)
        predicted = (np.stack((columns, rows)) + 0.5) * CELL_PX + offsets[:, rows, columns]
        errors.append(np.abs(predicted - centre[:, None]).mean())
    return float(np.mean(errors))


def surface_iou(found: np.ndarray, sample: Sample) -> np.ndarray:
    """Of nothing, drivable and lane line."""
    assert sample.surface is not None
    found = scaled_labels(found, Size.of(sample.label))
    known = sample.label != 255
    truth = np.select([sample.surface == 3, sample.surface == 1], [2, 1], 0)
    classes = range(3)
    both = [(known & (found == c) & (truth == c)).sum() / (known & ((found == c) | (truth == c))).sum() for c in classes]
    return np.array(both)
