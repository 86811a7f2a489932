"""A folder of images as a clip, in natural order (frame2 before frame10)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.reading import decode, read_file
from realtime.errors import SourceOpenError
from realtime.sources.common.base import FrameSource, Picture, StreamClock, counted, now_ns
from realtime.sources.common.picture_folder import SUFFIXES, files_in, pictures_in
from realtime.sources.common.uri import Options, SourceUri, not_found

OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".arw", ".exr", ".psd", ".ppm", ".tga"}
)
"""Pictures that cannot be read here; a folder that holds them says so."""

_MOST_NAMED = 5

log = logging.getLogger(__name__)


def open_uri(uri: SourceUri) -> ImagesSource:
    """images:///path/folder, or the folder alone. Options: fps=25, the playback rate."""
    options = Options(uri)
    fps = options.number("fps", 25.0, 0.01, 1000)
    options.finish()
    folder = Path(uri.target).expanduser()
    if not folder.exists():
        raise not_found(folder, uri.name)
    if not folder.is_dir():
        raise SourceOpenError(f"{uri.name}: not a folder", "Give images:// a folder; open a video file by its path")
    return ImagesSource(folder, uri.name, fps)


class ImagesSource(FrameSource):
    """The readable images of a folder. Unreadable ones keep their numbers and are skipped; `status.detail` reports them."""

    def __init__(self, folder: Path, name: str, fps: float) -> None:
        """List the folder and read its first readable image. Raises SourceOpenError when there is none, OSError."""
        paths = pictures_in(folder)
        others = sorted({path.suffix.lower() for path in files_in(folder)} & OTHER_SUFFIXES)
        left_out = f"pictures of other kinds are left out: {', '.join(others)}" if others else ""
        if not paths:
            what = f"{name}: no images in this folder{f' ({left_out})' if left_out else ''}"
            raise SourceOpenError(what, f"Readable are {', '.join(sorted(SUFFIXES))}")
        super().__init__(name, fps=fps, frame_count=len(paths), clock=StreamClock(fps, is_live=False, from_zero=True))
        if left_out:
            log.warning("%s: %s", name, left_out)
        self.unreadable = self._animated = 0
        readable = self._read(paths)
        first = next(readable, None)
        if first is None:
            raise SourceOpenError(f"{name}: none of its {counted(len(paths), 'image')} can be read")
        self._readable = itertools.chain((first,), readable)
        self._detail = f"{counted(len(paths), 'image')} at {fps:g} fps"

    def _read(self, paths: list[Path]) -> Iterator[Picture]:
        for number, path in enumerate(paths):
            received_ns = now_ns()
            try:
                data = read_file(path)
                image = decode(data, where=f"{path}: ")
            except PictureError as error:
                self.unreadable += 1
                self._reject("cannot be read")
                log.log(logging.WARNING if self.unreadable <= _MOST_NAMED else logging.DEBUG, "skipped: %s", error)
            else:
                self._animated += is_animated(data)
                yield Picture(image, number / (self.fps or 25.0), received_ns, number)

    def _pictures(self) -> Iterator[Picture]:
        yield from self._readable
        skipped = f"{counted(self.unreadable, 'unreadable image')} skipped" if self.unreadable else ""
        first = f"only the first picture of {counted(self._animated, 'animation')}" if self._animated else ""
        self._detail = ", ".join(filter(None, (skipped, first)))
        if self._detail and not self._closed.is_set():
            log.warning("%s: %s", self.name, self._detail)


def is_animated(data: bytes) -> bool:
    """Whether a GIF, WebP or PNG file holds more than one picture."""
    if data.startswith(b"GIF8"):
        return data.count(b"\x21\xf9\x04") > 1  # the head of each picture
    if data.startswith(b"RIFF"):
        return data[12:16] == b"VP8X" and bool(data[20] & 2)
    return data.startswith(b"\x89PNG") and b"acTL" in data[:256]
