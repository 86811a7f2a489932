"""Small drawn sets: shapes whose colour is their class; and recipes for nets that learn them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

BGR_OF_CLASS = np.array([(200, 160, 60), (90, 90, 90), (40, 60, 220)], np.uint8)
"""Sky, road, car."""
LINE_BGR = (235, 235, 235)
CAR_PX = (32, 20)


def draw_street(folder: Path, name: str, seed: int, size_px: tuple[int, int] = (96, 64)) -> None:
    """Write `name`.png into images/, labels/, lane/ and inst/: sky above a road with a lane line, two cars, void below."""
    rng = np.random.default_rng(seed)
    width, height = size_px
    label, surface, instances = (np.zeros((height, width), np.uint8) for _ in range(3))
    label[height // 2 :] = 1
    surface[height // 2 :] = 1
    image = BGR_OF_CLASS[label].copy()
    line = (slice(height // 2, None), slice(width // 2 - 3, width // 2 + 3))
    surface[line], image[line] = 3, LINE_BGR
    car_width, car_height = CAR_PX
    for number, (low, high) in enumerate(((4, width // 2 - car_width - 4), (width // 2 + 4, width - car_width - 4)), 1):
        x, y = int(rng.integers(low, high + 1)), int(rng.integers(height // 2 - 6, height - car_height - 6))
        car = (slice(y, y + car_height), slice(x, x + car_width))
        label[car], surface[car], instances[car], image[car] = 2, 0, number, BGR_OF_CLASS[2]
    label[-2:] = 255
    noisy = np.clip(image.astype(np.int16) + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
    for part, pixels in (("images", noisy), ("labels", label), ("lane", surface), ("inst", instances)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / part / f"{name}.png"), pixels)


def toml_of(facts: Mapping[str, Any]) -> str:
    """A recipe as TOML: one key per line, tables in braces."""
    return "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in facts.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in a fixed order, so that two runs can be compared bit by bit; and other work shares the cores."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)


@pytest.fixture
def toy_set(tmp_path: Path) -> Path:
    """A set "toy" of eight images in the classes sky, road, car; `held_*` are for holding out."""
    for index in range(8):
        draw_street(tmp_path / "toy", f"{'held' if index >= 6 else 'seen'}_{index}", index)
    return tmp_path / "toy"


@pytest.fixture
def toy_facts() -> Callable[..., dict[str, Any]]:
    """A recipe for a tiny net on the toy set, as in a TOML file; keyword arguments go into its schedule."""

    def facts(**schedule: Any) -> dict[str, Any]:
        return {
            "name": "toy",
            "classes": ["sky", "road", "car"],
            "things": ["car"],
            "input_px": [96, 64],
            "net": {"width": 0.25, "depths": [1, 1, 1]},
            "augmentation": {"crop_px": [96, 64]},
            "schedule": {"steps": 6, "batch": 2, "warm_up_steps": 2, "evaluate_every": 2, "mixed_precision": False, **schedule},
            "sets": [{"name": "toy", "classes": ["sky", "road", "car"], "hold_out": ["held_*"]}],
            "card": {"licence": "none", "limits": 'knows three\ncolours and "nothing" else'},
        }

    return facts


@pytest.fixture
def street_facts(toy_facts: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same with every head: classes, surface, objects."""

    def facts(**schedule: Any) -> dict[str, Any]:
        made = toy_facts(**schedule)
        sets = [{**made["sets"][0], "surface": "lane", "instances": "inst"}]
        return {**made, "name": "street", "heads": ["surface", "instances"], "sets": sets}

    return facts
