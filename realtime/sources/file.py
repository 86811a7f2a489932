"""Video files: every frame, in order, with the container's own time stamps."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from realtime.errors import SourceOpenError
from realtime.sources.common.base import UNUSUAL_GAP_S, FrameSource, Picture, StreamClock, counted
from realtime.sources.common.playlist import MOST_BYTES, START, variants
from realtime.sources.common.uri import Decode, Options, SourceUri, not_found

if TYPE_CHECKING:
    from realtime.sources.common.container import VideoStream

log = logging.getLogger(__name__)


DECODES = True


def open_uri(uri: SourceUri) -> FileSource:
    """file:///path/clip.mp4, or the path alone. Options: loop=1 repeats it without end."""
    options = Options(uri)
    loop = options.flag("loop")
    options.finish()
    path = Path(uri.target).expanduser()
    if not path.exists():
        raise not_found(path, uri.name)
    return open_path(path, uri.name, loop=loop, decode=uri.decode)


def open_path(path: Path, name: str, *, loop: bool = False, decode: Decode = "auto") -> FileSource:
    """The video file at `path`, shown to people as `name`. Raises SourceOpenError."""
    from realtime.sources.common.container import VideoStream

    try:
        if path.is_file() and path.stat().st_size == 0:
            raise SourceOpenError(f"{name}: the file is empty (0 bytes)")
        path = best_variant(path)
    except OSError as error:
        raise SourceOpenError(f"{name}: {error.strerror or error}", "Check its permissions") from None
    # FFmpeg reads "a:b" as protocol a; "file:" makes any name a path.
    return FileSource(partial(VideoStream, f"file:{path}", name, is_live=False), name, loop=loop, decode=decode)


def best_variant(path: Path) -> Path:
    """The best variant that an HLS master playlist names, or `path` itself where it is anything else. Raises OSError."""
    if not path.is_file():
        return path
    with path.open("rb") as file:
        data = file.read(len(START) + 3)
        if START not in data:
            return path
        data += file.read(MOST_BYTES)
    local = [path.parent / unquote(variant.uri) for variant in variants(data) if variant.has_video and "://" not in variant.uri]
    return next((variant for variant in local if variant.is_file()), path)


class FileSource(FrameSource):
    """A recording, local or remote. Yields all that decodes; `status.detail` reports damage at the end."""

    def __init__(
        self, open_stream: Callable[..., VideoStream], name: str, *, loop: bool = False, decode: Decode = "auto"
    ) -> None:
        """open_stream: takes `decode`. Opens, and decodes the first picture. Raises SourceOpenError when there is none."""
        self._open_stream, self._decode = open_stream, decode
        self._loop = loop
        self._stream, self._decoded = self._open(name)
        fps = self._stream.fps
        clock = StreamClock(fps, is_live=False, from_zero=True, max_gap_s=self._stream.max_gap_s)
        super().__init__(name, fps=fps, frame_count=None if loop else self._stream.frame_count, clock=clock)
        self._detail = self._stream.description
        self._sound = self._stream.sound

    @property
    def decoder(self) -> str:
        return self._stream.decoder

    def _open(self, name: str) -> tuple[VideoStream, Iterator[Picture]]:
        stream = self._open_stream(decode=self._decode)
        pictures = stream.pictures()
        first = next(pictures, None)
        if first is None:
            damage = stream.damage_report()
            stream.close()
            raise SourceOpenError(f"{name}: none of its pictures can be decoded{f' ({damage})' if damage else ''}")
        return stream, itertools.chain((first,), pictures)

    def _pictures(self) -> Iterator[Picture]:
        played = 0  # pictures of the rounds before
        while not self._closed.is_set():
            count = 0
            for picture in self._confirmed(self._decoded):
                count = count + 1 if picture.number is None else picture.number + 1
                yield picture if picture.number is None else picture._replace(number=played + picture.number)
            if not self._loop:
                break
            played += count
            self._decode = "cpu" if self.decoder == "CPU" else self._decode  # a GPU that has failed is not asked each time
            self._stream.close()
            self._stream, self._decoded = self._open(self.name)
            self._clock.restart()
        retimed = f"{counted(self._clock.corrected, 'time stamp')} corrected" if self._clock.corrected else ""
        self._detail = ", ".join(filter(None, (self._stream.damage_report(), retimed)))
        if self._detail and not self._closed.is_set():
            log.warning("%s: %s", self.name, self._detail)

    def _confirmed(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """The pictures; one whose stamp lies far ahead of the one before and after it is an error, and loses it."""
        last_s: float | None = None
        following: Picture | None = None
        while (picture := following or next(pictures, None)) is not None:
            following = None
            if last_s is not None and picture.pts_s is not None and picture.pts_s - last_s > UNUSUAL_GAP_S:
                following = next(pictures, None)
                if following is not None and following.pts_s is not None and following.pts_s < picture.pts_s:
                    self._clock.corrected += 1
                    picture = picture._replace(pts_s=None)
            last_s = picture.pts_s if picture.pts_s is not None and math.isfinite(picture.pts_s) else last_s
            yield picture

    def _release(self) -> None:
        self._decoded = iter(())
        self._stream.close()
