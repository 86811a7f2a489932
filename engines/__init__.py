"""Image in, `Segmentation` out: models, the runtimes that run them, and what their outputs mean.

The names below are what programs may rely on; each is imported when it is first used.
"""

TYPE_CHECKING = False  # as typing's, without importing it: a signal that comes first is not waited for
if TYPE_CHECKING:
    from engines.backends.common.options import EngineOptions as EngineOptions
    from engines.errors import BackendUnavailableError as BackendUnavailableError
    from engines.errors import InferenceError as InferenceError
    from engines.errors import SegmentationError as SegmentationError
    from engines.families import DecodeSettings as DecodeSettings
    from engines.models.card import ModelCard as ModelCard
    from engines.models.model import Model as Model
    from engines.models.model import load_model as load_model
    from engines.segmenter import Segmenter as Segmenter
    from engines.types import Instances as Instances
    from engines.types import Segmentation as Segmentation
    from engines.types import Size as Size

_HOMES = {
    "engines.backends.common.options": ("EngineOptions",),
    "engines.errors": ("BackendUnavailableError", "InferenceError", "SegmentationError"),
    "engines.families": ("DecodeSettings",),
    "engines.models.card": ("ModelCard",),
    "engines.models.model": ("Model", "load_model"),
    "engines.segmenter": ("Segmenter",),
    "engines.types": ("Instances", "Segmentation", "Size"),
}

__all__ = [name for names in _HOMES.values() for name in names]

if not TYPE_CHECKING:  # type checkers know the names above, and report all others

    def __getattr__(name):
        from engines.loading import lazy_name

        return lazy_name(__name__, _HOMES, name)
