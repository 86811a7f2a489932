"""What can go wrong between a Keras file and a model of this program."""

from __future__ import annotations

from engines.errors import EngineError


class KerasImportError(EngineError, ValueError):
    """A Keras model cannot be read, or not be translated; the text names the file or layer and the cure."""
