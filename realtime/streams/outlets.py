"""Outlets: who gets a stream's results. Each says whether it wants pictures, has a link of its own, and counts its own drops."""

import threading
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from realtime.flow.links import Bounded, Closed, Latest, Link
from realtime.flow.meter import Meter
from realtime.flow.pipeline import Pipeline
from realtime.streams.port import OpenedModel
from realtime.streams.recorder import Finish, Recorder, Recording, Start, ToRecord
from realtime.types import Canvas, Result, Source


@dataclass(frozen=True, slots=True)
class CanvasFormat:
    """How large pictures are drawn: at most `width_px` wide, small frames enlarged to at least `least_width_px` (0: never)."""

    width_px: int
    least_width_px: int = 0


class Delivery(NamedTuple):
    """One result for an outlet. canvas: None unless the outlet wants one. is_new: not a redraw, nor older than one before."""

    result: Result
    canvas: Canvas | None
    model: OpenedModel
    source: Source
    is_new: bool


class Outlet:
    """Gets every result of a stream, on the thread that composes them. One that is slow has a link, and reads it elsewhere."""

    is_screen = False
    """Somebody looks at it, and reports when a picture is shown (`Meter.delivered`)."""

    link: Link[Any] | None = None

    @property
    def dropped(self) -> int:
        """How many results or pictures it has dropped."""
        return self.link.dropped if self.link is not None else 0

    def join(self, pipeline: Pipeline, meter: Meter) -> Link[Any] | None:
        """Become a part of the stream. Returns the link that closes when the stream ends, if there is one."""
        return pipeline.link(self.link) if self.link is not None else None

    def canvas_format(self) -> CanvasFormat | None:
        """The format of the picture that it wants with the next result; None where it wants none."""
        return None

    def put(self, delivery: Delivery, may_wait: bool) -> None:
        """Take a result. may_wait: the source waits, so nothing need be dropped. Raises Closed when it has ended."""
        raise NotImplementedError


class WindowOutlet(Outlet):
    """The newest picture, for a window. Its link stays open after the stream: the last picture remains."""

    is_screen = True

    def __init__(self, canvas: Latest[Canvas], format: CanvasFormat) -> None:
        self.link: Latest[Canvas] = canvas
        self._format = format

    def join(self, pipeline: Pipeline, meter: Meter) -> None:
        super().join(pipeline, meter)

    def canvas_format(self) -> CanvasFormat:
        return self._format

    def put(self, delivery: Delivery, may_wait: bool) -> None:
        assert delivery.canvas is not None
        self.link.put(delivery.canvas)


QUEUE_LENGTH, QUEUE_BYTES = 64, 256 * 2**20
"""Results that wait for files: two seconds at 30 frames per second, or fewer of large pictures."""


class FilesOutlet(Outlet):
    """Every result, to files, while there is a `recording`. Where nothing waits for files, a full queue drops and counts.

    recorder: has the latest recording's error, until a new one starts.
    """

    def __init__(
        self, format: CanvasFormat, recording: Recording | None = None, *, survives_errors: bool = False, limit: int | None = None
    ) -> None:
        """survives_errors: a file that cannot be written ends the recording, not the stream. limit: results, then it ends."""
        self._format = format
        self._left = limit
        self._requested = recording
        self._current: Recording | None = None
        self._lock = threading.Lock()
        self.link: Bounded[ToRecord] = Bounded(QUEUE_LENGTH)
        self._dropped_before = 0
        self.recorder = Recorder(survives_errors, self._forget, lambda: self.dropped, lambda: self.link.cancelled)

    @property
    def recording(self) -> Recording | None:
        """What is recorded, or will be from the next picture on. Assign None to finish it."""
        return self._requested

    @recording.setter
    def recording(self, recording: Recording | None) -> None:
        with self._lock:
            self._requested = recording

    @property
    def is_full(self) -> bool:
        """Whether it has as many results as it was to take."""
        return self._left is not None and self._left <= 0

    @property
    def dropped(self) -> int:
        """Results of the present recording, or else the last, that were not written because the files could not keep up."""
        return self.link.displaced - self._dropped_before

    def join(self, pipeline: Pipeline, meter: Meter) -> Link[ToRecord]:
        pipeline.stage("record", lambda: self.recorder.run(self.link, meter))
        return pipeline.link(self.link)

    def canvas_format(self) -> CanvasFormat | None:
        requested = self._requested
        return self._format if requested is not None and requested.needs_canvas else None

    def put(self, delivery: Delivery, may_wait: bool) -> None:
        requested = self._requested
        if requested is not self._current:
            lost, self._current = self.dropped, requested
            if requested is not None:
                self._dropped_before = self.link.displaced
            self.link.capacity = min(QUEUE_LENGTH, max(4, QUEUE_BYTES // _bytes(delivery)))
            self.link.force(Finish(lost) if requested is None else Start(requested, delivery.model.card, delivery.source, lost))
        if requested is None or not delivery.is_new:
            return
        if requested.needs_canvas and delivery.canvas is None:
            return  # requested after this picture was composed: the recording begins with the next
        hand_over = self.link.put if may_wait else self.link.offer
        hand_over((delivery.result, delivery.canvas))
        if self._left is not None:
            self._left -= 1
            if self.is_full:
                raise Closed

    def _forget(self, failed: Recording) -> None:
        """The recorder has given up a recording."""
        with self._lock:
            if self._requested is failed:
                self._requested = None


def _bytes(delivery: Delivery) -> int:
    """The memory that a queued result's pictures take, about."""
    picture, canvas = delivery.result.frame.picture, delivery.canvas
    return max(1, picture.nbytes + (canvas.image.nbytes if canvas is not None else 0))


class IteratorOutlet(Outlet):
    """Results for a program: every one of a source that waits, the newest of one that does not, unless every one is wanted."""

    def __init__(self, changed: threading.Condition, every: bool = False) -> None:
        """changed: the condition of the link, for a reader of several. every: of live sources too; they drop before the model."""
        self.link: Bounded[Delivery] = Bounded(4, changed)
        self._every = every

    def put(self, delivery: Delivery, may_wait: bool) -> None:
        if not delivery.is_new:
            return
        if delivery.source.is_live and not self._every:
            self.link.supersede(delivery, _with_events_of)
        else:
            self.link.put(delivery)


def _with_events_of(dropped: Delivery, newer: Delivery) -> Delivery:
    """`newer` with the events of one that is dropped: each event reaches the program."""
    if not dropped.result.events:
        return newer
    return newer._replace(result=replace(newer.result, events=dropped.result.events + newer.result.events))
