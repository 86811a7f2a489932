"""Flight: the frames that the engine works on. Each run is of one frame, or of one frame from each of several streams."""

from collections import deque
from collections.abc import Callable

from engines.segmenter import Segmenter
from engines.types import Segmentation
from realtime.streams.recovery import FAILURES
from realtime.streams.work import Started

Taking = Callable[[], list[Started]]
HandingBack = Callable[[Started, Segmentation], None]


class Flight:
    """What was started and not finished, in order. Used on the inference thread."""

    def __init__(self) -> None:
        self.suspect: Started | None = None
        """The frame that what fails now must be blamed on; None where it may be any, or none, of them."""
        self._runs: deque[list[Started]] = deque()

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
        so that a camera's frame is the newest there is when the GPU becomes free. Raises what the engine and its family raise,
        after handing back every frame that could be read.
        """
        held = self._runs[0]
        self.suspect = _only(held)
        runs = segmenter.wait()
        if len(self._runs) < segmenter.inflight and (taken := take()):
            self.start(segmenter, taken)
        failed: list[Started] = []
        errors: list[BaseException] = []
        for one, run in zip(held, runs, strict=True):
            try:
                segmentation = segmenter.read(run, one.port.settings())
            except FAILURES as error:
                failed.append(one)
                errors.append(error)
            else:
                hand_back(one, segmentation)
        if failed:
            self.suspect = _only(failed)
            self._runs[0] = failed
            raise errors[0]
        self._runs.popleft()

    def give_up(self) -> list[Started]:
        """Forget everything in flight, after a failure: the frames, oldest first."""
        held = [one for run in self._runs for one in run]
        self._runs.clear()
        return held


def _only(run: list[Started]) -> Started | None:
    return run[0] if len(run) == 1 else None
