"""One connection to a live stream: what it offers, its time-outs, and why it may fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from realtime.errors import SourceError, SourceOpenError
from realtime.sources.common.base import Picture
from realtime.sources.common.uri import Options

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 1.8  # a read that cannot be interrupted ends at this time-out, and closing may take 2 s


class Timeouts(NamedTuple):
    """Seconds to wait for an answer, and for each whole picture or packet."""

    open_s: float
    read_s: float

    @classmethod
    def given(cls, options: Options) -> Timeouts:
        """From the options of a network source."""
        read_s = options.number("timeout_s", READ_TIMEOUT_S, 0.2, 60)
        return cls(options.number("open_timeout_s", OPEN_TIMEOUT_S, 0.2, 60), read_s)


class EndedError(SourceError):
    """The stream is over, as its server declares: no loss."""


class HopelessError(SourceOpenError):
    """Waiting does not help: the address, the password or the pipeline is wrong."""


class RefusedError(HopelessError):
    """The server rejects the user name or password; trying again soon could lock the account."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: the user name or password was refused{detail}", "Check both in the URL")


class Feed(Protocol):
    """One connection. Read and closed on one thread; it may have been opened on another, see `Attempt`."""

    description: str
    """The negotiated format: "1280x720 h264 30 fps"."""

    fps: float | None

    @property
    def decoder(self) -> str:
        """What decodes: "CPU" or a GPU's decoder by name; "" where nothing does, or that is not known."""
        ...

    sound: str
    """The sound tracks, "aac, 48000 Hz", which are not read; or ""."""

    def pictures(self) -> Iterator[Picture]:
        """Pictures until the stream declares its end. Raises SourceLostError when it breaks or falls silent."""
        ...

    def interrupt(self) -> None:
        """End a blocked `pictures` soon, where that is possible. Any thread."""
        ...

    def close(self) -> threading.Thread | None:
        """Free the connection. Returns the thread that is left behind where a driver does not let go of it."""
        ...
