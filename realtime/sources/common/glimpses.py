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
from realtime.sources.common.picture_folder import pictures_in

MOST_DECODED = 400
"""Pictures beside key frames: a second of CPU at 720p."""


def glimpses(path: Path, count: int) -> Iterator[Image]:
    """Up to `count` upright pictures, evenly spread, of a video file or a folder of images. Fewer, or none, of damaged ones.

    Of a video the key frames before those places; where several have the same, the pictures at those places, as far as
    MOST_DECODED goes.
    """
    if path.is_dir():
        yield from _of_folder(path, count)
    elif path.is_file():
        yield from _of_video(path, count)


def _of_folder(folder: Path, count: int) -> Iterator[Image]:
    paths = pictures_in(folder)
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
            last_s, left = -1.0, MOST_DECODED
            for index in range(count):
                at_us = (container.start_time or 0) + container.duration * (2 * index + 1) // (2 * count)
                container.seek(at_us)
                frame = next(frames := container.decode(stream))
                if _time_s(frame) <= last_s:  # the same key frame again, or one before: on to the place itself
                    while _time_s(frame) * av.time_base < at_us:
                        left -= 1
                        if left <= 0:
                            return
                        frame = next(frames)
                last_s = _time_s(frame)
                image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                yield turned(image, turn_of(frame))
    except (SourceError, av.FFmpegError, OSError, ValueError, StopIteration):  # whoever plays it says what is wrong
        return


def _time_s(frame: av.VideoFrame) -> float:
    return frame.time or 0.0
