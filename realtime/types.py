"""The values that flow from camera to screen and file, and the protocols of the parts that pass them on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from engines.pictures.raw import PictureLike, RawPicture, as_image, size_of
from engines.types import F32, Image, Segmentation, Size


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    picture:     (H, W, 3) uint8 BGR, or as the source has it; owned by the frame: the source never writes into it again.
    index:       0, 1, 2 ... as the source produced them; a gap means frames were dropped on the way.
    pts_s:       presentation time in seconds since the stream's start; rises strictly.
    captured_ns: `time.monotonic_ns()` when the frame reached this program; latency starts here.
    content:     of a live source, the number of its picture: equal in two frames that show the very same one, as a frozen camera
        sends it. None: not compared.
    """

    picture: PictureLike
    index: int
    pts_s: float
    captured_ns: int
    content: int | None = None

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR. Of a raw picture it is made when it is asked for the first time, by whatever thread."""
        return as_image(self.picture)

    @property
    def size(self) -> Size:
        """Of the picture; nothing is converted for it."""
        return size_of(self.picture)

    def as_taken(self, takes: frozenset[str]) -> Frame:
        """The same with BGR in place of a raw picture in a format that is not among `takes`."""
        if isinstance(self.picture, RawPicture) and self.picture.format not in takes:
            return replace(self, picture=self.picture.bgr())
        return self


_AT_REST: F32 = np.zeros(4, np.float32)
_AT_REST.flags.writeable = False


class Track(NamedTuple):
    """One object followed over time. A named tuple, as hundreds are made for each frame.

    id:        > 0, never used again in a run.
    class_id:  index into the model's classes.
    score:     the latest detection's score, in [0, 1].
    box_px:    (4,) float32 x_min, y_min, x_max, y_max in frame pixels.
    row:       its row in this frame's `Instances`, or None while coasting (not seen in this frame).
    trail_px:  (M, 2) float32 ground points (bottom centre of the box) in frame pixels, oldest first, at most 64.
    best_score: the highest score so far; what a threshold looks at, since the latest one flickers.
    velocity_px_s: (4,) float32, how fast the box's centre x, centre y, width and height change, px/s, against the background: a
        camera's own motion is not in it.
    """

    id: int
    class_id: int
    score: float
    box_px: F32
    row: int | None
    trail_px: F32
    best_score: float = 1.0
    velocity_px_s: F32 = _AT_REST


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as an observer reports it.

    kind:     one word, such as "entered". observer: the name of the observer that reports it.
    t_s:      when, in seconds of the stream (`Frame.pts_s` of a recording).
    track_id: the object it happened to, if any. facts: whatever else is known, as plain values.
    """

    kind: str
    observer: str
    t_s: float
    track_id: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What an observer says about one result. numbers: by track id, class id or another whole number of its own."""

    events: tuple[Event, ...] = ()
    numbers: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """A frame with what was seen in it.

    tracks:     None without a tracker.
    freshness:  1 where masks and tracks are the frame's own; lower, down to 0, the older they are. Drawing fades by it.
    mask_age_s: age of the masks relative to `frame`: 0 where they were made from it.
    events:     what observers report since the result before; each event is in one result only.
    numbers:    observer's name → its present numbers.
    error:      why the model has no result for this frame: its segmentation is empty, or an earlier one, moved; else empty.
    """

    frame: Frame
    segmentation: Segmentation
    tracks: tuple[Track, ...] | None
    freshness: float = 1.0
    mask_age_s: float = 0.0
    events: tuple[Event, ...] = ()
    numbers: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A drawn picture, ready for a screen or a file.

    image: (Hc, Wc, 3) uint8 BGR, owned by the canvas. The other fields are its frame's.
    """

    image: Image
    index: int
    pts_s: float
    captured_ns: int


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is doing: one word for programs, one short line for people (passwords already removed).

    state: "connecting", "live", "stalled" (open, but no frame comes), "retrying" (waiting to connect again), "ended"; or, of a
        live stream whose pictures are wrong, "frozen" (the same one again and again), "black", "undecodable".
    rejected: reason → how many pictures could not be used so far; they are no frames, and in no other count.
    sound: what is to be heard beside the pictures, such as "aac, 48000 Hz"; nothing of it is written. Empty without any.
    decoder: what decodes now: "CPU", or a GPU's decoder, such as "NVDEC". Empty where nothing does, or that is not known.
    """

    state: str
    detail: str = ""
    rejected: Mapping[str, int] = field(default_factory=dict)
    sound: str = ""
    decoder: str = ""


class Source(Protocol):
    """A stream of frames. Opened by `open_source(uri)`; used and closed on one thread.

    `__iter__` is called once. It yields frames until the stream ends, and raises SourceError when it breaks.
    `close` may be called more than once, and makes a running iteration end soon.
    """

    name: str
    """What people call it: the URI or path without password."""

    is_live: bool
    """True: it does not wait for its reader, so a slow one must skip frames."""

    frame_count: int | None
    """How many frames will come, where the source knows (an estimate: containers lie)."""

    fps: float | None
    """Nominal frames per second, where the source knows."""

    @property
    def status(self) -> SourceStatus: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class Tracker(Protocol):
    """Gives objects ids that persist. One thread, one stream."""

    def update(self, segmentation: Segmentation, t_s: float, image: PictureLike) -> tuple[Track, ...]:
        """Take one frame's objects; return the tracks to show, at most one per row.

        image: BGR, or raw where the engine takes it so: `as_image` makes it BGR, `part_of` some pixels of it.
        t_s: the frame's time in seconds on any monotonic scale; it rises from call to call, gaps are normal.
        """
        ...


class Observer(Protocol):
    """Looks at one stream's results over time. Knows no clock, no window and no file."""

    name: str
    """What its events and numbers are called by; no two observers of a stream share one."""

    def update(self, result: Result, t_s: float) -> Observation | None:
        """Look at the next result. t_s: its time in seconds on any monotonic scale; gaps are normal. None: nothing to say."""
        ...


class Sink(Protocol):
    """Writes results to a file. Opened by a function that fails early, used and closed on one thread."""

    def write(self, result: Result, canvas: Canvas | None) -> None:
        """canvas: the result drawn; None where no sink of the recording needs pictures."""
        ...

    def close(self) -> None:
        """Finish the file. Called once, also after an error; what was written stays readable."""
        ...


def as_box(x_min: float, y_min: float, x_max: float, y_max: float) -> F32:
    """A (4,) float32 box."""
    return np.array((x_min, y_min, x_max, y_max), np.float32)
