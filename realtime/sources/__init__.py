"""Sources of frames. One URI names one source; the scheme is the module's name, so a new source is one new file.

Each module offers `open_uri(uri: SourceUri) -> Source`. What sources share lies in `common`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from engines.loading import load_module, module_names
from realtime.process.redact import redact
from realtime.sources.common.pacing import Paced
from realtime.sources.common.uri import SourceUri, parse
from realtime.types import Source

__all__ = ["Paced", "first_webcam", "open_source", "redact", "schemes"]


def open_source(uri: str) -> Source:
    """Open what `uri` names: a path, a folder of images, a webcam's number or device, or scheme://target?option=value.

    Files, folders, samples and synthetic scenes are checked here, down to a first picture that decodes. http:// asks the
    server what it has (5 s at most), since only the answer tells a live stream from a file. rtsp:// and webcams return at
    once and connect when iterated. Network URLs take options after "#": rtsp://camera/1?channel=2#transport=udp

    Raises SourceNotFoundError or SourceOpenError, one line without passwords.
    """
    parsed = parse(uri, schemes())
    module = load_module(__name__, parsed.scheme)
    open_uri = cast("Callable[[SourceUri], Source]", module.open_uri)
    return open_uri(parsed)


def schemes() -> tuple[str, ...]:
    """Names of all schemes, sorted: one module of this folder each. Imports none of them."""
    return module_names(__path__)


def first_webcam(timeout_s: float = 2.0) -> Source | None:
    """The first webcam that gives a picture within `timeout_s` in total, or None. Silent where there is none."""
    from realtime.sources.webcam import first  # OpenCV loads only when somebody looks for a camera

    return first(timeout_s)
