"""Keras on PyTorch, where both are installed; small models, saved as a user saves them."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def keras() -> Any:
    """The module; without it or its backend the test is skipped."""
    missing = [name for name in ("keras", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: pip install -e '.[keras]'")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras and PyTorch warn about each other
        import keras
    return keras


@pytest.fixture
def layers(keras: Any) -> Iterator[Any]:
    """`keras.layers`, with kernels from the same seed; Keras' warnings about its backend are silenced."""
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield keras.layers


@pytest.fixture
def save(keras: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes a model with random biases and statistics: untrained ones are zeros and ones, which prove little."""

    def save(model: Any, name: str = "model.keras") -> Path:
        _stir(model, np.random.default_rng(0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(tmp_path / name)
        return tmp_path / name

    return save


def _stir(layer: Any, rng: np.random.Generator) -> None:
    inner = getattr(layer, "layers", None)
    if inner is not None:
        for each in inner:
            _stir(each, rng)
        return
    weights = layer.get_weights()
    layer.set_weights([weight + rng.uniform(-0.1, 0.1, weight.shape) if weight.ndim == 1 else 2 * weight for weight in weights])
