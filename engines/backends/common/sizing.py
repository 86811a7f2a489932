"""A model with another input size, made when it is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.models.model import Model
from engines.onnx_graph.sizing import sized_copy
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
