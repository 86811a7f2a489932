"""Errors between a camera and a screen or a file.

SegmentationError (of engines.errors)
└── RealtimeError
    ├── SourceError ── SourceNotFoundError, SourceOpenError, SourceLostError
    └── SettingsError, SinkError, DisplayError, BenchError
"""

from engines.errors import SegmentationError


class RealtimeError(SegmentationError):
    """Base of the errors raised by `realtime`."""


class SettingsError(RealtimeError, ValueError):
    """An option, preset or knob has a value it cannot have."""


class SourceError(RealtimeError):
    """A source of frames cannot be used."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """No such file, folder, device or sample."""


class SourceOpenError(SourceError):
    """The source exists, but does not open: not a video, in use, refused, no answer."""


class SourceLostError(SourceError):
    """The source was open and failed."""


class SinkError(RealtimeError):
    """An output cannot be written."""


class DisplayError(RealtimeError):
    """A window cannot be opened on this machine."""


class BenchError(RealtimeError, ValueError):
    """A bench's card cannot be read, or two cards cannot be compared."""
