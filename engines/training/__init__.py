"""Training of models on labelled images: `run.py train`, `teach` and `export CHECKPOINT`.

Only this package imports torch, which the extra `train` installs: `pip install -e ".[train]"`. Only those commands import it.
"""

import importlib

from engines.errors import EngineError

PACKAGES = {"torch": "PyTorch", "matplotlib": "Matplotlib"}


class TrainingError(EngineError, ValueError):
    """A recipe, a checkpoint or a setting of a run cannot be used. (Data sets raise DataError.)"""


def require_training() -> None:
    """Raise TrainingError unless the packages of the extra `train` can be imported."""
    for module, title in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise TrainingError(f"{title} is not installed ({error})", "Install it: pip install -e '.[train]'") from error
