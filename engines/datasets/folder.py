"""A data set's folder: pairs of image and label found, decoded, checked against each other, and split.

Labels lie in labels/ under the image's stem. Labels of other tasks (the road's surface, single objects) may lie in folders beside
it; an image that has none there just does not teach that task.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.datasets.image_files import label_fault, read_image, read_label
from engines.datasets.settings import SetSettings
from engines.errors import DataError
from engines.types import F32, U8, VOID_CLASS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

DRIVABLE_BIT, LANE_BIT = 1, 2
"""Bits of a surface label."""

UNSURE_OBJECT = 255
"""The instance label's value where nobody knows which object it is, if any."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    image:     (H, W, 3) uint8 BGR.
    label:     (H, W) uint8, index into its set's classes, 255 void.
    surface:   (H, W) uint8 bits, 1 drivable, 2 lane line, or None where nobody marked them.
    instances: (H, W) uint8, 0 no object, 1..254 an object each, 255 unsure, or None where nobody marked them.
    """

    name: str
    image: U8
    label: U8
    surface: U8 | None = None
    instances: U8 | None = None


@dataclass(frozen=True)
class DataSet:
    """The samples of one folder, split by the settings' `hold_out` patterns; read whole when opened."""

    settings: SetSettings
    training: tuple[Sample, ...]
    held_out: tuple[Sample, ...]

    def pixel_shares(self) -> F32:
        """(classes,) float32: how much of the labelled training pixels each class holds; sums to 1."""
        counts = np.zeros(256, np.int64)
        for sample in self.training:
            counts += np.bincount(sample.label.ravel(), minlength=256)
        known = counts[: len(self.settings.classes)]
        return np.asarray(known / max(1, known.sum()), np.float32)


def open_set(folder: Path, settings: SetSettings) -> DataSet:
    """Read and check a whole set. Raises DataError that names the file: no image, no label, sizes apart, id out of range."""
    pairs = labelled_pairs(folder)
    with ThreadPoolExecutor(2) as threads:
        samples = list(threads.map(lambda pair: read_sample(pair[0], pair[1], settings, folder), pairs))
    patterns = hold_out_patterns(folder, settings)
    held_out = [is_held_out(sample.name, patterns) for sample in samples]
    training = tuple(sample for sample, held in zip(samples, held_out, strict=True) if not held)
    described = settings.hold_out_list or list(settings.hold_out)
    if not training:
        raise DataError(f"{folder}: hold_out {described} leaves no image to train on; write narrower patterns")
    if patterns and len(training) == len(samples):
        raise DataError(f"{folder}: no file matches hold_out {described}; correct the patterns or leave them out")
    return DataSet(settings, training, tuple(sample for sample, held in zip(samples, held_out, strict=True) if held))


def hold_out_patterns(folder: Path, settings: SetSettings) -> tuple[str, ...]:
    """The settings' own patterns, and those in the list they name. Raises DataError when that cannot be read."""
    if not settings.hold_out_list:
        return settings.hold_out
    path = folder / settings.hold_out_list
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as the list of held-out images ({error})") from error
    return (*settings.hold_out, *lines)


def is_held_out(stem: str, patterns: Sequence[str]) -> bool:
    """The image of that stem is kept from training, to be judged on."""
    return any(fnmatch.fnmatchcase(stem, pattern) for pattern in patterns)


def images_in(folder: Path) -> list[Path]:
    """Every image of `folder`/images, sorted by name. Raises DataError where there is none, or two that share a stem."""
    if not (folder / "images").is_dir():
        raise DataError(f"{folder}: no folder images/ in it; a data set is a folder with images/ and labels/")
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise DataError(f"{folder / 'images'}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    by_stem: dict[str, Path] = {}
    for path in images:
        if path.stem in by_stem:
            raise DataError(f"{path}: shares its stem with {by_stem[path.stem].name}, and so its label; rename one of the two")
        by_stem[path.stem] = path
    return images


def labelled_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image of `folder`/images with its label of the same stem in `folder`/labels, sorted by name. Raises DataError."""
    pairs = [(image, folder / "labels" / f"{image.stem}.png") for image in images_in(folder)]
    for image, label in pairs:
        if not label.is_file():
            raise DataError(f"{image}: has no label {label}; add it, or remove the image")
    return pairs


def read_sample(image_path: Path, label_path: Path, settings: SetSettings, folder: Path | None = None) -> Sample:
    """Decode one pair and check it against each other and the class count. Raises DataError that names the file.

    folder: the set's; where it is given, labels of other tasks are read as well.
    """
    image = read_image(image_path)
    label = read_index_map(label_path, image)
    highest, class_count = int(label[label != VOID_CLASS].max(initial=0)), len(settings.classes)
    if highest >= class_count:
        raise DataError(f"{label_path}: class id {highest}, but the set has {ids_in_words(class_count)}")
    others = []
    for other in (settings.surface, settings.instances):
        path = folder / other / f"{label_path.stem}.png" if folder and other else None
        others.append(read_index_map(path, image) if path and path.is_file() else None)
    return Sample(image_path.stem, image, label, *others)


def ids_in_words(class_count: int) -> str:
    """What a label may hold."""
    known = "1 class (0" if class_count == 1 else f"{class_count} classes (0..{class_count - 1}"
    return f"{known}, {VOID_CLASS} void)"


def read_index_map(path: Path, image: U8) -> U8:
    """(H, W) uint8 from an 8-bit one-channel file of the image's size. Raises DataError that names the file."""
    pixels = read_label(path)
    if fault := label_fault(pixels):
        raise DataError(f"{path}: {fault}")
    if image.shape[:2] != pixels.shape:
        raise DataError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]}, but its image is {image.shape[1]}x{image.shape[0]}")
    return np.asarray(pixels, np.uint8)
