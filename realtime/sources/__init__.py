"""Sources of frames. One URI names one source; the scheme is the module's name, so a new source is one new file.

Each module offers `open_uri(uri: SourceUri) -> Source`. Modules whose name begins with "_" are shared parts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from realtime.redact import redact
from realtime.sources._pacing import Paced
from realtime.sources._uri import SourceUri, parse, schemes
from realtime.types import Source

__all__ = ["Paced", "first_webcam", "open_source", "redact", "schemes"]


def open_source(uri: str) -> Source:
    """Open what `uri` names: a path, a folder of images, a webcam's number or device, or scheme://target?option=value.

    Files, folders, samples and synthetic scenes are checked here, down to a first picture that decodes. http:// asks the
    server what it has (5 s at most), since only the answer tells a live stream from a file. rtsp:// and webcams return at
    once and connect when iterated. Network URLs take options after "#": rtsp://camera/1?channel=2#transport=udp

    Raises SourceNotFoundError or SourceOpenError, one line without passwords.
    """
    parsed = parse(uri)
    module = importlib.import_module(f"{__name__}.{parsed.scheme}")
    open_uri = cast("Callable[[SourceUri], Source]", module.open_uri)
    return open_uri(parsed)


def first_webcam(timeout_s: float = 2.0) -> Source | None:
    """The first webcam that gives a picture within `timeout_s` in total, or None. Silent where there is none."""
    from realtime.sources.webcam import first  # OpenCV loads only when somebody looks for a camera

    return first(timeout_s)
