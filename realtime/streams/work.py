"""What the inference thread does next: frames that it has taken, and engines to exchange."""

from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import SegmentationError
from engines.segmenter import Segmenter
from realtime.streams.port import Port
from realtime.types import Frame


@dataclass(frozen=True, slots=True)
class Swap:
    """A request to run another engine.

    open: opens it. finished: gets None once it runs, or the error if it fails; the previous engine then goes on. Both are
    called on the inference thread, `open` when nothing is in flight; neither is called if the run ends before.
    """

    open: Callable[[], Segmenter]
    finished: Callable[[SegmentationError | None], None]


@dataclass(frozen=True, slots=True)
class Started:
    """A frame that was taken and not handed back. is_again: the engine failed on it before."""

    port: Port
    frame: Frame
    is_again: bool = False
