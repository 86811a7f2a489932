"""Small data sets, written for the test that needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest


def write_pair(folder: Path, stem: str, label: npt.NDArray[Any] | None, shade: int = 90, suffix: str = ".png") -> None:
    """An image of one shade, and its label; without one where it is None."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    size = (24, 32) if label is None else label.shape[:2]
    cv2.imwrite(str(folder / "images" / f"{stem}{suffix}"), np.full((*size, 3), shade, np.uint8))
    if label is not None:
        cv2.imwrite(str(folder / "labels" / f"{stem}.png"), label)


@pytest.fixture
def pair() -> Callable[..., None]:
    return write_pair


@pytest.fixture
def clean_set(tmp_path: Path) -> Path:
    """Two clips of four frames of different shades; the left half is class 0, the right class 1, the last column void."""
    folder = tmp_path / "halves"
    label = np.zeros((24, 32), np.uint8)
    label[:, 16:] = 1
    label[:, 31] = 255
    for number in range(8):
        write_pair(folder, f"clip{'ab'[number // 4]}_{number:03}", label, shade=20 * number + 20)
    return folder
