"""PyCUDA's streams and events."""

from __future__ import annotations

import enum
from typing import Any

from fakegpu.codes import CudaError
from fakegpu.streams import Capture, Mark
from fakegpu.streams import Stream as RawStream
from fakegpu.world import current

from pycuda._base import give_back, mismatch, owner, words


class event_flags(enum.IntEnum):
    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2
    INTERPROCESS = 4


class Stream:
    def __init__(self, flags: int = 0) -> None:
        if not isinstance(flags, int):
            raise mismatch("Stream.__init__", self, flags)
        self._context = owner()
        self._world = current()
        with words("cuStreamCreate"):
            self._world.enter("Stream")
            self._raw = self._world.make_stream(is_blocking=not flags & 1)

    @property
    def handle(self) -> int:
        return self._raw.handle

    def synchronize(self) -> None:
        with words("cuStreamSynchronize"):
            self._world.enter("Stream.synchronize")
            self._world.synchronize(self._raw)

    def is_done(self) -> bool:
        with words("cuStreamQuery"):
            self._world.enter("Stream.is_done")
            with self._world.lock:
                self._world.scheduler.forbid_in_capture(self._raw)
                done = not self._raw.queue
                self._world.scheduler.run(self._raw)  # time passes: repeated queries eventually succeed
                self._world.check_alive()
                return done

    def wait_for_event(self, event: Event) -> None:
        if not isinstance(event, Event):
            raise mismatch("Stream.wait_for_event", self, event)
        with words("cuStreamWaitEvent"):
            self._world.enter("Stream.wait_for_event")
            with self._world.lock:
                event._be_waited_for(self._raw)

    def __del__(self) -> None:
        if "_raw" in self.__dict__ and self._raw.handle in self._world.scheduler.streams:
            give_back(self._context, "stream", lambda: self._world.destroy_stream(self._raw), is_silent=True)


def raw_stream(stream: object) -> RawStream:
    """The handle of a Stream, or of the default one for None."""
    if stream is None:
        return current().scheduler.default
    if not isinstance(stream, Stream):
        raise TypeError(
            "No registered converter was able to extract a C++ reference to type pycuda::stream "
            f"from this Python object of type {type(stream).__name__}"
        )
    return stream._raw


class Event:
    def __init__(self, flags: int = 0) -> None:
        if not isinstance(flags, int):
            raise mismatch("Event.__init__", self, flags)
        self._context = owner()
        self._world = current()
        self._mark: Mark | None = None
        self._captured: tuple[Capture, RawStream, int] | None = None
        self._has_time = not flags & event_flags.DISABLE_TIMING
        with words("cuEventCreate"):
            self._world.enter("Event")
            self._world.born(id(self), "event", f"{id(self):#x}", self._world.require_context())
        self._is_born = True

    def record(self, stream: Any = None) -> Event:
        raw = raw_stream(stream)
        with words("cuEventRecord"):
            self._world.enter("Event.record")
            with self._world.lock:
                capture = raw.capture
                if capture is not None:
                    if capture.is_invalid:
                        raise CudaError(901)
                    self._mark, self._captured = None, (capture, raw, len(capture.works))
                else:
                    self._mark, self._captured = self._world.scheduler.record(raw), None
        return self

    def synchronize(self) -> Event:
        with words("cuEventSynchronize"):
            self._world.enter("Event.synchronize")
            with self._world.lock:
                self._refuse_captured()
                if self._mark is not None and not self._mark.is_done:
                    self._world.scheduler.run(self._mark.stream, self._mark)
                self._world.check_alive()
        return self

    def query(self) -> bool:
        with words("cuEventQuery"):
            self._world.enter("Event.query")
            with self._world.lock:
                self._refuse_captured()
                done = self._mark is None or self._mark.is_done
                if not done and self._mark is not None:  # time passes
                    self._world.scheduler.run(self._mark.stream, self._mark)
                self._world.check_alive()
                return done

    def time_since(self, event: Event) -> float:
        """Milliseconds from `event` to this."""
        if not isinstance(event, Event):
            raise mismatch("Event.time_since", self, event)
        with words("cuEventElapsedTime"):
            self._world.enter("Event.time_since")
            if not (self._has_time and event._has_time) or self._mark is None or event._mark is None:
                raise CudaError(400)
            if self._mark.done_at is None or event._mark.done_at is None:
                raise CudaError(600)
            return (self._mark.done_at - event._mark.done_at) * 1e3

    def time_till(self, event: Event) -> float:
        """Milliseconds from this to `event`."""
        if not isinstance(event, Event):
            raise mismatch("Event.time_till", self, event)
        return event.time_since(self)

    def _refuse_captured(self) -> None:
        if self._captured is not None:
            self._captured[0].is_invalid = True
            raise CudaError(907)

    def _be_waited_for(self, raw: RawStream) -> None:
        capture = raw.capture
        if self._captured is not None:
            recorded, source, count = self._captured
            if recorded not in self._world.scheduler.captures:
                raise CudaError(907)
            if capture is None:  # a fork: this stream joins the capture
                raw.capture = recorded
                recorded.streams.append(raw)
                recorded.unjoined.add(raw.handle)
            elif capture is not recorded:
                raise CudaError(905)
            elif raw is recorded.origin and count == len(recorded.works):
                recorded.unjoined.discard(source.handle)
        elif self._mark is not None:
            if capture is not None:
                capture.is_invalid = True
                raise CudaError(905)
            self._world.scheduler.wait(raw, self._mark)

    def __del__(self) -> None:
        if self.__dict__.get("_is_born"):
            give_back(self._context, "event", lambda: self._world.died(id(self)), is_silent=True)
