"""Video files: every frame, in order, with the container's own time stamps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import SourceOpenError
from realtime.sources.common.base import FrameSource, Picture, counted
from realtime.sources.common.uri import Options, SourceUri, not_found

if TYPE_CHECKING:
    from realtime.sources.common.container import VideoStream


def open_uri(uri: SourceUri) -> FileSource:
    """file:///path/clip.mp4, or the path alone. Options: loop=1 repeats it without end."""
    options = Options(uri)
    loop = options.flag("loop")
    options.finish()
    path = Path(uri.target).expanduser()
    if not path.exists():
        raise not_found(path, uri.name)
    return open_path(path, uri.name, loop=loop)


def open_path(path: Path, name: str, *, loop: bool = False) -> FileSource:
    """The video file at `path`, shown to people as `name`. Raises SourceOpenError."""
    from realtime.sources.common.container import VideoStream

    if path.is_file() and path.stat().st_size == 0:
        raise SourceOpenError(f"{name}: the file is empty (0 bytes)")
    # FFmpeg reads "a:b" as protocol a; "file:" makes any name a path.
    return FileSource(lambda: VideoStream(f"file:{path}", name, is_live=False), name, loop=loop)


class FileSource(FrameSource):
    """A recording, local or remote. Yields all that decodes; `status.detail` reports damage at the end."""

    def __init__(self, open_stream: Callable[[], VideoStream], name: str, *, loop: bool = False) -> None:
        """Open and decode the first picture. Raises SourceOpenError when there is none."""
        self._open_stream = open_stream
        self._loop = loop
        self._stream, self._decoded = self._open(name)
        super().__init__(name, fps=self._stream.fps, frame_count=None if loop else self._stream.frame_count)
        self._detail = self._stream.description

    def _open(self, name: str) -> tuple[VideoStream, Iterator[Picture]]:
        stream = self._open_stream()
        pictures = stream.pictures()
        first = next(pictures, None)
        if first is None:
            damage = stream.damage_report()
            stream.close()
            raise SourceOpenError(f"{name}: none of its pictures can be decoded{f' ({damage})' if damage else ''}")
        return stream, itertools.chain((first,), pictures)

    def _pictures(self) -> Iterator[Picture]:
        while not self._closed.is_set():
            yield from self._decoded
            if not self._loop:
                break
            self._stream.close()
            self._stream, self._decoded = self._open(self.name)
            self._clock.restart()
        retimed = f"{counted(self._clock.corrected, 'time stamp')} corrected" if self._clock.corrected else ""
        self._detail = ", ".join(filter(None, (self._stream.damage_report(), retimed)))

    def _release(self) -> None:
        self._decoded = iter(())
        self._stream.close()
