"""Cameras in; screens, files and events out.

The names below are what programs may rely on; each is imported when it is first used.
"""

TYPE_CHECKING = False  # as typing's, without importing it: a signal that comes first is not waited for
if TYPE_CHECKING:
    from realtime.errors import RealtimeError as RealtimeError
    from realtime.sessions.iterating import Streams as Streams
    from realtime.sessions.iterating import open_stream as open_stream
    from realtime.sessions.iterating import open_streams as open_streams
    from realtime.sessions.results import FrameResult as FrameResult
    from realtime.sessions.results import SeenObject as SeenObject
    from realtime.types import Event as Event
    from realtime.types import Frame as Frame
    from realtime.types import Observation as Observation
    from realtime.types import Observer as Observer
    from realtime.types import Result as Result
    from realtime.types import Track as Track

_HOMES = {
    "realtime.errors": ("RealtimeError",),
    "realtime.sessions.iterating": ("Streams", "open_stream", "open_streams"),
    "realtime.sessions.results": ("FrameResult", "SeenObject"),
    "realtime.types": ("Event", "Frame", "Observation", "Observer", "Result", "Track"),
}

__all__ = [name for names in _HOMES.values() for name in names]

if not TYPE_CHECKING:  # type checkers know the names above, and report all others

    def __getattr__(name):
        from engines.loading import lazy_name

        return lazy_name(__name__, _HOMES, name)
