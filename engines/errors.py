"""What can go wrong on the way from an image to a segmentation.

SegmentationError                 everything this project raises on purpose; one line, with the cure
└── EngineError                   anything in this package
    ├── ModelNotFoundError        no model has that name, no file has that path (also a LookupError)
    ├── ModelFileError            the ONNX file is corrupt, or is not the file its card describes (also a ValueError)
    ├── CardError                 card.toml lacks a fact, or contradicts the network (also a ValueError)
    ├── BackendUnavailableError   the runtime is not installed, or cannot run this model here
    └── InferenceError            the network ran and failed, or its outputs make no sense
"""


class SegmentationError(Exception):
    """Base of every error this project raises on purpose. Its text is one line that names the cure."""


class EngineError(SegmentationError):
    """Base of the errors raised by `engines`."""


class ModelNotFoundError(EngineError, LookupError):
    """No model has that name and no file has that path."""


class ModelFileError(EngineError, ValueError):
    """The ONNX file cannot be read, or is not the file that its card describes."""


class CardError(EngineError, ValueError):
    """A model card lacks a fact, or contradicts the network it describes."""


class BackendUnavailableError(EngineError):
    """The runtime is missing here, or refuses this model."""


class InferenceError(EngineError):
    """The network failed while running, or its outputs make no sense."""
