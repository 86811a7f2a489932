"""What can go wrong between a camera and a screen or a file.

SegmentationError             (engines.errors) everything this project raises on purpose
└── RealtimeError             anything in this package
    ├── SettingsError         an option or preset is wrong (also a ValueError)
    ├── SourceError           a source cannot be used
    │   ├── SourceNotFoundError   no such file, folder, device or sample (also a FileNotFoundError)
    │   ├── SourceOpenError       it is there, but does not open: no video, in use, refused, no answer
    │   └── SourceLostError       it opened and then broke
    ├── SinkError             an output cannot be written
    ├── DisplayError          a window cannot be opened here
    └── BenchError            a card of figures cannot be read, or not be compared with another (also a ValueError)
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
    """The source is there, but does not open."""


class SourceLostError(SourceError):
    """The source was open and broke."""


class SinkError(RealtimeError):
    """An output cannot be written."""


class DisplayError(RealtimeError):
    """A window cannot be opened on this machine."""


class BenchError(RealtimeError, ValueError):
    """A bench's card cannot be read, or two of them are of different things."""
