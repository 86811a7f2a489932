"""One setting at a time, with and without: what it does to a small net that has few labelled frames.

    python benchmarks/ablations.py SETS [--seeds 3] [--steps 240] [--out benchmarks/results/ablations.json]

SETS is the folder of camvid/ and idd-lite/. Each row is the recipe `binary`, overridden by COMMON and the settings of the row, as
with `run.py train --set KEY=VALUE`; one thread. It trains on TRAINED frames of two clips, and is scored on SCORED frames of
another, at dusk. A difference counts only where the runs of a row and of the base do not overlap: the seeds change the initial
weights and all crops. Results are written after every run, and runs that have results are not repeated.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TQDM_DISABLE", "1")

import cv2
import numpy as np
import torch

from engines.datasets.folder import images_in
from engines.datasets.image_files import read_label
from engines.files import write_whole
from engines.training.deployed import score_set, torch_predictor
from engines.training.opening import changed, open_run, read_recipe
from engines.training.recipe import recipe_to_dict
from engines.training.train import train
from engines.types import VOID_CLASS
from realtime.bench.machine import facts

CLASSES = ("sky", "building", "road", "tree", "car")
CAMVID_IDS = (0, 1, 3, 5, 8)
"""Their ids in camvid's labels; all others become void."""
IDD_LITE = """\
classes = ["drivable", "non-drivable", "living", "vehicle", "roadside", "far", "sky"]
[means]
drivable = ["road"]
vehicle = ["car"]
far = ["building", "tree"]
non-drivable = []
living = []
roadside = []
"""
TRAINED, SCORED, BEFORE = 12, 20, 200
"""Frames of camvid to train on and to score on, and frames of idd-lite for the row of transfer; evenly spread."""
DUSK = "0001TP"

COMMON: Mapping[str, Any] = {
    "classes": list(CLASSES),
    "fit": "stretch",
    "input_px": [256, 192],
    "net.channels": [24, 64, 224, 448],
    "net.width": 0.5,
    "augmentation.crop_px": [128, 96],
    "schedule.batch": 4,
    "schedule.learning_rate": 3e-3,
    "schedule.warm_up_steps": 20,
}
GEOMETRY: Mapping[str, Any] = {
    "augmentation.scale": [1, 1],
    "augmentation.aspect": [1, 1],
    "augmentation.rotate_deg": 0,
    "augmentation.flip": 0,
}
COLOUR: Mapping[str, Any] = {
    "augmentation.brightness": 0,
    "augmentation.contrast": 0,
    "augmentation.gamma": [1, 1],
    "augmentation.white_balance": 0,
    "augmentation.saturation": 0,
    "augmentation.hue_deg": 0,
}
BLUR_AND_NOISE: Mapping[str, Any] = {"augmentation.blur": 0, "augmentation.noise": 0}

ROWS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "no flip": {"augmentation.flip": 0},
    "no scale, aspect, rotation, flip": GEOMETRY,
    "no change of colour": COLOUR,
    "no augmentation but the crop": {**GEOMETRY, **COLOUR, **BLUR_AND_NOISE},
    "no dropout": {"net.dropout": 0.0},
    "weight decay of 0.5": {"schedule.weight_decay": 0.5},
    "L1 of 1e-5": {"schedule.l1": 1e-5},
    "no EMA": {"schedule.ema": 0.0},
    "twice the width": {"net.width": 1.0},
    "silu": {"net.activation": "silu"},
    "transfer from idd-lite": {},
}
TRANSFERRED = "transfer from idd-lite"
"""The row whose runs start with the weights of a net that was trained on another set with other classes."""

CURVES, POINTS = ("base", "no augmentation but the crop"), 15
"""Rows whose first run is scored this many times, to show over-fitting."""


def evenly(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of `paths`, evenly spread."""
    return [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]


def make_set(folder: Path, images: Sequence[Path], facts: str, ids: Sequence[int] = ()) -> Path:
    """A set of some images of another set. ids: the labels to keep, as 0, 1 ...; () keeps all unchanged."""
    table = np.full(256, VOID_CLASS, np.uint8)
    table[list(ids)] = np.arange(len(ids))
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for image in images:
        shutil.copy(image, folder / "images" / image.name)
        label = read_label(image.parents[1] / "labels" / f"{image.stem}.png")
        cv2.imwrite(str(folder / "labels" / f"{image.stem}.png"), table[label] if ids else label)
    (folder / "dataset.toml").write_text(facts, encoding="utf-8")
    return folder


def make_sets(sets: Path, folder: Path) -> tuple[Path, Path]:
    """Both sets of this benchmark in `folder`: a few frames of camvid, and more of idd-lite."""
    camvid = images_in(sets / "camvid")
    chosen = evenly([path for path in camvid if not path.stem.startswith(DUSK)], TRAINED)
    chosen += evenly([path for path in camvid if path.stem.startswith(DUSK)], SCORED)
    few = f'classes = {json.dumps(CLASSES)}\nhold_out = ["{DUSK}_*"]\n'
    before = evenly(images_in(sets / "idd-lite"), BEFORE)
    return make_set(folder / "few", chosen, few, CAMVID_IDS), make_set(folder / "before", before, IDD_LITE)


def learn(data: Path, changes: Mapping[str, Any], out: Path, start_from: Path | None = None) -> dict[str, Any]:
    """Train once. Returns mIoU on held-out and on training images, the curve of both losses, and the CPU time."""
    recipe, sets = open_run(changed(read_recipe("binary"), changes), [data])
    began_s = time.process_time()
    state = train(recipe, sets, out, start_from=start_from)
    spent_s = time.process_time() - began_s
    if state.step < recipe.schedule.steps:
        sys.exit("stopped; run the same command to continue")
    seen = score_set(torch_predictor(state.net()), sets[0], recipe, sets[0].training)
    return {
        "held_out_miou": state.curve[-1].get("miou", 0.0),  # 0 without held-out images
        "trained_on_miou": round(seen.miou, 3),
        "loss": round(state.loss, 4),
        "cpu_s": round(spent_s, 2),
        "curve": [{key: row[key] for key in ("step", "loss", "held_out_loss") if key in row} for row in state.curve],
    }


def summary(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians, the lowest and highest of the held-out figures, and whether all are above or below the base's."""
    held_out = {name: [run["held_out_miou"] for run in runs] for name, runs in rows.items()}
    base = held_out["base"]
    return {
        name: {
            "held_out_miou": round(statistics.median(values), 1),
            "lowest": round(min(values), 1),
            "highest": round(max(values), 1),
            "trained_on_miou": round(statistics.median(run["trained_on_miou"] for run in rows[name]), 1),
            "cpu_s": round(statistics.median(run["cpu_s"] for run in rows[name]), 1),
            "beyond_the_spread": max(values) < min(base) or min(values) > max(base),
        }
        for name, values in held_out.items()
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A summary in Markdown, as docs/how-it-works.md shows it."""
    lines = ["| | held out: median | lowest to highest | trained on | |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        verdict = "**differs**" if row["beyond_the_spread"] else ""
        figures = f"{row['held_out_miou']:.1f} | {row['lowest']:.1f} to {row['highest']:.1f} | {row['trained_on_miou']:.1f}"
        lines.append(f"| {name} | {figures} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="one setting at a time, with and without")
    parser.add_argument("sets", type=Path, help="folder of camvid/ and idd-lite/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ablations.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    common = {**COMMON, "schedule.steps": options.steps, "schedule.evaluate_every": options.steps}
    # The whole recipe: results of another base do not belong into this table.
    base = recipe_to_dict(changed(read_recipe("binary"), common))
    settings = {"recipe": base, "trained_on": TRAINED, "judged_on": SCORED, "transferred_from": BEFORE}
    rows: dict[str, list[dict[str, Any]]] = {}
    if options.out.is_file():
        written = json.loads(options.out.read_text(encoding="utf-8"))
        rows = written["runs"] if written["settings"] == json.loads(json.dumps(settings)) else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, before = make_sets(options.sets, folder)
        for seed in range(1, options.seeds + 1):
            for row in options.rows:
                runs = rows.setdefault(row, [])
                if len(runs) >= seed:
                    continue
                start_from = None
                if row == TRANSFERRED:
                    first = folder / f"first-{seed}"
                    learn(before, {**common, "schedule.seed": seed}, first)
                    start_from = first / "last.pt"
                changes = {**common, **ROWS[row], "schedule.seed": seed}
                if row in CURVES and seed == 1:
                    changes["schedule.evaluate_every"] = options.steps // POINTS
                runs.append(learn(few, changes, folder / f"{list(ROWS).index(row)}-{seed}", start_from))
                write(options.out, settings, rows)
    print(table(summary(rows)))


def write(path: Path, settings: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write all results so far."""
    machine = {**facts(), "torch": importlib.metadata.version("torch"), "threads": "1"}
    changes = {name: dict(ROWS[name]) for name in rows}
    results = {"machine": machine, "settings": settings, "changes": changes, "summary": summary(rows), "runs": rows}
    write_whole(path, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
