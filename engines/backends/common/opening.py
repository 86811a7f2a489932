"""What backends share to open an engine: a model of another size, ONNX Runtime's module, and its errors in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailableError
from engines.loading import import_onnxruntime
from engines.models.model import Model
from engines.models.sizing import sized_copy
from engines.types import Size


@contextmanager
def at_size(model: Model, size: Size | None) -> Iterator[Model]:
    """The model with an input of `size`; None: its own. Its file is there until the context ends.

    Raises ModelFileError or CardError where the network cannot have that size.
    """
    if size is None or size == model.card.input.size:
        yield model
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a runtime may hold on to the file
        yield sized_copy(model, size, Path(folder))


def load_onnxruntime(package: str) -> Any:
    """ONNX Runtime's module. `package`: what brings it. Raises BackendUnavailableError where it does not load."""
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise BackendUnavailableError(f"ONNX Runtime is not installed ({error})", f"Install it: pip install {package}") from error


def one_line(error: Exception) -> str:
    """One line, and of a long one its end: it begins with paths and ends with the reason."""
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"...{line[-200:]}"
