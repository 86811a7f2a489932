"""Inference: the one thread that owns the engine. It serves the streams in turn, and exchanges the engine between two frames.

A stream puts its frames into a `Port` and gets segmentations out of it, each with the model that made it. Of the streams that
have a frame and room for its segmentation, the one served longest ago is next: a slow or paused one holds up no other.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from engines.errors import SegmentationError
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.segmenter import Segmenter
from engines.types import Segmentation, Size
from realtime.flow.links import Bounded, Closed, Link
from realtime.flow.meter import Meter
from realtime.flow.pipeline import Gate
from realtime.types import Frame

log = logging.getLogger(__name__)

WARM_UP_SIZE = Size(1280, 720)

WAITING = 1
"""Segmentations of one stream that may wait beside those in flight, so that neither its thread nor this one idles."""

CAPACITY = 8
"""More than that and what any engine has in flight: handing back never blocks."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """What runs now. backend: its description. refusals: backend → why "auto" did not take it."""

    card: ModelCard
    backend: str
    refusals: dict[str, str]


class Segmented(NamedTuple):
    """A frame out of the model."""

    frame: Frame
    segmentation: Segmentation
    model: OpenedModel


@dataclass(frozen=True, slots=True)
class Swap:
    """A request to run another engine.

    open: returns it; called on the inference thread when nothing is in flight. finished: told None once it runs, or else why it
    does not, in which case the engine before goes on; called on the inference thread.
    """

    open: Callable[[], Segmenter]
    finished: Callable[[SegmentationError | None], None]


class Port:
    """One stream's door to the inference thread.

    number: identifies the stream; a recurrent network remembers each stream's frames by it.
    """

    def __init__(
        self,
        number: int,
        meter: Meter,
        wake: Callable[[], None],
        settings: Callable[[], DecodeSettings],
        introduce: Callable[[OpenedModel], None],
    ) -> None:
        """wake: wakes the inference thread. settings: called for each frame. introduce: called with each model that runs."""
        self.number, self.meter, self.settings, self.introduce = number, meter, settings, introduce
        self.frames: Link[Frame] | None = None
        self.segmented: Bounded[Segmented] = Bounded(CAPACITY)
        self.in_flight = 0
        self.served = 0
        """The turn in which it was served last."""
        self._gate: Gate | None = None
        self.wake = wake
        self._ended = False

    # For the stream's threads.

    def open(self, frames: Link[Frame], gate: Gate | None) -> None:
        """Begin. frames: its rule decides what is dropped before the model. gate: holds frames back here while it is closed."""
        self.frames, self._gate = frames, gate

    def put(self, frame: Frame) -> None:
        """Hand a frame over. Raises Closed."""
        assert self.frames is not None, "opened before its first frame"
        self.frames.put(frame)
        self.wake()

    def get(self) -> Segmented | None:
        """Wait for the next segmentation; None after a nudge. Raises Closed at the end."""
        item = self.segmented.get_or_nudge()
        if item is not None:
            self.wake()  # there is room for another
        return item

    def end(self) -> None:
        """No more frames come; those that wait are still served."""
        self._ended = True
        if self.frames is not None:
            self.frames.close()
        self.wake()

    def cancel(self) -> None:
        """End at once."""
        self.segmented.cancel()
        if self.frames is not None:
            self.frames.cancel()
        self.end()

    # For the inference thread.

    def is_ready(self, inflight: int) -> bool:
        """Whether a frame waits that may be served now. inflight: how many the engine takes before the first is finished."""
        has_room = self.segmented.waiting + self.in_flight < inflight + WAITING
        return self.frames is not None and bool(self.frames.waiting) and has_room and (self._gate is None or self._gate.is_open)

    @property
    def is_done(self) -> bool:
        """Whether nothing comes any more, and nothing is in flight."""
        return self._ended and not self.in_flight and (self.frames is None or not self.frames.waiting)

    def take(self) -> Frame | None:
        """The next frame; None if it has just been cancelled."""
        frame = self.frames.poll() if self.frames is not None else None
        if frame is not None:
            self.in_flight += 1
            if self._gate is not None:
                self._gate.passed()
        return frame

    def finish(self, segmented: Segmented) -> None:
        """Hand a segmentation back; nobody wants it if the stream has ended meanwhile."""
        self.in_flight -= 1
        self.meter.add(segmented.segmentation.stage_ms)
        self.meter.processed()
        try:
            self.segmented.put(segmented)
        except Closed:
            return


Started = tuple[Port, Frame]


class Inference:
    """The engine, and who is served by it. `run` is the thread; everything else may be called from any thread."""

    def __init__(self, open_segmenter: Callable[[], Segmenter]) -> None:
        """open_segmenter: called on the inference thread."""
        self.model: OpenedModel | None = None
        """What runs now; None until the first engine is open."""
        self._open_segmenter = open_segmenter
        self._changed = threading.Condition()
        self._ports: list[Port] = []
        self._swaps: deque[Swap] = deque()
        self._port_count = self._turn = 0
        self._stopped = False
        self._segmenter: Segmenter | None = None
        self._started: deque[Started] = deque()

    def port(self, meter: Meter, settings: Callable[[], DecodeSettings], introduce: Callable[[OpenedModel], None]) -> Port:
        """Serve another stream. The thread goes on until every port has ended; at least one must be there when it starts."""
        with self._changed:
            self._port_count += 1
            port = Port(self._port_count, meter, self._wake, settings, introduce)
            self._ports.append(port)
        if self.model is not None:
            introduce(self.model)
        return port

    def swap(self, request: Swap) -> None:
        """Exchange the engine as soon as nothing is in flight. Returns at once."""
        with self._changed:
            self._swaps.append(request)
        self._wake()

    def stop(self) -> None:
        """End at once."""
        self._stopped = True
        self._wake()

    def run(self) -> None:
        """Open the engine, serve until every port has ended, close it. Raises what opening or running it raises."""
        try:
            self._segmenter = self._open_segmenter()
            self._segmenter.warm_up(WARM_UP_SIZE)
            self._introduce(self._segmenter)
            while not self._stopped and (work := self._next()) is not None:
                if isinstance(work, Swap):
                    self._exchange(self._segmenter, work)
                else:
                    self._serve(self._segmenter, work)
        finally:
            for port in self._ports:
                port.segmented.close()
            if self._segmenter is not None:
                self._segmenter.close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> Swap | list[Started] | None:
        """What to do next: exchange the engine, or serve these frames (none: finish what is in flight). None at the end."""
        segmenter = self._segmenter
        assert segmenter is not None
        with self._changed:
            while not self._stopped:
                self._let_go(segmenter)
                if self._swaps:
                    return self._swaps.popleft()
                ready = sorted((port for port in self._ports if port.is_ready(segmenter.inflight)), key=lambda port: port.served)
                taken = [(port, frame) for port in ready[: segmenter.batch] if (frame := port.take()) is not None]
                for port, _ in taken:
                    self._turn += 1
                    port.served = self._turn
                if taken or self._started:  # where nothing waits, what is in flight need not wait either
                    return taken
                if not self._ports:
                    return None
                self._changed.wait()
        return None

    def _let_go(self, segmenter: Segmenter) -> None:
        """Forget the streams that have ended."""
        for port in [port for port in self._ports if port.is_done]:
            self._ports.remove(port)
            segmenter.forget(port.number)
            port.segmented.close()

    def _serve(self, segmenter: Segmenter, taken: list[Started]) -> None:
        """Run these frames, one from each of some streams, or finish the one that has been in flight longest."""
        if len(taken) > 1:
            batch = segmenter.run_batch([frame.image for _, frame in taken], [port.settings() for port, _ in taken])
            for (port, frame), segmentation in zip(taken, batch, strict=True):
                self._hand_back(port, frame, segmentation)
            return
        for port, frame in taken:
            segmenter.start(frame.image, port.number)
            self._started.append((port, frame))
        if self._started and (not taken or len(self._started) >= segmenter.inflight):
            self._finish_one(segmenter)

    def _finish_one(self, segmenter: Segmenter) -> None:
        port, frame = self._started.popleft()
        self._hand_back(port, frame, segmenter.finish(port.settings()))

    def _hand_back(self, port: Port, frame: Frame, segmentation: Segmentation) -> None:
        assert self.model is not None, "known since the engine was opened"
        port.finish(Segmented(frame, segmentation, self.model))

    def _exchange(self, before: Segmenter, request: Swap) -> None:
        """Finish what is in flight on the engine that began it; then open the new one, or go on if that does not run."""
        while self._started:
            self._finish_one(before)
        opened: Segmenter | None = None
        try:
            opened = request.open()
            opened.warm_up(WARM_UP_SIZE)
        except SegmentationError as error:
            if opened is not None:
                opened.close()
            request.finished(error)
            return
        self._segmenter = opened
        before.close()
        self._introduce(opened)
        request.finished(None)

    def _introduce(self, segmenter: Segmenter) -> None:
        """Tell every stream what runs now, once it has been warmed up."""
        choice = segmenter.choice
        self.model = OpenedModel(segmenter.card, choice.engine.description, choice.refusals)
        log.info("%s runs on %s", segmenter.card.name, self.model.backend)
        for port in list(self._ports):
            port.introduce(self.model)
