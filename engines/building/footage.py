"""Footage of the user's own, for INT8: frames that ranges are measured on, and others that the result is judged on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.building.frames import PICTURES, sample_clips
from engines.errors import BuildError, PictureError
from engines.models import zoo
from engines.models.model import Model
from engines.onnx_graph.precision.quantise import PERCENTILE
from engines.pictures.reading import read_picture
from engines.plans.passport import Calibration
from engines.types import Image

log = logging.getLogger(__name__)

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".mpg", ".mpeg")

FEWEST, MOST = 64, 128
"""Frames that ranges are measured on."""

CHECKS, FEWEST_CHECKS = 12, 4
"""Frames that the result is judged on."""

LOOKED_AT = 4 * (MOST + CHECKS)
"""Frames that the choice is made from: many of a camera that stands still show the same."""

STRETCHES = 20
"""Parts of the footage, in time. Every fifth is for judging."""

THUMBNAIL = (32, 18)
SAME_LEVELS = 6
"""Two frames show the same if no cell of their thumbnails differs by more. Noise and compression change a cell by one or two; a
person who crosses a twentieth of the picture changes one by tens."""

SEEK_BEYOND = 60
"""Frames of a video for each that is looked at, beyond which seeking is faster than decoding all."""

NEED = f"Give {FEWEST} frames or more, of minutes in which the scene changes, as your camera sees it"


@dataclass(frozen=True)
class Part:
    """A video, or the pictures of a folder. count: of frames, as far as the file says."""

    path: Path
    pictures: tuple[Path, ...]
    count: int

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, Image]]:
        """The frames with these numbers, in ascending order; those that cannot be read are left out."""
        yield from self._pictures(wanted) if self.pictures else _of_video(self.path, wanted, self.count)

    def _pictures(self, wanted: Sequence[int]) -> Iterator[tuple[int, Image]]:
        for number in wanted:
            try:
                yield number, read_picture(self.pictures[number])
            except PictureError as error:
                log.warning("%s", error)


class Footage:
    """Frames of a video or folder, spread over all of it, each unlike all others; those for judging are from other stretches."""

    def __init__(self, path: Path | None) -> None:
        """path: a video, or a folder of pictures or videos; None stands for the installed clips. Raises BuildError."""
        self.source = "the installed clips" if path is None else str(path)
        self._parts = _parts(path)
        frames, checks = self._choose()
        if len(frames) < FEWEST or len(checks) < FEWEST_CHECKS:
            total = sum(part.count for part in self._parts)
            what = f"{self.source}: {len(frames) + len(checks)} of its {total} frames show something new, too few for int8-qdq"
            raise BuildError(what, NEED)
        self._frames = _spread(frames, MOST)
        self.checks = tuple(self._read(_spread(checks, CHECKS)))
        """Frames to judge on."""

    def facts(self, checks: int) -> Calibration:
        """For an engine's passport. checks: frames of this footage that it was judged on."""
        return Calibration(self.source, len(self), checks, PERCENTILE)

    def __len__(self) -> int:
        """The number of frames for measuring ranges."""
        return len(self._frames)

    def __iter__(self) -> Iterator[Image]:
        """The frames for measuring ranges. They are read again each time: at full size they may not fit into memory."""
        return self._read(self._frames)

    def _choose(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The places (part, number) of frames for measuring and for judging."""
        total = sum(part.count for part in self._parts)
        chosen: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        seen = np.empty((0, THUMBNAIL[0] * THUMBNAIL[1]), np.int16)
        start = 0
        wanted = np.unique(np.linspace(0, total - 1, min(total, LOOKED_AT), dtype=int))
        for index, part in enumerate(self._parts):
            inside = [int(place) - start for place in wanted if start <= place < start + part.count]
            for number, image in part.frames(inside):
                thumbnail = _thumbnail(image)
                if len(seen) and np.abs(seen - thumbnail).max(axis=1).min() <= SAME_LEVELS:
                    continue
                seen = np.concatenate([seen, thumbnail])
                is_check = (start + number) * STRETCHES // total % 5 == 2
                chosen[is_check].append((index, number))
            start += part.count
        return chosen

    def _read(self, places: Sequence[tuple[int, int]]) -> Iterator[Image]:
        for index, part in enumerate(self._parts):
            for _, image in part.frames([number for owner, number in places if owner == index]):
                yield image


def check_footage(model: Model, path: Path | None) -> None:
    """Raises BuildError unless INT8 ranges of `model` may be measured on `path`, or on the installed clips if it is None.

    Those are two clips of people. They are right for a bundled model whose card says so, and wrong for all others.
    """
    if zoo.is_bundled(model) and model.card.int8_on_samples:
        return
    if path is None:
        what = (
            f"{model.card.name}: int8-qdq measures its ranges on footage of the camera that the model is for, and none is named"
        )
        raise BuildError(what, "Name some minutes of it with --calibrate VIDEO|DIR, in run.py build or export")
    if path.resolve() in [clip.resolve() for clip in sample_clips()]:
        what = f"{path}: this clip is a sample of the program's; {model.card.name} would be measured on what it never sees"
        raise BuildError(what, "Name footage of your own: --calibrate VIDEO|DIR")


def _parts(path: Path | None) -> list[Part]:
    if path is None:
        videos, pictures = sample_clips(), []
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        videos = [file for file in files if file.suffix.lower() in VIDEOS]
        pictures = [file for file in files if file.suffix.lower() in PICTURES]
    elif path.is_file():
        videos, pictures = [path], []
    else:
        raise BuildError(f"{path}: no such video or folder of pictures", "Check --calibrate")
    parts = [Part(video, (), _length(video)) for video in videos]
    if pictures and path is not None:
        parts.append(Part(path, tuple(pictures), len(pictures)))
    if not any(part.count for part in parts):
        raise BuildError(f"{path}: no frame can be read from it", "Give a video, or a folder of pictures or videos")
    return [part for part in parts if part.count]


def _length(video: Path) -> int:
    """The number of frames, counted where the file does not say it."""
    capture = cv2.VideoCapture(str(video))
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        if count <= 0:
            count = 0
            while capture.grab():
                count += 1
        return count
    finally:
        capture.release()


def _of_video(video: Path, wanted: Sequence[int], count: int) -> Iterator[tuple[int, Image]]:
    capture = cv2.VideoCapture(str(video))
    seeks = count > SEEK_BEYOND * max(1, len(wanted))
    place = 0
    try:
        for number in wanted:
            if seeks:
                capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            else:
                while place < number and capture.grab():
                    place += 1
            read, image = capture.read()
            place += 1
            if read:
                yield number, image
    finally:
        capture.release()


def _thumbnail(image: Image) -> npt.NDArray[np.int16]:
    """(1, cells) int16: the brightness of each cell."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), THUMBNAIL, interpolation=cv2.INTER_AREA)
    return np.asarray(grey.reshape(1, -1), np.int16)


def _spread(places: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most `most` of them, evenly."""
    return [places[index] for index in np.linspace(0, len(places) - 1, min(most, len(places)), dtype=int)]
