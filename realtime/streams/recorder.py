"""Recorder: the thread that writes. Opens files when told to, closes them when told to, at the end, and after an error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engines.models.card import ModelCard
from realtime.errors import SinkError
from realtime.flow.meter import Meter
from realtime.types import Canvas, Result, Sink, Source


@dataclass(frozen=True, eq=False)
class Recording:
    """A wish to record: what opens its files, once the model and the source are known. Compared by identity."""

    open_sinks: Callable[[ModelCard, Source], tuple[Sink, ...]]


@dataclass(frozen=True, slots=True)
class Start:
    """Open a recording's files; what comes after it belongs to them."""

    recording: Recording
    card: ModelCard
    source: Source


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the files."""


ToRecord = tuple[Result, Canvas] | Start | Finish


class Recorder:
    """Writes what comes through a link. Used on one thread.

    survives_errors: a file that cannot be written ends the recording (see `error`), not the run: the picture goes on.
    error, failed: the latest error, until a new recording starts, and the recording that it ended.
    """

    def __init__(self, meter: Meter, survives_errors: bool) -> None:
        self.error: SinkError | None = None
        self.failed: Recording | None = None
        self.frames_written = 0
        self._meter = meter
        self._survives_errors = survives_errors
        self._sinks: tuple[Sink, ...] = ()
        self._recording: Recording | None = None

    def run(self, items: Iterable[ToRecord]) -> None:
        """Until `items` end. Raises SinkError when a file breaks and errors are not survived."""
        try:
            for item in items:
                try:
                    self._take(item)
                except SinkError as error:
                    self.error, self.failed = error, self._recording
                    if not self._survives_errors:
                        raise
                    self._close_quietly()
        except BaseException:
            self._close_quietly()
            raise
        self._close()

    def _take(self, item: ToRecord) -> None:
        if isinstance(item, Start):
            self._close()
            self.error, self._recording = None, item.recording
            self._sinks = item.recording.open_sinks(item.card, item.source)
        elif isinstance(item, Finish):
            self._close()
        elif self._sinks:
            start = time.perf_counter()
            for sink in self._sinks:
                sink.write(*item)
            self._meter.add({"write": (time.perf_counter() - start) * 1e3})
            self.frames_written += 1

    def _close(self) -> None:
        """Close every sink; the first error is raised when all have had their turn."""
        sinks, self._sinks = self._sinks, ()
        first: SinkError | None = None
        for sink in sinks:
            try:
                sink.close()
            except SinkError as error:
                first = first or error
        if first is not None:
            raise first

    def _close_quietly(self) -> None:
        """Close after an error that is already being told: a second one would hide it."""
        with contextlib.suppress(SinkError):
            self._close()
