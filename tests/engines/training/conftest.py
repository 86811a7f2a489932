"""Small labelled sets, drawn on the fly: coloured shapes whose colour is their class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).parents[3].parent / "shared"
"""Third-party material beside the checkout; tests that read it are skipped where it is absent."""

BGR_OF_CLASS = np.array([(200, 160, 60), (90, 90, 90), (40, 60, 220)], np.uint8)
"""Sky, road, car."""


def draw_pair(folder: Path, name: str, seed: int, size_px: tuple[int, int] = (96, 64)) -> None:
    """Write images/`name`.png and labels/`name`.png: sky above road, one car, and a void strip at the bottom."""
    rng = np.random.default_rng(seed)
    width, height = size_px
    label = np.zeros((height, width), np.uint8)
    label[height // 2 :] = 1
    x, y = int(rng.integers(4, width - 40)), int(rng.integers(height // 2 - 8, height - 28))
    label[y : y + 20, x : x + 32] = 2
    image = BGR_OF_CLASS[label].astype(np.int16) + rng.integers(-12, 13, (height, width, 3))
    label[-2:] = 255
    for part, pixels in (("images", np.clip(image, 0, 255).astype(np.uint8)), ("labels", label)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / part / f"{name}.png"), pixels)


@pytest.fixture
def toy_set(tmp_path: Path) -> Path:
    """A set "toy" of eight images in the classes sky, road, car; those named `held_*` are meant to be held out."""
    for index in range(8):
        draw_pair(tmp_path / "toy", f"{'held' if index >= 6 else 'seen'}_{index}", index)
    return tmp_path / "toy"


@pytest.fixture
def toy_facts() -> Callable[..., dict[str, Any]]:
    """A recipe for a tiny net on the toy set, as it would stand in a TOML file; keyword arguments go into its schedule."""

    def facts(**schedule: Any) -> dict[str, Any]:
        return {
            "name": "toy",
            "classes": ["sky", "road", "car"],
            "input_px": [96, 64],
            "net": {"width": 0.25, "depths": [1, 1, 1]},
            "augmentation": {"crop_px": [96, 64]},
            "schedule": {"steps": 6, "batch": 2, "warm_up_steps": 2, "evaluate_every": 2, "bf16": False, **schedule},
            "sets": [{"name": "toy", "classes": ["sky", "road", "car"], "hold_out": ["held_*"]}],
            "card": {"things": ["car"], "licence": "none", "limits": 'knows three\ncolours and "nothing" else'},
        }

    return facts
