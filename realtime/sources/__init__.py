"""Sources of frames. One URI names one source; the scheme is the module's name, so a new source is one new file.

A module offers `open_uri(uri: SourceUri) -> Source`, which checks the URI's options before anything else. It may declare:

    FORM = "url"            how its URIs are read, see `common.uri.Form`; "path" where it declares nothing
    ALIASES = ("https",)    other schemes that it opens
    DECODES = True          it keeps to `SourceUri.decode`: its video may be decoded on a GPU
    SHOWS_PEOPLE = True     its pictures usually show people near the camera: without --preset, the preset is "webcam"

A module imports a heavy library (av ...) only when it opens something, so loading all modules is cheap.
Shared parts are in `common`.
"""

import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from engines.errors import SegmentationError
from engines.loading import load_module, module_names
from engines.types import Image
from realtime.errors import SourceError, SourceOpenError
from realtime.process.redact import redact
from realtime.sources.common.uri import Decode, Form, SourceUri, parse_text
from realtime.types import Frame, Source, SourceStatus

__all__ = ["Decode", "Paced", "first_webcam", "glimpses", "open_source", "parse", "schemes", "shows_people"]


def open_source(uri: str, *, waits: bool = False, decode: Decode = "auto") -> Source:
    """Open what `uri` names: a path, a folder of images, a webcam's number or device, or scheme://target?option=value.

    Files, folders, samples and synthetic scenes are checked here, down to a first picture that decodes. http:// asks the
    server for its content type (5 s at most), which distinguishes live streams from files. rtsp:// and webcams return at once and
    connect when iterated. Network URLs take options after "#": rtsp://camera/1?channel=2#transport=udp
    waits: a live source that is not there yet is waited for while it is iterated; a wrong password remains an error at once.
    decode: where video is decoded; "gpu" is an error for sources that have none, and where no GPU can.

    Raises SourceNotFoundError or SourceOpenError, one line without passwords.
    """
    try:
        parsed = replace(parse(uri), waits=waits, decode=decode)
        module = load_module(__name__, parsed.scheme)
        if decode == "gpu" and not getattr(module, "DECODES", False):
            raise SourceOpenError(f"{parsed.name}: has no video that this program decodes", "Use it without --decode gpu")
        return cast("Callable[[SourceUri], Source]", module.open_uri)(parsed)
    except (SegmentationError, ImportError):  # what is not installed is told elsewhere
        raise
    except Exception as error:
        from realtime.sources.common.base import unexpected  # OpenCV loads only when something opens

        raise SourceOpenError(*unexpected(redact(uri), error)) from None


def parse(text: str) -> SourceUri:
    """Which source `text` names, without opening it. Raises SourceNotFoundError or SourceOpenError."""
    return parse_text(text, schemes(), _declared)


def schemes() -> tuple[str, ...]:
    """Names of all schemes, sorted: one module of this folder each. Imports none of them."""
    return module_names(__path__)


def shows_people(uri: str) -> bool:
    """Whether the source's module declares SHOWS_PEOPLE; False for a source that does not exist."""
    try:
        return bool(getattr(load_module(__name__, parse(uri).scheme), "SHOWS_PEOPLE", False))
    except SourceError:
        return False


def glimpses(path: Path, count: int) -> Iterator[Image]:
    """Up to `count` upright pictures, evenly spread, of a video file or a folder of images; none of what cannot be read."""
    from realtime.sources.common.glimpses import glimpses as look  # PyAV loads only when something is looked at

    return look(path, count)


def first_webcam(timeout_s: float = 2.0, decode: Decode = "auto") -> Source:
    """The first webcam that gives a picture within `timeout_s` in total. Prints nothing where there is none. decode: as above.

    Raises SourceNotFoundError without a camera, SourceOpenError with the reason why those that are there give no picture.
    """
    from realtime.sources.webcam import first  # OpenCV loads only when a camera is looked for

    return first(timeout_s, decode=decode)


def _declared(scheme: str) -> tuple[str, Form] | None:
    """The module that opens `scheme`, and the form of its URIs. Only a scheme that is no module's name loads all of them."""
    names = schemes()
    for name in (scheme,) if scheme in names else names:
        module = load_module(__name__, name)
        if scheme == name or scheme in getattr(module, "ALIASES", ()):
            return name, getattr(module, "FORM", "path")
    return None


class Paced:
    """Plays a recording in real time: each frame waits for its own time, which becomes its capture time.

    It never runs faster than real time: after a late frame (a pause, a slow reader) the schedule shifts instead of catching
    up. A live source passes through unchanged. `close` ends a wait at once.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._closed = threading.Event()
        self._frames = self._make_frames()
        self.name, self.is_live = source.name, source.is_live
        self.frame_count, self.fps = source.frame_count, source.fps

    @property
    def status(self) -> SourceStatus:
        return self._source.status

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._source) if self.is_live else self._frames

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def _make_frames(self) -> Generator[Frame, None, None]:
        start_s = -math.inf
        try:
            for frame in self._source:
                now_s = time.monotonic()
                start_s = max(start_s, now_s - frame.pts_s)  # later after a late frame
                if self._closed.wait(start_s + frame.pts_s - now_s):
                    return
                yield replace(frame, captured_ns=time.monotonic_ns())
        finally:
            self._source.close()
