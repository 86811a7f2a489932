"""The base of all sources: frame indices, stream time, checked pictures, and closing from any thread."""

import logging
import math
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import SegmentationError
from engines.pictures.raw import PictureLike, RawPicture, size_of
from engines.types import Image, Size
from realtime.errors import SourceLostError
from realtime.process.redact import one_line
from realtime.types import Frame, SourceStatus

log = logging.getLogger(__name__)

_DEFAULT_INTERVAL_S = 1 / 25
_MIN_STEP_S = 0.001
_MIN_PLAUSIBLE_S = 0.0001  # no camera delivers 10 000 fps
_MAX_DRIFT_S = 2.0  # a live stream's stamps may differ by this much from the elapsed time in one step
_MAX_GAP_S = 30 * 3600.0  # FFmpeg's own limit, beyond which a recording's stamps are errors
UNUSUAL_GAP_S = 10.0
"""A longer gap in a recording needs a second picture that confirms it."""
_MOST_REASONS = 8  # for rejecting pictures; a hostile stream could have one for each
_SIZE = re.compile(r"^\d+x\d+", re.ASCII)


class Picture(NamedTuple):
    """One picture from a decoder.

    image:       a raw picture, or any array: `as_bgr` converts it to an Image, or it is rejected and counted.
    pts_s:       the stream's own time stamp in seconds, or None.
    received_ns: `time.monotonic_ns()` when its data had arrived, before decoding.
    number:      its index, where the source numbers its pictures (and may skip some); None: the last index plus one.
    content:     as `Frame.content`.
    why:         there is no image: the reason.
    """

    image: npt.NDArray[Any] | RawPicture | None
    pts_s: float | None
    received_ns: int
    number: int | None = None
    content: int | None = None
    why: str = ""


def as_bgr(image: npt.NDArray[Any] | None) -> Image:
    """`image` as (H, W, 3) uint8 BGR, C-contiguous; the same array where it already is.

    Takes grey (H, W) or (H, W, 1), BGR and BGRA, in uint8 or uint16. Raises ValueError for anything else.
    """
    if image is None or image.size == 0:
        raise ValueError("an empty picture")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"a picture of shape {image.shape} and type {image.dtype}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return np.ascontiguousarray(image)
    if channels not in (1, 4):
        raise ValueError(f"a picture of {channels} channels")
    code = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)


def as_picture(image: npt.NDArray[Any] | RawPicture | None) -> PictureLike:
    """`image` as `as_bgr` gives it, but a raw picture as it is."""
    return image if isinstance(image, RawPicture) else as_bgr(image)


class StreamClock:
    """Turns raw time stamps into seconds that rise strictly; repeats, jumps and missing stamps become plausible steps.

    A recording's gaps are kept. A step back, or one of more than `max_gap_s`, becomes one interval; when the stamps return to
    where they were before, so does the time.

    corrected: number of steps that do not follow the stream's own stamps.
    """

    def __init__(self, fps: float | None, is_live: bool, *, from_zero: bool = False, max_gap_s: float = _MAX_GAP_S) -> None:
        """from_zero: the stamps themselves count from the stream's start. Otherwise the first picture's time is 0."""
        self.interval_s = 1 / fps if fps else _DEFAULT_INTERVAL_S
        self.corrected = 0
        self._is_live = is_live
        self._from_zero, self._max_gap_s = from_zero, max_gap_s
        self._now_s: float | None = None
        self._raw_s: float | None = None
        self._lead_s: float | None = None  # of a recording's time before its stamps, when they last were plausible
        self._received_s = 0.0

    def tick(self, pts_s: float | None, received_s: float) -> float:
        """The time of the next frame: strictly rising, from 0.0 or from the first stamp.

        pts_s: the stream's own stamp, or None. received_s: when it arrived, on a monotonic clock.
        """
        raw_s = pts_s if pts_s is not None and math.isfinite(pts_s) else None
        if self._now_s is None:
            self._now_s = max(0.0, raw_s) if self._from_zero and raw_s is not None and raw_s <= self._max_gap_s else 0.0
        else:
            self._now_s += self._step_s(raw_s, received_s - self._received_s)
        self._raw_s, self._received_s = raw_s, received_s
        if self._lead_s is None and raw_s is not None:
            self._lead_s = self._now_s - raw_s
        return self._now_s

    def restart(self) -> None:
        """The raw stamps start again from any value (a reconnect, a loop); stream time continues."""
        self._raw_s = self._lead_s = None

    def _step_s(self, raw_s: float | None, waited_s: float) -> float:
        if self._is_live:
            return self._live_step_s(raw_s, waited_s)
        assert self._now_s is not None
        before_s = self._raw_s
        if raw_s is not None and self._lead_s is not None:
            step_s = raw_s + self._lead_s - self._now_s
            follows = before_s is None or abs(before_s + self._lead_s - self._now_s) < _MIN_PLAUSIBLE_S
            if _MIN_PLAUSIBLE_S <= step_s <= (self._max_gap_s if follows else UNUSUAL_GAP_S):
                self.interval_s = step_s if follows and step_s < UNUSUAL_GAP_S else self.interval_s
                return step_s
            if -self.interval_s <= step_s < _MIN_PLAUSIBLE_S:  # a repeated stamp: time waits for those that come
                self.corrected += 1
                return _MIN_STEP_S
        if raw_s is None or before_s is None:
            return self.interval_s
        if _MIN_PLAUSIBLE_S <= raw_s - before_s <= self._max_gap_s:  # after a jump the stamps go on: they are the stream's now
            self._lead_s = self._now_s - before_s
            return raw_s - before_s
        self.corrected += 1
        return self.interval_s

    def _live_step_s(self, raw_s: float | None, waited_s: float) -> float:
        if raw_s is not None and self._raw_s is not None:
            step_s = raw_s - self._raw_s
            if step_s >= _MIN_PLAUSIBLE_S and abs(step_s - waited_s) <= _MAX_DRIFT_S:
                self.interval_s = step_s
                return step_s
            self.corrected += 1
        return max(waited_s, _MIN_STEP_S)


class FrameSource(ABC):
    """Base of the sources: a subclass yields Pictures, this class makes Frames of them. See `realtime.types.Source`.

    One thread opens, iterates and closes; `close` on another thread ends the iteration soon.
    """

    is_live = False

    def __init__(
        self, name: str, *, fps: float | None = None, frame_count: int | None = None, clock: StreamClock | None = None
    ) -> None:
        self.name, self.fps, self.frame_count = name, fps, frame_count
        self.rejected: dict[str, int] = {}
        self._clock = clock or StreamClock(fps, self.is_live)
        self._closed = threading.Event()
        self._owner: threading.Thread | None = None
        self._owner_lock = threading.Lock()
        self._releasing = threading.RLock()
        self._state = "connecting" if self.is_live else "live"
        self._detail = ""
        self._sound = ""
        self._size: Size | None = None
        self._frames: Generator[Frame, None, None] = self._make_frames()

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(self._state, self._sized(self._detail), dict(self.rejected), self._sound, self.decoder)

    @property
    def decoder(self) -> str:
        """As `SourceStatus.decoder`."""
        return ""

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """End the iteration and free its resources. May be called more than once, and from any thread.

        The capture thread frees what it opened: while that thread runs, another thread only wakes it.
        """
        with self._owner_lock:
            self._closed.set()
            owner = self._owner
        self._interrupt()
        if owner is not None and owner is not threading.current_thread() and owner.is_alive():
            return
        if not self._releasing.acquire(blocking=False):
            return  # another thread is at it: native code frees nothing twice at a time
        try:
            try:
                self._frames.close()
            except ValueError:  # called from inside the iteration (a signal handler): it ends by itself
                return
            self._release()
        finally:
            self._releasing.release()
        if self._state != "ended":  # it was never iterated
            self._end("closed")

    @abstractmethod
    def _pictures(self) -> Iterator[Picture]:
        """The pictures, in order. Runs on the capture thread, and ends soon once `_closed` is set."""

    def _release(self) -> None:  # noqa: B027  a drawn scene has nothing to free
        """Free what was opened, also when nothing was iterated. May be called more than once."""

    def _interrupt(self) -> None:  # noqa: B027  most sources never block for long
        """Wake a blocked `_pictures`. Called on any thread."""

    def _make_frames(self) -> Generator[Frame, None, None]:
        index = 0
        with self._owner_lock:
            if self._closed.is_set():
                return
            self._owner = threading.current_thread()
        try:
            for picture in self._pictures():
                if self._closed.is_set():
                    break
                try:
                    shown = as_picture(picture.image)
                except ValueError as error:
                    self._reject(picture.why or str(error))
                    continue
                self._size = size_of(shown)
                index = index if picture.number is None else picture.number
                pts_s = self._clock.tick(picture.pts_s, picture.received_ns / 1e9)
                yield Frame(shown, index, pts_s, picture.received_ns, picture.content)
                index += 1
            self._end("closed" if self._closed.is_set() else self._detail)
        except GeneratorExit:
            self._end("closed")
            raise
        except SegmentationError as error:
            self._end(str(error))
            raise
        except Exception as error:
            lost = SourceLostError(*unexpected(self.name, error))
            self._end(str(lost))
            raise lost from None
        finally:
            self._release()

    def _reject(self, why: str) -> None:
        why = why if why in self.rejected or len(self.rejected) < _MOST_REASONS else "other reasons"
        self.rejected[why] = self.rejected.get(why, 0) + 1

    def _sized(self, detail: str) -> str:
        """The description of a running stream with the size that its pictures have now, and a GPU's decoder: both may change."""
        if self._state != "live" or not _SIZE.match(detail):
            return detail
        if self._size is not None:
            detail = _SIZE.sub(str(self._size), detail, count=1)
        decoder = f", decoded by {self.decoder}" if self.decoder not in ("", "CPU") else ""
        return detail + decoder

    def _end(self, detail: str) -> None:
        self._state, self._detail = "ended", detail


def now_ns() -> int:
    """The clock of `Frame.captured_ns`."""
    return time.monotonic_ns()


def counted(number: int, noun: str) -> str:
    """ "1 frame", "2 frames"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def described(width: int, height: int, codec: str, fps: float | None) -> str:
    """ "1280x720 h264 25 fps", without what is unknown ("", None)."""
    return " ".join(filter(None, (f"{width}x{height}", codec, f"{fps:.4g} fps" if fps else "")))


def unexpected(name: str, error: Exception) -> tuple[str, str]:
    """The problem, `name` in front, and the cure of an error that a library has raised and nobody expected."""
    log.debug("%s: unexpected", name, exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror[:1].lower()}{error.strerror[1:]}", "Check its permissions and its disk"
    if isinstance(error, MemoryError):
        return f"{name}: there is not enough memory for its pictures", "Close other programs, or choose a smaller resolution"
    return f"{name}: {type(error).__name__}: {one_line(error) or 'without a message'}", "--log FILE has the details"
