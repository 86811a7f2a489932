"""Inference: the one thread that owns the engine. It serves the streams in turn, and exchanges the engine between two frames.

A stream puts its frames into a `Port` and gets segmentations out of it, each with the model that made it. Of the streams that
have a frame and room for its segmentation, the one served longest ago is next: a slow or paused one holds up no other.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import SegmentationError
from engines.families import DecodeSettings
from engines.segmenter import Segmenter
from engines.types import Segmentation, Size
from realtime.flow.meter import Meter
from realtime.streams.port import OpenedModel, Port, Segmented
from realtime.types import Frame

log = logging.getLogger(__name__)

WARM_UP_SIZE = Size(1280, 720)


@dataclass(frozen=True, slots=True)
class Swap:
    """A request to run another engine.

    open: opens it. finished: gets None once it runs, or the error if it fails; the previous engine then goes on. Both are
    called on the inference thread, `open` when nothing is in flight; neither is called if the run ends before.
    """

    open: Callable[[], Segmenter]
    finished: Callable[[SegmentationError | None], None]


Started = tuple[Port, Frame]


class Inference:
    """The engine and the ports that it serves. `run` is the thread; everything else may be called from any thread."""

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
        """A new port. The thread runs until every port has ended; it needs at least one when it starts."""
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
                if not self._ports:
                    return None
                if self._swaps:
                    return self._swaps.popleft()
                ready = sorted((port for port in self._ports if port.is_ready(segmenter.inflight)), key=lambda port: port.served)
                taken = [(port, frame) for port in ready[: segmenter.batch] if (frame := port.take()) is not None]
                for port, _ in taken:
                    self._turn += 1
                    port.served = self._turn
                if taken or self._started:  # where nothing waits, what is in flight need not wait either
                    return taken
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
        """Finish what is in flight on the engine that started it; then open the new one, or go on if that fails."""
        while self._started:
            self._finish_one(before)
        opened: Segmenter | None = None
        try:
            opened = request.open()
            opened.warm_up(WARM_UP_SIZE)
        except BaseException as error:
            if opened is not None:
                opened.close()
            if not isinstance(error, SegmentationError):
                raise
            request.finished(error)
            return
        self._segmenter = opened
        before.close()
        self._introduce(opened)
        request.finished(None)

    def _introduce(self, segmenter: Segmenter) -> None:
        """Report the model, which is warm, to every stream."""
        choice = segmenter.choice
        self.model = OpenedModel(segmenter.card, choice.engine.description, choice.refusals)
        log.info("%s runs on %s", segmenter.card.name, self.model.backend)
        for port in list(self._ports):
            port.introduce(self.model)
