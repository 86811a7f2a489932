"""What a GStreamer child prints when it fails, as one short line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from realtime.process.redact import redact

_ERROR = re.compile(r"(?:ERROR|WARNING): (?:from element (?:/\S*:)?(\w[^\s:]*): |erroneous pipeline: )?(.*)")
_LONGEST_TEXT = 160


def first_error(lines: Iterable[str]) -> str:
    """GStreamer's first error or warning, and the element that it comes from; "" where there is none."""
    error = next(filter(None, map(_ERROR.match, lines)), None)
    if error is None:
        return ""
    return f"{error[1]}: {error[2]}" if error[1] else error[2]


def shortened(text: str) -> str:
    """Without passwords, and no longer than a line."""
    return redact(text)[:_LONGEST_TEXT].removesuffix(".")
