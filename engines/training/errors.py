"""What can go wrong between a folder of labelled images and an exported model."""

from __future__ import annotations

from engines.errors import EngineError


class TrainingError(EngineError, ValueError):
    """A recipe or a checkpoint cannot be used as it is; the text names the file and the cure. (Data: `DataError`.)"""
