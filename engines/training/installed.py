"""Whether what training stands on is installed. Imports none of it, so that it can say so."""

from __future__ import annotations

import importlib

from engines.training.errors import TrainingError

PACKAGES = {"torch": "PyTorch", "matplotlib": "Matplotlib"}


def require_training() -> None:
    """Raises TrainingError, with the line that installs them, unless the packages of the extra `train` can be imported."""
    for module, title in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise TrainingError(f"{title} is not installed ({error}): pip install -e '.[train]'") from error
