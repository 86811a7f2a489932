"""Errors between a camera and a screen or a file.

SegmentationError             (engines.errors) everything this project raises on purpose
└── RealtimeError             anything in this package
    ├── SettingsError         an option, preset or knob is wrong (also a ValueError)
    ├── SourceError           a source cannot be used
    │   ├── SourceNotFoundError   no such file, folder, device or sample (also a FileNotFoundError)
    │   ├── SourceOpenError       it exists, but does not open: not a video, in use, refused, no answer
    │   └── SourceLostError       it opened and then failed
    ├── SinkError             an output cannot be written
    ├── DisplayError          a window cannot be opened here
    └── BenchError            a bench's card cannot be read or compared (also a ValueError)
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
    """The source exists, but does not open."""


class SourceLostError(SourceError):
    """The source was open and failed."""


class SinkError(RealtimeError):
    """An output cannot be written."""


class DisplayError(RealtimeError):
    """A window cannot be opened on this machine."""


class BenchError(RealtimeError, ValueError):
    """A bench's card cannot be read, or two cards cannot be compared."""
