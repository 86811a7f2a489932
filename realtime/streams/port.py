"""Port: one stream's door to the inference thread. Frames go in; segmentations come out, each with the model that made it."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.types import Image, Segmentation
from realtime.flow.links import Bounded, Closed, Latest, Link
from realtime.flow.meter import Meter
from realtime.flow.pipeline import Gate
from realtime.streams.fitting import InputNote
from realtime.types import Frame

log = logging.getLogger(__name__)

WAITING = 1
"""Segmentations of a recording that may wait beside those in flight, so that neither its thread nor this one idles.

A camera's wait for nothing: on busy cores, where drawing takes longer than the model, each would add a picture's time to the age.
"""

CAPACITY = 8
"""More than that and what any engine has in flight: handing back never blocks."""

NAMED = 100
"""Frames without a result whose numbers are kept and logged; of the others, which are counted, one in so many is logged."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """What runs now. backend: its description. refusals: backend → why "auto" did not take it. input: its size, and why."""

    card: ModelCard
    backend: str
    refusals: dict[str, str]
    input: InputNote


class Segmented(NamedTuple):
    """A frame out of the model. error: why it has no segmentation; empty where it has one."""

    frame: Frame
    segmentation: Segmentation | None
    model: OpenedModel
    error: str = ""


class _Answers(Bounded[Segmented]):
    """The way back. segmentations: how many were put, frames without one left out; it rises with `put_count`, never after."""

    segmentations = 0

    def _append(self, item: Segmented) -> None:
        self.segmentations += item.segmentation is not None
        super()._append(item)


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
        self.segmented = _Answers(CAPACITY)
        self.in_flight = 0
        self.served = 0
        """The turn in which it was served last."""
        self.failed = 0
        """Frames that the model took and gave no result for."""
        self.failed_frames: list[int] = []
        """Their numbers in the source, of the first `NAMED`."""
        self.first: Image | None = None
        """The first picture, until it is taken: its size may decide the input's."""
        self._is_announced = False
        self._is_asking = False
        self._gate: Gate | None = None
        self.wake = wake
        self._ended = False

    # For the stream's threads.

    def open(self, frames: Link[Frame], gate: Gate | None) -> None:
        """Begin. frames: the link's rule decides what is dropped before the model. gate: while closed, frames wait here."""
        self.frames, self._gate = frames, gate

    def announce(self, picture: Image) -> None:
        """Show the first picture, which may have to wait until the model is open."""
        self.first, self._is_announced = picture, True
        self.wake()

    def put(self, frame: Frame) -> None:
        """Hand a frame over. Raises Closed."""
        assert self.frames is not None, "opened before its first frame"
        self.frames.put(frame)
        if self._is_announced:
            self.wake()
        else:
            self.announce(frame.image)

    def get(self) -> Segmented | None:
        """Wait for the next segmentation; None after a nudge. Raises Closed at the end."""
        self._is_asking = True
        item = self.segmented.get_or_nudge()
        self._is_asking = False
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

    @property
    def awaits_picture(self) -> bool:
        """Whether the size of its pictures is not known yet."""
        return not self._is_announced and not self._ended

    def is_ready(self, inflight: int) -> bool:
        """Whether a frame waits that may be served now. inflight: how many the engine takes before the first is finished.

        A camera's next one is started beside another only while its thread waits for that: one that is still drawing would take
        both later, and the second would be a picture's time older than with one at a time.
        """
        if self.frames is None or not self.frames.waiting or not (self._gate is None or self._gate.is_open):
            return False
        if self.is_lossless:
            return self.segmented.waiting + self.in_flight < inflight + WAITING
        return not self.segmented.waiting and self.in_flight < (inflight if self._is_asking else 1)

    @property
    def is_done(self) -> bool:
        """Whether no frame will come and none is in flight."""
        return self._ended and not self.in_flight and (self.frames is None or not self.frames.waiting)

    def take(self) -> Frame | None:
        """The next frame; None if it has just been cancelled."""
        frame = self.frames.poll() if self.frames is not None else None
        if frame is not None:
            self.in_flight += 1
            self.first = None
            self.meter.begun()
            if self._gate is not None:
                self._gate.passed()
        return frame

    @property
    def is_lossless(self) -> bool:
        """Whether each of its frames counts, as those of a recording; those of a camera are soon too old."""
        return not isinstance(self.frames, Latest)

    def finish(self, segmented: Segmented) -> None:
        """Hand a segmentation back, or a frame without one; it is dropped if the stream has ended."""
        self.in_flight -= 1
        if segmented.segmentation is not None:
            self.meter.add(segmented.segmentation.stage_ms)
            self.meter.processed()
        else:
            self.failed += 1
            if len(self.failed_frames) < NAMED:
                self.failed_frames.append(segmented.frame.index)
            if self.failed <= NAMED or not self.failed % NAMED:  # a camera's may go on for days
                log.warning("frame %d has no result: %s", segmented.frame.index, segmented.error)
        with suppress(Closed):
            self.segmented.put(segmented)
