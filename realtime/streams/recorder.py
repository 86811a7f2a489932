"""Recorder: the thread that writes. Opens files on request, closes them on request, at the end, and after an error."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.models.card import ModelCard
from realtime.errors import SinkError
from realtime.flow.meter import Meter
from realtime.process.failures import known
from realtime.process.redact import redact
from realtime.process.version import version
from realtime.sinks import StreamFacts, needs_canvas, open_sinks
from realtime.types import Canvas, Result, Sink, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Recording:
    """A request to record. Compared by identity.

    open_sinks: opens the files, once the model and the source are known. needs_canvas: whether any of them holds pictures.
    path: the file to name to people, if there is one.
    """

    open_sinks: Callable[[ModelCard, Source], tuple[Sink, ...]]
    needs_canvas: bool = True
    path: Path | None = None


def recording_to(
    paths: Mapping[str, Path], observers: Iterable[str] = (), *, replaces: bool = False, encoder: str = "auto"
) -> Recording:
    """A request to record to these files: kind of sink → path.

    observers: whose numbers files hold, if they hold any. replaces: files that exist; otherwise that is an error.
    encoder: where video is encoded, as `Settings.encoder`.
    """

    def open_files(card: ModelCard, source: Source) -> tuple[Sink, ...]:
        versions = {"realtime-segmentation": version()}
        seen = tuple(observers)
        facts = StreamFacts(redact(source.name), card.name, card.classes, source.fps, versions, seen, source.is_live, encoder)
        return open_sinks(paths, facts, replaces=replaces)

    return Recording(open_files, needs_canvas(paths), next(iter(paths.values()), None))


@dataclass(frozen=True, slots=True)
class Start:
    """Open a recording's files; what comes after it belongs to them. lost: results that the files before it lack."""

    recording: Recording
    card: ModelCard
    source: Source
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the files. lost: results that they lack, because they could not keep up."""

    lost: int = 0


ToRecord = tuple[Result, Canvas | None] | Start | Finish


class Recorder:
    """Writes what comes through a link. Used on one thread; its fields may be read from any.

    error: the latest error, until a new recording starts. frames_written: of all recordings. news: how the latest one ended, a
    line for people; empty before. is_writing: files are open, or being closed.
    """

    def __init__(
        self, survives_errors: bool, on_failure: Callable[[Recording], None], lost: Callable[[], int], cut_off: Callable[[], int]
    ) -> None:
        """survives_errors: an error ends the recording only, not `run`. on_failure: called with the recording that failed.

        lost: how many results the recording that was requested last lacks so far, because it could not keep up. cut_off: how
        many waited when all was interrupted.
        """
        self.error: SinkError | None = None
        self.frames_written = 0
        self.news = ""
        self.is_writing = False
        self._lost, self._cut_off = lost, cut_off
        self._has_warned = False
        self._without = ""
        self._written_before = 0
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
        self._finish(self._lost(), cut_off=self._cut_off())

    def _take(self, item: ToRecord, meter: Meter) -> None:
        if isinstance(item, Start):
            before, self.error, self._recording = self._recording, None, item.recording  # the one to give up if they do not close
            self._finish(item.lost, before)
            self._without = " without the source's sound" if item.recording.needs_canvas and item.source.status.sound else ""
            self.is_writing, self._written_before = True, self.frames_written
            with self._as_sink_error():
                self._sinks = item.recording.open_sinks(item.card, item.source)
        elif isinstance(item, Finish):
            self._finish(item.lost)
        elif self._sinks:
            if not self._has_warned and self._lost():
                self._has_warned = True
                log.warning("%s: the disk or the encoder is too slow; frames are left out", self._name)
            start = time.perf_counter()
            for sink in self._sinks:
                with self._as_sink_error():
                    sink.write(*item)
            meter.add({"write": (time.perf_counter() - start) * 1e3})
            self.frames_written += 1

    def _finish(self, lost: int, recording: Recording | None = None, cut_off: int = 0) -> None:
        """Close the files of a recording, and report how it went."""
        if not self._sinks:
            return
        self._close()
        name = self._name if recording is None else _name(recording)
        self._has_warned = False
        if self.frames_written == self._written_before:
            self.news = f"{name}: nothing was recorded"
            log.warning("%s: nothing was recorded; %d frames were left out", name, lost + cut_off)
        elif lost or cut_off:
            reasons = ((lost, "the disk or the encoder was too slow"), (cut_off, "it was interrupted"))
            lacks = [f"{count} frames: {why}" for count, why in reasons if count]
            self.news = f"Saved {name}{self._without}; it lacks {', and '.join(lacks)}"
            log.warning("%s lacks %s", name, ", and ".join(lacks))
        else:
            self.news = f"Saved {name}{self._without}"
            log.info("%s is complete", name)

    @property
    def _name(self) -> str:
        return _name(self._recording)

    @contextlib.contextmanager
    def _as_sink_error(self) -> Iterator[None]:
        """Whatever a sink or its library raises becomes a SinkError: it ends a recording, never the picture beside it."""
        try:
            yield
        except SinkError:
            raise
        except Exception as error:
            what, cure = known(error) or (f"{type(error).__name__}: {error}", "Run it with --log FILE")
            raise SinkError(f"{self._name}: writing failed ({what})", cure) from error

    def _close(self) -> None:
        """Close every sink; the first error is raised when all have had their turn."""
        sinks, self._sinks = self._sinks, ()
        first: SinkError | None = None
        for sink in sinks:
            try:
                with self._as_sink_error():
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


def _name(recording: Recording | None) -> str:
    return str(recording.path) if recording is not None and recording.path is not None else "the recording"
