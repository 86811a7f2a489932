"""The benchmark of single settings: differences that count, and one run on a drawn set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from benchmarks import ablations
from engines.training.opening import changed, read_recipe


def runs(*held_out: float) -> list[dict[str, float]]:
    return [{"held_out_miou": value, "trained_on_miou": 50.0, "loss": 1.0, "cpu_s": 2.0} for value in held_out]


def test_a_difference_counts_only_where_no_run_overlaps() -> None:
    found = ablations.summary({"base": runs(20, 22, 21), "above": runs(22.5, 23, 29), "touching": runs(22, 25, 25)})
    assert {name: row["beyond_the_spread"] for name, row in found.items()} == {"base": False, "above": True, "touching": False}
    assert found["above"]["held_out_miou"] == 23
    assert "| above | 23.0 | 22.5 to 29.0 | 50.0 | **differs** |" in ablations.table(found)


@pytest.mark.parametrize("changes", [*ablations.ROWS.values()], ids=list(ablations.ROWS))
def test_every_row_is_a_recipe(changes: dict[str, Any]) -> None:
    recipe = changed(read_recipe("binary"), {**ablations.COMMON, **changes})
    assert recipe != changed(read_recipe("binary"), dict(ablations.COMMON)) or not changes


def test_a_run_returns_its_figures(tmp_path: Path) -> None:
    for index, name in enumerate(("0006R0_1", "0016E5_2", "0001TP_3", "0001TP_4")):
        pixels = np.random.default_rng(index).integers(0, 11, (48, 64), np.uint8)  # ids of camvid: most become void
        for part, picture in (("images", np.stack([pixels * 20] * 3, axis=-1)), ("labels", pixels)):
            (tmp_path / "camvid" / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "camvid" / part / f"{name}.png"), picture)
    camvid = [tmp_path / "camvid" / "images" / f"{stem}.png" for stem in ("0006R0_1", "0001TP_3")]
    facts = 'classes = ["sky", "building", "road", "tree", "car"]\nhold_out = ["0001TP_*"]\n'
    folder = ablations.make_set(tmp_path / "few", camvid, facts, ablations.CAMVID_IDS)
    label = cv2.imread(str(folder / "labels" / "0006R0_1.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(label)) == {0, 1, 2, 3, 4, 255}
    changes = {**ablations.COMMON, "schedule.steps": 2, "schedule.evaluate_every": 2, "schedule.batch": 1, "net.width": 0.25}
    figures = ablations.learn(folder, changes, tmp_path / "out")
    assert 0 <= figures["held_out_miou"] <= 100
    assert figures["loss"] > 0
    assert figures["cpu_s"] > 0
