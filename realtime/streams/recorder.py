"""Recorder: the thread that writes. Opens files on request, closes them on request, at the end, and after an error."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.models.card import ModelCard
from realtime.errors import SinkError
from realtime.flow.meter import Meter
from realtime.process.redact import redact
from realtime.process.version import version
from realtime.sinks import StreamFacts, needs_canvas, open_sinks
from realtime.types import Canvas, Result, Sink, Source


@dataclass(frozen=True, eq=False)
class Recording:
    """A request to record. Compared by identity.

    open_sinks: opens the files, once the model and the source are known. needs_canvas: whether any of them holds pictures.
    path: the file to name to people, if there is one.
    """

    open_sinks: Callable[[ModelCard, Source], tuple[Sink, ...]]
    needs_canvas: bool = True
    path: Path | None = None


def recording_to(paths: Mapping[str, Path], observers: Iterable[str] = (), *, replaces: bool = False) -> Recording:
    """A request to record to these files: kind of sink → path.

    observers: whose numbers files hold, if they hold any. replaces: files that exist; otherwise that is an error.
    """

    def open_files(card: ModelCard, source: Source) -> tuple[Sink, ...]:
        versions = {"realtime-segmentation": version()}
        facts = StreamFacts(redact(source.name), card.name, card.classes, source.fps, versions, tuple(observers))
        return open_sinks(paths, facts, replaces=replaces)

    return Recording(open_files, needs_canvas(paths), next(iter(paths.values()), None))


@dataclass(frozen=True, slots=True)
class Start:
    """Open a recording's files; what comes after it belongs to them."""

    recording: Recording
    card: ModelCard
    source: Source


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the files."""


ToRecord = tuple[Result, Canvas | None] | Start | Finish


class Recorder:
    """Writes what comes through a link. Used on one thread; its fields may be read from any.

    error: the latest error, until a new recording starts. frames_written: of all recordings. is_writing: files are open.
    """

    def __init__(self, survives_errors: bool, on_failure: Callable[[Recording], None]) -> None:
        """survives_errors: an error ends the recording only, not `run`. on_failure: called with the recording that failed."""
        self.error: SinkError | None = None
        self.frames_written = 0
        self.is_writing = False
        self._survives_errors, self._on_failure = survives_errors, on_failure
        self._sinks: tuple[Sink, ...] = ()
        self._recording: Recording | None = None

    def run(self, items: Iterable[ToRecord], meter: Meter) -> None:
        """Write until `items` end. Raises SinkError when a file breaks and errors are not survived."""
        try:
            for item in items:
                try:
                    self._take(item, meter)
                except SinkError as error:
                    self.error = error
                    if self._recording is not None:
                        self._on_failure(self._recording)
                    if not self._survives_errors:
                        raise
                    self._close_quietly()
        except BaseException:
            self._close_quietly()
            raise
        self._close()

    def _take(self, item: ToRecord, meter: Meter) -> None:
        if isinstance(item, Start):
            self.error, self._recording = None, item.recording  # the one to give up if the files before it do not close
            self._close()
            self.is_writing = True
            self._sinks = item.recording.open_sinks(item.card, item.source)
        elif isinstance(item, Finish):
            self._close()
        elif self._sinks:
            start = time.perf_counter()
            for sink in self._sinks:
                sink.write(*item)
            meter.add({"write": (time.perf_counter() - start) * 1e3})
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
        self.is_writing = False
        if first is not None:
            raise first

    def _close_quietly(self) -> None:
        """Close after an error that is already reported: a second one would hide it."""
        with contextlib.suppress(SinkError):
            self._close()
