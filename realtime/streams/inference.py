"""Inference: the one thread that owns the engine. It serves the streams in turn, and exchanges the engine between two frames.

A stream puts its frames into a `Port` and gets segmentations out of it, each with the model that made it. Of the streams that
have a frame and room for its segmentation, the one served longest ago is next: a slow or paused one holds up no other.

On a GPU the next frame is uploaded while one is computed (`flight`). A camera's is taken as late as that allows, when the GPU
becomes free: two in flight make a picture older only by the copy of the next frame.

An engine that fails on a frame is opened again (`recovery`). A recording's frames are then run again; one that fails a second
time, and a camera's, go back without a segmentation.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from engines.errors import InferenceError, SegmentationError
from engines.families import DecodeSettings
from engines.segmenter import Segmenter
from engines.types import Image, Segmentation
from realtime.flow.meter import Meter
from realtime.process.redact import redact
from realtime.streams.fitting import InputFit, InputNote
from realtime.streams.flight import Flight
from realtime.streams.port import OpenedModel, Port, Segmented
from realtime.streams.recovery import FAILURES, WARM_UP_SIZE, Recovery, close_quietly, cure_of, open_warm, reason_of
from realtime.streams.turns import Turns
from realtime.streams.work import Started, Swap

log = logging.getLogger(__name__)

CUT_SHORT_S = 0.5
"""After a stop, what the network is doing may take so long: frames in flight end by themselves."""


class Inference:
    """The engine and the ports that it serves. `run` is the thread; everything else may be called from any thread."""

    def __init__(self, open_segmenter: Callable[[], Segmenter], fit: InputFit | None = None) -> None:
        """open_segmenter: called on the inference thread. fit: of the input that it opens; None where pictures do not matter."""
        self.model: OpenedModel | None = None
        """What runs now; None until the first engine is open."""
        self.takes: frozenset[str] = frozenset()
        """The raw pictures that need not be converted for it, by format."""
        self._open_segmenter = self._open_now = open_segmenter
        self._fit = fit
        self._changed = threading.Condition()
        self._ports = Turns()
        self._swaps: deque[Swap] = deque()
        self._port_count = 0
        self._stopped = False
        self._segmenter: Segmenter | None = None
        self._flight = Flight()
        self._again: deque[Started] = deque()
        self._recovery = Recovery()
        self._cut: threading.Timer | None = None

    @property
    def recovering(self) -> str:
        """What is being done, in one line, while a failed engine is opened again; empty otherwise."""
        return self._recovery.text

    @property
    def recoveries(self) -> int:
        """How often a failed engine was opened again."""
        return self._recovery.count

    def port(self, meter: Meter, settings: Callable[[], DecodeSettings], introduce: Callable[[OpenedModel], None]) -> Port:
        """A new port. The thread runs until every port has ended; it needs at least one when it starts."""
        with self._changed:
            self._port_count += 1
            port = Port(self._port_count, meter, self._wake, settings, introduce)
            self._ports.add(port)
        if self.model is not None:
            introduce(self.model)
        return port

    def first_pictures(self, limit_s: float) -> list[Image]:
        """Wait for the first picture of every stream that has not ended, up to `limit_s`; those that there are."""
        deadline_s = time.monotonic() + limit_s
        with self._changed:
            while not self._stopped and any(port.awaits_picture for port in self._ports):
                if (left_s := deadline_s - time.monotonic()) <= 0:
                    break
                self._changed.wait(left_s)
        return [port.first for port in self._ports if port.first is not None]

    def swap(self, request: Swap) -> None:
        """Exchange the engine as soon as nothing is in flight. Returns at once."""
        with self._changed:
            self._swaps.append(request)
        self._wake()

    def stop(self) -> None:
        """End at once."""
        self._stopped = True
        self._wake()
        with self._changed:
            if self._cut is None:
                self._cut = threading.Timer(CUT_SHORT_S, self._cut_short)
                self._cut.daemon = True
                self._cut.start()

    def _cut_short(self) -> None:
        """End a run of the network that goes on although all is over: one of a graph that loops for ever never ends by itself."""
        segmenter = self._segmenter
        if segmenter is not None:
            segmenter.cancel()

    def run(self) -> None:
        """Open the engine, serve until every port has ended, close it. Raises what opening it raises, and running it at last."""
        try:
            self._segmenter = self._open_segmenter()
            if self._stopped:
                return
            self._segmenter.warm_up(WARM_UP_SIZE)
            self._introduce(self._segmenter)
            while not self._stopped and (work := self._next()) is not None:
                self._do_or_recover(self._segmenter, work)
        except InferenceError:
            if not self._stopped:  # else it was cut short
                raise
        finally:
            with self._changed:
                if self._cut is not None:
                    self._cut.cancel()
            for port in self._ports:
                port.segmented.close()
            self._close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> Swap | list[Started] | None:
        """What to do next: exchange the engine, or serve these frames (none: finish what is in flight). None at the end."""
        segmenter = self._segmenter
        assert segmenter is not None
        with self._changed:
            while not self._stopped:
                self._ports.let_go(segmenter)
                if not self._ports:
                    return None
                if self._swaps:
                    return self._swaps.popleft()
                if self._again:  # alone, and first: they are older than all that wait
                    return [] if self._flight else [self._again.popleft()]
                taken = self._take(segmenter)
                if self._swaps:
                    continue
                if taken or self._flight:  # where nothing waits, what is in flight need not wait either
                    return taken
                self._changed.wait()
        return None

    def _take(self, segmenter: Segmenter) -> list[Started]:
        """The frames for the next run. Those that the input does not fit wait for another engine, which is asked for."""
        taken = self._ports.take(segmenter)
        pictures = [one.frame.picture for one in taken]
        if taken and self._fit and self.model and self._fit.outgrown(pictures, self.model.card.input.size):
            self._again.extend(taken)
            self._swaps.append(Swap(self._open_segmenter, _report_refit))
            return []
        return taken

    def _take_meanwhile(self, segmenter: Segmenter) -> list[Started]:
        """What came while a frame was being finished, and may be started before that is handed back."""
        with self._changed:
            is_free = not (self._stopped or self._swaps or self._again)
            return self._take(segmenter) if is_free else []

    def _serve(self, segmenter: Segmenter, taken: list[Started]) -> None:
        """Run these frames, one from each of some streams, or finish those that have been in flight longest."""
        if taken:
            self._flight.start(segmenter, taken)
        is_alone = any(one.is_again for one in taken)
        if not taken or is_alone or len(self._flight) >= segmenter.inflight:
            self._finish(segmenter, may_take=not is_alone)

    def _finish(self, segmenter: Segmenter, *, may_take: bool) -> None:
        """may_take: something else may be started before its frames are handed back."""
        self._flight.finish(segmenter, lambda: self._take_meanwhile(segmenter) if may_take else [], self._hand_back)

    def _hand_back(self, one: Started, segmentation: Segmentation | None, reason: str) -> None:
        """reason: why it has no segmentation; empty where it has one."""
        assert self.model is not None, "known since the engine was opened"
        one.port.finish(Segmented(one.frame, segmentation, self.model, redact(reason)))

    # When the engine fails

    def _do_or_recover(self, segmenter: Segmenter, work: Swap | list[Started]) -> None:
        try:
            if isinstance(work, Swap):
                self._exchange(segmenter, work)
            else:
                self._serve(segmenter, work)
        except FAILURES as error:
            if self._stopped:  # cut short, and nobody waits for it
                return
            if isinstance(work, Swap):
                self._swaps.appendleft(work)
            suspect, reason = self._flight.suspect, reason_of(error)
            is_frame_at_fault = suspect is not None and suspect.is_again
            held = self._flight.give_up()
            self._again.extendleft(reversed([one for one in held if self._runs_again(one, reason)]))
            if is_frame_at_fault:  # on an engine that was just opened, and has nothing else in flight
                self._recovery.failed_again()
                return
            self._reopen(error)

    def _runs_again(self, one: Started, reason: str) -> bool:
        """Whether a frame that the failed engine held is run again; if not, it goes back without a segmentation."""
        if one.port.is_lossless and not one.is_again:
            return True
        self._hand_back(one, None, reason)
        return False

    def _reopen(self, error: BaseException) -> None:
        """Close the engine and open it again, after a pause. Raises InferenceError when that was tried often enough.

        An engine that replaced the first one (`swap`) may be lost with its device: then the first is opened.
        """
        self._again = deque(replace(one, is_again=True) for one in self._again)
        while not self._stopped:
            try:
                pause_s = self._recovery.pause_s(error)
            except InferenceError:
                while self._again:
                    self._hand_back(self._again.popleft(), None, reason_of(error))
                raise
            log.warning("%s", redact(self._recovery.text))
            self._close()
            if self._sleep(pause_s):
                return
            for open_segmenter in dict.fromkeys((self._open_now, self._open_segmenter)):
                try:
                    self._segmenter = open_warm(open_segmenter)
                except (SegmentationError, MemoryError) as failure:
                    error = failure
                else:
                    self._open_now = open_segmenter
                    self._recovery.succeeded()
                    log.warning("recovered: the model is open again")
                    self._introduce(self._segmenter)
                    return

    def _sleep(self, pause_s: float) -> bool:
        """Wait. True if the run was stopped meanwhile."""
        deadline_s = time.monotonic() + pause_s
        with self._changed:
            while not self._stopped and (left_s := deadline_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
        return self._stopped

    def _close(self) -> None:
        """Free the engine, if one is open."""
        segmenter, self._segmenter = self._segmenter, None
        if segmenter is not None:
            close_quietly(segmenter)

    def _exchange(self, before: Segmenter, request: Swap) -> None:
        """Finish what is in flight on the engine that started it; then open the new one, or go on if that fails."""
        while self._flight:
            self._finish(before, may_take=False)
        self._flight.suspect = None  # or a frame of before would be blamed for what fails here
        try:
            opened = open_warm(request.open)
        except SegmentationError as error:
            request.finished(error)
            return
        except MemoryError as error:  # for both engines at once; the one before has all that it needs
            request.finished(InferenceError(reason_of(error), cure_of(error)))
            return
        self._close()
        self._segmenter, self._open_now = opened, request.open
        self._introduce(opened)
        request.finished(None)

    def _introduce(self, segmenter: Segmenter) -> None:
        """Report the model, which is warm, to every stream."""
        choice, self.takes = segmenter.choice, segmenter.takes
        note = self._fit.note(segmenter.card) if self._fit else InputNote(segmenter.card.input.size)
        self.model = OpenedModel(segmenter.card, choice.engine.description, choice.refusals, note)
        log.info("%s runs on %s, input %s", segmenter.card.name, self.model.backend, note)
        for port in list(self._ports):
            port.introduce(self.model)


def _report_refit(error: SegmentationError | None) -> None:
    if error is not None:
        log.warning("the pictures have another shape, and the model cannot be opened for it: %s", redact(str(error)))
