"""A folder of images as a clip, in natural order (frame2 before frame10)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.reading import read_picture
from realtime.errors import SourceOpenError
from realtime.sources.common.base import FrameSource, Picture, StreamClock, counted, now_ns
from realtime.sources.common.uri import Options, SourceUri, natural_key, not_found

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

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
    """The readable images of a folder. Unreadable ones are skipped and counted; `status.detail` reports them."""

    def __init__(self, folder: Path, name: str, fps: float) -> None:
        """List the folder and read its first readable image. Raises SourceOpenError when there is none."""
        paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=natural_key)
        if not paths:
            raise SourceOpenError(f"{name}: no images in this folder", f"Readable are {', '.join(sorted(SUFFIXES))}")
        super().__init__(name, fps=fps, frame_count=len(paths), clock=StreamClock(fps, is_live=False, from_zero=True))
        self.unreadable = 0
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
                image = read_picture(path)
            except PictureError as error:
                self.unreadable += 1
                log.warning("skipped: %s", error)
            else:
                yield Picture(image, number / (self.fps or 25.0), received_ns, number)

    def _pictures(self) -> Iterator[Picture]:
        yield from self._readable
        if self.unreadable:
            self._detail = f"{counted(self.unreadable, 'unreadable image')} skipped"
