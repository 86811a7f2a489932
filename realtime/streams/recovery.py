"""Recovery: an engine that fails on a frame is opened again, three times at most, after pauses that grow; then the run ends."""

import logging
import time
from collections.abc import Callable

from engines.errors import BackendUnavailableError, InferenceError, SegmentationError
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.process.redact import redact

log = logging.getLogger(__name__)

WARM_UP_SIZE = Size(1280, 720)

PAUSES_S = (0.5, 1.0, 2.0)
"""Before each attempt: a driver that restarts, or memory that another program gives back, takes about that long."""

GOOD_STRETCH_S = 60.0
"""After so long without a failure all attempts are available again."""

FAILURES = (InferenceError, BackendUnavailableError, MemoryError)
"""What an engine raises that may work again once it is opened again. Everything else ends the run."""


class Recovery:
    """The attempts of one run. Used on the inference thread; `text` may be read from any."""

    def __init__(self) -> None:
        self.text = ""
        """What is being done, in one line, while an engine is opened again; empty otherwise."""
        self.count = 0
        """Attempts in the whole run."""
        self._attempts = 0
        self._last_failure_s = 0.0

    def pause_s(self, error: BaseException) -> float:
        """The pause before the next attempt after this failure. Raises InferenceError when there is none left."""
        now_s = time.monotonic()
        if now_s - self._last_failure_s > GOOD_STRETCH_S:
            self._attempts = 0
        self._last_failure_s = now_s
        if self._attempts == len(PAUSES_S):
            self.text = ""
            raise InferenceError(f"{reason_of(error)}; opening it again did not help, {self._attempts} times", cure_of(error))
        pause_s = PAUSES_S[self._attempts]
        self._attempts += 1
        self.count += 1
        self.text = f"Recovering, attempt {self._attempts} of {len(PAUSES_S)}: {reason_of(error)}"
        return pause_s

    def failed_again(self) -> None:
        """A frame failed on an engine that was just opened: the frame's fault, and no attempt. The good stretch begins anew."""
        self._last_failure_s = time.monotonic()

    def succeeded(self) -> None:
        """The engine is open again."""
        self.text = ""


def reason_of(error: BaseException) -> str:
    """What happened, without the cure."""
    if isinstance(error, SegmentationError):
        return error.what
    return "the model ran out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"


def cure_of(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "Close other programs, or use a smaller input: --size"
    return error.cure if isinstance(error, SegmentationError) else ""


def open_warm(open_segmenter: Callable[[], Segmenter]) -> Segmenter:
    """An engine that has run once. Raises what opening and running it raises, with nothing left open."""
    opened = open_segmenter()
    try:
        opened.warm_up(WARM_UP_SIZE)
    except BaseException:
        close_quietly(opened)
        raise
    return opened


def close_quietly(segmenter: Segmenter) -> None:
    """Free an engine. What that raises is only logged: what the engine gave is still on its way to files and screens."""
    try:
        segmenter.close()
    except Exception as error:
        log.warning("the engine could not be closed: %s", redact(reason_of(error)))
