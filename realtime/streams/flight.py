"""Flight: the frames that the engine works on. Each run is of one frame, or of one frame from each of several streams."""

import time
from collections import deque
from collections.abc import Callable

from engines.errors import InferenceError
from engines.segmenter import Segmenter
from engines.types import Segmentation
from realtime.streams.recovery import FAILURES, reason_of
from realtime.streams.work import Started

Taking = Callable[[], list[Started]]
HandingBack = Callable[[Started, Segmentation | None, str], None]
"""The string: why there is no segmentation."""

WITNESS_S = 2.0
"""A stream that was read so long ago says nothing of the engine any more."""


class Flight:
    """What was started and not finished, in order. Used on the inference thread."""

    def __init__(self) -> None:
        self.suspect: Started | None = None
        """The frame that what fails now must be blamed on; None where it may be any, or none, of them."""
        self._runs: deque[list[Started]] = deque()
        self._read_s: dict[int, float] = {}
        """Port → when the outputs of a frame of its last made sense, of the engine that is open."""
        self._failing: set[int] = set()
        """Ports whose frames failed since any did."""

    def __len__(self) -> int:
        """How many runs are in flight."""
        return len(self._runs)

    def start(self, segmenter: Segmenter, taken: list[Started]) -> None:
        """Begin a run of these frames, each of another stream. Raises InferenceError; they then count as in flight."""
        self._runs.append(taken)
        self.suspect = _only(taken)
        if len(taken) == 1:
            segmenter.start(taken[0].frame.picture, taken[0].port.number)
        else:
            segmenter.start_batch([one.frame.picture for one in taken])

    def finish(self, segmenter: Segmenter, take: Taking, hand_back: HandingBack) -> None:
        """Wait for the run that was started first, and hand its frames back.

        take: what came meanwhile, if it may be started: a GPU then works while the CPU reads the outputs. It is taken only now,
        so that a camera's frame is the newest there is when the GPU becomes free. Where only its outputs make no sense, a
        camera's frame goes back without a segmentation. Raises what else the engine and its family raise, after handing back
        every frame that could be read.
        """
        held = self._runs[0]
        self.suspect = _only(held)
        runs = segmenter.wait()
        if len(self._runs) < segmenter.inflight and (taken := take()):
            self.start(segmenter, taken)
        failed: list[tuple[Started, BaseException]] = []
        for one, run in zip(held, runs, strict=True):
            try:
                segmentation = segmenter.read(run, one.port.settings())
            except FAILURES as error:
                failed.append((one, error))
            else:
                self._read_s[one.port.number] = time.monotonic()
                self._failing.clear()
                hand_back(one, segmentation, "")
        unsettled = []
        for one, failure in failed:
            if self._is_at_fault(one, failure):
                hand_back(one, None, reason_of(failure))
            else:
                unsettled.append(one)
        if unsettled:
            self.suspect = _only(unsettled)
            self._runs[0] = unsettled
            raise failed[0][1]
        self._runs.popleft()

    def _is_at_fault(self, one: Started, failure: BaseException) -> bool:
        """Whether a camera's frame is to blame, and not the engine, since another stream's was read a moment ago.

        Outputs of a broken engine make sense to no stream: the second one that fails is no longer to blame.
        """
        number, now_s = one.port.number, time.monotonic()
        is_alone = not self._failing - {number}
        self._failing.add(number)
        others = any(now_s - read_s < WITNESS_S for port, read_s in self._read_s.items() if port != number)
        return is_alone and others and isinstance(failure, InferenceError) and not one.port.is_lossless

    def give_up(self) -> list[Started]:
        """Forget everything in flight, after a failure: the frames, oldest first."""
        held = [one for run in self._runs for one in run]
        self._runs.clear()
        self._read_s.clear()
        self._failing.clear()
        return held


def _only(run: list[Started]) -> Started | None:
    return run[0] if len(run) == 1 else None
