"""A few pictures from all over a recording, before it is opened: what does it show?"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from engines.errors import PictureError
from engines.pictures.reading import MAX_PIXELS, read_picture
from engines.types import Image
from realtime.errors import SourceError
from realtime.sources.common.geometry import turn_of, turned
from realtime.sources.common.picking import pick
from realtime.sources.common.uri import natural_key

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def glimpses(path: Path, count: int) -> Iterator[Image]:
    """Up to `count` upright pictures, evenly spread, of a video file or a folder of images. Fewer, or none, of damaged ones.

    Of a video the key frames before those places: 10 to 30 ms each at 720p, however long it is.
    """
    if path.is_dir():
        yield from _of_folder(path, count)
    elif path.is_file():
        yield from _of_video(path, count)


def _of_folder(folder: Path, count: int) -> Iterator[Image]:
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=natural_key)
    for index in range(min(count, len(paths))):
        try:
            yield read_picture(paths[(2 * index + 1) * len(paths) // (2 * min(count, len(paths)))])
        except PictureError:  # whoever plays the folder says so
            continue


def _of_video(path: Path, count: int) -> Iterator[Image]:
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = pick(container, path.name)
            context = stream.codec_context
            if context.width * context.height > MAX_PIXELS or not container.duration:
                return
            for index in range(count):
                container.seek(container.duration * (2 * index + 1) // (2 * count))
                frame = next(container.decode(stream))
                image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                yield turned(image, turn_of(frame))
    except (SourceError, av.FFmpegError, OSError, ValueError, StopIteration):  # whoever plays it says what is wrong
        return
