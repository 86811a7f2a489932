"""Looks at what a live stream delivers: the same picture again and again, black, or nothing that decodes."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engines.pictures.raw import PictureLike, RawPicture, part_of, planes_of, size_of
from engines.types import U8
from realtime.types import Frame, Source, SourceStatus

log = logging.getLogger(__name__)

SAID_AFTER_S = 2.5
_JUST_BEGUN_S = 0.5
_FEW, _MOST = 0.2, 0.8  # of what does not decode: of pure noise a few pictures do
_LEAST_REPEATS = 3  # a camera with one picture a second has not frozen after its third
_COMPARED_ROWS = 120  # of the picture's height: whatever moves and is 6 px high at 720p is noticed
_BLACK_MEAN = 20.0  # limited range that is shown as full has 16 for black, and a covered sensor at high gain has noise
_BLACK_SPREAD = 6.0  # a lamp in 0.1 % of a dark picture makes it 6
_BLACK_PEAK = 64  # most pictures have something brighter in their middle row, and need no mean


class Trouble(NamedTuple):
    """What is wrong with the pictures that arrive. state: as in `SourceStatus`. since_s: on the clock of `PictureWatch.see`."""

    state: str
    what: str
    since_s: float


class PictureWatch:
    """Sees every picture of a live stream. One thread calls `see` and `report`; any may ask for `trouble`.

    content: counts the different pictures: a picture equal to the one before has the same number.
    """

    def __init__(self, name: str) -> None:
        """name: of the stream, for the log."""
        self.content = 0
        self._name = name
        self._reported: Trouble | None = None
        self._image: PictureLike | None = None
        self._is_black = False
        self.restart()

    def restart(self) -> None:
        """Another connection: what was wrong with the last one is over."""
        self._reported = None
        self._repeats = self._broken = 0
        self._lately: deque[tuple[float, bool]] = deque()  # when, and whether it decoded
        self._shown_s: float | None = None  # since when the present content is shown
        self._black_s: float | None = None
        self._broken_s: float | None = None

    def see(self, image: PictureLike | None, now_s: float) -> None:
        """The next picture, kept until the next one; None for one that does not decode. A raw one is not converted.

        Takes 7 to 14 µs at 720p; 75 µs for the same picture again, 70 µs for a black one (medians of one core's time).
        """
        self._count(now_s, is_broken=image is None)
        if image is None:
            return
        if self._image is not None and _is_same(self._image, image):
            self._repeats += 1
        else:
            self.content, self._repeats, self._shown_s = self.content + 1, 0, None
            self._is_black = _is_black(image)
        self._image = image
        self._shown_s = now_s if self._shown_s is None else self._shown_s
        self._black_s = None if not self._is_black else now_s if self._black_s is None else self._black_s

    def _count(self, now_s: float, *, is_broken: bool) -> None:
        self._lately.append((now_s, is_broken))
        self._broken += is_broken
        while self._lately[0][0] < now_s - SAID_AFTER_S:
            self._broken -= self._lately.popleft()[1]
        if self._broken < _FEW * len(self._lately):
            self._broken_s = None
        elif self._broken_s is None:
            self._broken_s = now_s

    def trouble(self, now_s: float) -> Trouble | None:
        """What has been wrong for more than `SAID_AFTER_S`, if anything."""
        black_s, broken_s, shown_s = self._black_s, self._broken_s, self._shown_s
        broken, count = self._broken, max(1, len(self._lately))
        if broken_s is not None and now_s - broken_s >= SAID_AFTER_S - _JUST_BEGUN_S and broken >= _MOST * count:
            return Trouble("undecodable", f"{broken} of the last {count} pictures cannot be decoded", broken_s)
        if black_s is not None and now_s - black_s >= SAID_AFTER_S:
            return Trouble("black", f"a black picture for {now_s - black_s:.1f} s", black_s)
        if shown_s is not None and self._repeats >= _LEAST_REPEATS and now_s - shown_s >= SAID_AFTER_S:
            return Trouble("frozen", f"the same picture for {now_s - shown_s:.1f} s", shown_s)
        return None

    def report(self, now_s: float) -> Trouble | None:
        """As `trouble`; logs once that something is wrong, and once that it is over."""
        before, trouble = self._reported, self.trouble(now_s)
        self._reported = trouble
        if (before and before.state) != (trouble and trouble.state):
            if before is not None:
                log.warning("%s: no longer %s, after %.1f s", self._name, before.state, now_s - before.since_s)
            if trouble is not None:
                log.warning("%s: %s (%s)", self._name, trouble.state, trouble.what)
        return trouble


def watched(source: Source) -> Source:
    """The same; if it is live, its pictures are watched."""
    return _Watched(source) if source.is_live else source


class _Watched:
    """A live source of somebody else's making, its pictures watched as those of `LiveSource` are."""

    def __init__(self, source: Source) -> None:
        self._source, self._watch = source, PictureWatch(source.name)
        self.name, self.is_live = source.name, source.is_live
        self.frame_count, self.fps = source.frame_count, source.fps

    @property
    def status(self) -> SourceStatus:
        status, trouble = self._source.status, self._watch.trouble(time.monotonic())
        return status if trouble is None or status.state != "live" else replace(status, state=trouble.state, detail=trouble.what)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            if frame.content is None:
                now_s = time.monotonic()
                self._watch.see(frame.picture, now_s)
                self._watch.report(now_s)
                frame = replace(frame, content=self._watch.content)
            self.fps = self._source.fps  # some know it only now
            yield frame

    def close(self) -> None:
        self._source.close()


def _is_same(before: PictureLike, image: PictureLike) -> bool:
    """Whether two pictures are equal, as far as every few rows tell. Noise makes any two pictures of a sensor differ at once."""
    one, other = planes_of(before)[0], planes_of(image)[0]  # luma alone, of YUV
    if one.shape != other.shape:
        return False
    middle, step = len(other) // 2, max(1, len(other) // _COMPARED_ROWS)
    return bool(np.array_equal(one[middle], other[middle]) and np.array_equal(_words(one)[::step], _words(other)[::step]))


def _words(image: U8) -> npt.NDArray[Any]:
    """Its rows, of 8 bytes an element where they divide by that: a fifth of the time."""
    rows = image.reshape(len(image), -1)
    return rows.view(np.uint64) if rows.shape[1] % 8 == 0 else rows


def _is_black(image: PictureLike) -> bool:
    size = size_of(image)
    if _has_light(image, slice(size.height // 2, size.height // 2 + 1)):
        return False
    sample = part_of(image, slice(None, None, max(1, size.height // 32)), slice(None, None, max(1, size.width // 32)))
    return bool(sample.mean() <= _BLACK_MEAN and sample.std() <= _BLACK_SPREAD)


def _has_light(image: PictureLike, row: slice) -> bool:
    """Whether something in a row is too bright for a black picture."""
    if isinstance(image, RawPicture) and image.colours is not None:
        # The brightest of three channels is no darker than luma, which says it at once of most pictures.
        peak = _BLACK_PEAK if image.colours.is_full else 16 + _BLACK_PEAK * 219 / 255
        if image.planes[0][row].max() > peak + 1:
            return True
    return bool(part_of(image, row, slice(None)).max() > _BLACK_PEAK)
