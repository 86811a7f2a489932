"""Streams of the fake GPU: queues of work that is done only during a wait; events, captures and graphs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fakegpu.codes import CudaError
from fakegpu.memory import FRESH

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
"""CUstreamCaptureMode."""


@dataclass(frozen=True)
class Span:
    """A resource of work: bytes of the device or of pinned host memory, or an object such as a TensorRT context."""

    space: str
    start: int
    end: int
    is_written: bool

    def clashes(self, other: Span) -> bool:
        overlap = self.space == other.space and self.start < other.end and other.start < self.end
        return overlap and (self.is_written or other.is_written)

    def __str__(self) -> str:
        return f"{self.space} {self.start:#x}..{self.end:#x}"


def reads(space: str, start: int, size: int = 1) -> Span:
    return Span(space, start, start + size, False)


def writes(space: str, start: int, size: int = 1) -> Span:
    return Span(space, start, start + size, True)


@dataclass(eq=False)
class Work:
    """A piece of work."""

    name: str
    run: Callable[[], None]
    spans: tuple[Span, ...] = ()
    seen: tuple[tuple[Span, bytes], ...] = ()
    """Host memory that it reads, and what was there when it was enqueued: the host must leave it alone until it is done."""


@dataclass(eq=False)
class Mark:
    """A position in a stream: an event's record."""

    stream: Stream
    is_done: bool = False
    done_at: float | None = None


@dataclass(eq=False)
class Wait:
    """Continue once `mark` is done."""

    mark: Mark


@dataclass(eq=False)
class Capture:
    """Work that is being recorded into a graph."""

    origin: Stream
    mode: int
    thread: int
    works: list[Work] = field(default_factory=list)
    is_invalid: bool = False
    unjoined: set[int] = field(default_factory=set)
    """Handles of other streams with work that the origin has not waited for."""
    streams: list[Stream] = field(default_factory=list)


@dataclass(eq=False)
class Stream:
    handle: int
    is_blocking: bool = True
    context: Any = None
    queue: deque[Work | Mark | Wait] = field(default_factory=deque)
    capture: Capture | None = None

    @property
    def is_default(self) -> bool:
        return self.handle == 0


class Scheduler:
    """Does the work. Callers hold the World's lock."""

    def __init__(
        self,
        on_error: Callable[[CudaError, Work], None],
        on_race: Callable[[str], None],
        host: Callable[[Span], npt.NDArray[np.uint8] | None],
    ) -> None:
        """host: a view of pinned bytes; None where they are not pinned any more."""
        self.default = Stream(0)
        self.streams: dict[int, Stream] = {0: self.default}
        self.captures: list[Capture] = []
        self._on_error = on_error
        self._on_race = on_race
        self._host = host

    def enqueue(self, stream: Stream, work: Work) -> None:
        """Append `work`, or record it while `stream` captures. Raises CudaError 901 and 906 like CUDA."""
        if stream.capture is not None:
            capture = stream.capture
            if capture.is_invalid:
                raise CudaError(901)
            capture.works.append(work)
            if stream is not capture.origin:
                capture.unjoined.add(stream.handle)
            return
        self._keep_default_order(stream)
        self._check_races(stream, work)
        work = replace(work, seen=tuple(self._seen(work)))
        self._undefine(work)
        stream.queue.append(work)

    def record(self, stream: Stream) -> Mark:
        self._keep_default_order(stream)
        mark = Mark(stream)
        stream.queue.append(mark)
        return mark

    def wait(self, stream: Stream, mark: Mark) -> None:
        self._keep_default_order(stream)
        if not mark.is_done:
            stream.queue.append(Wait(mark))

    def run(self, stream: Stream, until: Mark | None = None) -> None:
        """Do the enqueued work, up to `until`."""
        while stream.queue and not (until is not None and until.is_done):
            item = stream.queue.popleft()
            if isinstance(item, Mark):
                item.is_done, item.done_at = True, time.perf_counter()
            elif isinstance(item, Wait):
                if not item.mark.is_done:
                    self.run(item.mark.stream, item.mark)
            else:
                self._check_host(item)
                try:
                    item.run()
                except CudaError as error:
                    self._on_error(error, item)

    def run_all(self) -> None:
        for stream in list(self.streams.values()):
            self.run(stream)

    def run_default(self) -> None:
        """The streams that a synchronous call on the legacy default stream waits for: itself and all blocking ones."""
        for stream in list(self.streams.values()):
            if stream.is_blocking:
                self.run(stream)

    def pending(self) -> Iterable[tuple[Stream, Work]]:
        for stream in list(self.streams.values()):
            for item in stream.queue:
                if isinstance(item, Work):
                    yield stream, item

    def users_of(self, span: Span) -> list[str]:
        """The pending work that uses `span`."""
        return [f"{work.name} on stream {stream.handle:#x}" for stream, work in self.pending() if _touches(work, span)]

    def _keep_default_order(self, stream: Stream) -> None:
        """The legacy default stream waits for all blocking streams, and they for it."""
        if stream.is_default:
            for other in list(self.streams.values()):
                if other is stream or not other.is_blocking:
                    continue
                if other.capture is not None:
                    other.capture.is_invalid = True
                    raise CudaError(906)
                if other.queue:
                    other.queue.append(mark := Mark(other))
                    stream.queue.append(Wait(mark))
        elif stream.is_blocking and self.default.queue:
            self.default.queue.append(mark := Mark(self.default))
            stream.queue.append(Wait(mark))

    def _seen(self, work: Work) -> Iterator[tuple[Span, bytes]]:
        """What the host must not change; not what other work of the GPU, or this one, writes there before."""
        written = [span for _, other in self.pending() for span in other.spans] + list(work.spans)
        for span in work.spans:
            is_ours = any(other.is_written and other.clashes(span) for other in written)
            if span.space == "host" and not span.is_written and not is_ours and (now := self._host(span)) is not None:
                yield span, now.tobytes()

    def _undefine(self, work: Work) -> None:
        """Host memory that it writes is undefined until it is done, unless pending work reads the old content."""
        for span in work.spans:
            is_free = span.space == "host" and span.is_written and not self.users_of(span)
            if is_free and (now := self._host(span)) is not None:
                now[...] = FRESH

    def _check_host(self, work: Work) -> None:
        for span, before in work.seen:
            now = self._host(span)
            if now is not None and now.tobytes() != before:
                self._on_race(f"race: the host wrote {span} before {work.name} had read it")

    def _check_races(self, stream: Stream, work: Work) -> None:
        before = self._before(stream, None, set())
        for other, pending in self.pending():
            if other is stream or id(pending) in before:
                continue
            for span in work.spans:
                if _touches(pending, span):
                    self._on_race(
                        f"race: {work.name} on stream {stream.handle:#x} and {pending.name} on stream {other.handle:#x} "
                        f"touch {span} in no order"
                    )
                    return

    def _before(self, stream: Stream, until: Mark | None, seen: set[int]) -> set[int]:
        """Ids of the pending work that is done before the next work on `stream` (or before `until`)."""
        found: set[int] = set()
        for item in stream.queue:
            if item is until:
                break
            if isinstance(item, Work):
                found.add(id(item))
            elif isinstance(item, Wait) and not item.mark.is_done and id(item) not in seen:
                seen.add(id(item))
                found |= self._before(item.mark.stream, item.mark, seen)
        return found

    def begin_capture(self, stream: Stream, mode: int) -> None:
        if stream.is_default:
            raise CudaError(900)
        if stream.capture is not None:
            raise CudaError(401)
        if mode not in (GLOBAL, THREAD_LOCAL, RELAXED):
            raise CudaError(1)
        stream.capture = Capture(stream, mode, threading.get_ident())
        stream.capture.streams.append(stream)
        self.captures.append(stream.capture)

    def end_capture(self, stream: Stream) -> list[Work]:
        """The recorded works. Raises CudaError 401, 901, 904, 908; except for 401 and 908 this ends the capture too."""
        capture = stream.capture
        if capture is None:
            raise CudaError(401)
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            raise CudaError(908)
        self.captures.remove(capture)
        for member in capture.streams:
            member.capture = None
        if capture.is_invalid:
            raise CudaError(901)
        if capture.origin is not stream or capture.unjoined:
            raise CudaError(904)
        return capture.works

    def forbid_in_capture(self, stream: Stream | None = None) -> None:
        """For calls that a capture forbids: always on its `stream`, elsewhere depending on its mode. Raises CudaError 900."""
        if stream is not None and stream.capture is not None:
            invalid = stream.capture.is_invalid
            stream.capture.is_invalid = True
            raise CudaError(901 if invalid else 900)
        for capture in self.captures:
            is_mine = capture.thread == threading.get_ident()
            if capture.mode == GLOBAL or (capture.mode == THREAD_LOCAL and is_mine):
                capture.is_invalid = True
                raise CudaError(900)


def _touches(work: Work, span: Span) -> bool:
    return any(span.clashes(other) for other in work.spans)
