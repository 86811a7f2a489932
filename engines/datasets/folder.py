"""A data set's folder: pairs of image and label found, decoded, checked against each other, and split.

Labels are in labels/ under the image's stem. Labels of other tasks (the road's surface, single objects) can be in further
folders; an image without one there is not used for that task.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from engines.datasets.holding import hold_out, unknown_lines
from engines.datasets.image_files import label_fault, read_label
from engines.datasets.settings import SetSettings
from engines.errors import DataError
from engines.pictures.reading import read_picture
from engines.types import F32, U8, VOID_CLASS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

ADD_LABEL = "Add the label, or remove the image"
RENAME = "Rename one of the two"

DRIVABLE_BIT, LANE_BIT = 1, 2
"""Bits of a surface label."""

UNSURE_OBJECT = 255
"""The instance label's value where it is unknown which object it is, if any."""

log = logging.getLogger(__name__)

Outline: TypeAlias = U8 | Sequence[Sequence[float]] | Mapping[str, Any]
"""(H, W) uint8 mask of 0 and 1; or polygons, each x0, y0, x1, y1, ... in pixels; or COCO's run lengths {"size", "counts"}."""


@dataclass(frozen=True, slots=True)
class TrueObject:
    """A labelled object. is_crowd: a region that counts neither as found nor as missed."""

    class_id: int
    outline: Outline
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    image:     (H, W, 3) uint8 BGR.
    label:     (H, W) uint8, index into its set's classes, 255 void.
    surface:   (H, W) uint8 bits, 1 drivable, 2 lane line; None where not labelled.
    instances: (H, W) uint8, 0 no object, 1..254 one object each, 255 unsure; None where not labelled.
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
        """(classes,) float32: the share of each class in the labelled training pixels; sums to 1."""
        counts = np.zeros(256, np.int64)
        for sample in self.training:
            counts += np.bincount(sample.label.ravel(), minlength=256)
        known = counts[: len(self.settings.classes)]
        return np.asarray(known / max(1, known.sum()), np.float32)


def open_set(folder: Path, settings: SetSettings) -> DataSet:
    """Read and check a whole set. Raises DataError that names the file: no image, no label, different sizes, id out of range."""
    pairs = labelled_pairs(folder)
    with ThreadPoolExecutor(2) as threads:
        samples = list(threads.map(lambda pair: read_sample(pair[0], pair[1], settings, folder), pairs))
    held = hold_out(folder, settings, [sample.name for sample in samples])
    held_out = tuple(sample for sample in samples if sample.name in held)
    training = tuple(sample for sample in samples if sample.name not in held)
    if not training:
        raise DataError(f"{folder}: hold_out ({held.described}) leaves no image to train on", "Write narrower patterns")
    if held and not held_out:
        raise DataError(f"{folder}: no file matches hold_out ({held.described})", "Correct the patterns or leave them out")
    if held.unknown:
        log.warning("%s", unknown_lines(settings.hold_out_list, held.unknown))
    return DataSet(settings, training, held_out)


def images_in(folder: Path) -> list[Path]:
    """Every image of `folder`/images, sorted by name. Raises DataError where there is none, or two that share a stem."""
    images = find_images(folder)
    first: dict[str, Path] = {}
    for path in images:
        if first.setdefault(path.stem, path) is not path:
            raise DataError(f"{path}: {shared_stem(first[path.stem])}", RENAME)
    return images


def find_images(folder: Path, *, deep: bool = False) -> list[Path]:
    """The image files of `folder`/images, sorted; with `deep`, also of its subfolders. Raises DataError where there is none."""
    images = folder / "images"
    if not images.is_dir():
        raise DataError(f"{folder}: has no folder images/", "A data set is a folder with images/ and labels/")
    places = images.rglob("*") if deep else images.iterdir()
    found = sorted(path for path in places if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path, images))
    if not found:
        raise DataError(f"{images}: has no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def is_hidden(path: Path, base: Path) -> bool:
    """Whether a file below `base` is one that systems leave in folders: `._a.jpg` of a Mac is not a picture."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(base).parts)


def shared_stem(other: Path) -> str:
    """The fault of an image whose label another one claims as well."""
    return f"shares its stem with {other.name}, and so its label"


def labelled_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image of `folder`/images with its label of the same stem in `folder`/labels, sorted by name. Raises DataError."""
    pairs = [(image, folder / "labels" / f"{image.stem}.png") for image in images_in(folder)]
    for image, label in pairs:
        if label.with_suffix(".txt").is_file() and not label.is_file():
            what = f"{image}: has an outline in YOLO's format for its label, which run.py evaluate reads"
            raise DataError(what, "Training needs labels/NAME.png of 8-bit class ids")
        if not label.is_file():
            raise DataError(f"{image}: has no label {label}", ADD_LABEL)
    return pairs


def read_sample(image_path: Path, label_path: Path, settings: SetSettings, folder: Path | None = None) -> Sample:
    """Decode one pair and check it against each other and the class count. Raises DataError that names the file.

    folder: of the set; with it, labels of other tasks are read as well.
    """
    image = read_picture(image_path)
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
    """The classes of a set, and the ids in its labels."""
    known = "1 class (0" if class_count == 1 else f"{class_count} classes (0..{class_count - 1}"
    return f"{known}, {VOID_CLASS} void)"


def read_index_map(path: Path, image: U8) -> U8:
    """(H, W) uint8 from an 8-bit one-channel file of the image's size. Raises DataError that names the file."""
    pixels = read_label(path)
    if fault := label_fault(pixels):
        raise DataError(f"{path}: {fault[0]}", fault[1])
    if image.shape[:2] != pixels.shape:
        raise DataError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]}, but its image is {image.shape[1]}x{image.shape[0]}")
    return np.asarray(pixels, np.uint8)


def objects_of(instances: U8, label: U8, thing_ids: Sequence[int]) -> Iterator[TrueObject]:
    """The objects in a map of ids; each has the class of most of its pixels.

    instances: (H, W) uint8, 0 no object, 1..254 one object each, 255 unsure. label: (H, W) uint8 class of each pixel, 255 void.
    thing_ids: the classes with objects. Unsure pixels are a crowd of their class, or of every class where that is void.
    """
    for object_id in np.unique(instances).tolist():
        if object_id == 0:
            continue
        mask = instances == object_id
        counts = np.bincount(label[mask], minlength=256)
        if object_id == UNSURE_OBJECT:
            yield from _crowds(mask, label, thing_ids)
        elif counts[:VOID_CLASS].any():
            yield TrueObject(int(counts[:VOID_CLASS].argmax()), mask.view(np.uint8))
        else:
            yield from (TrueObject(class_id, mask.view(np.uint8), is_crowd=True) for class_id in thing_ids)


def _crowds(mask: Any, label: U8, thing_ids: Sequence[int]) -> Iterator[TrueObject]:
    void = mask & (label == VOID_CLASS)
    for class_id in thing_ids:
        region = void | (mask & (label == class_id))
        if region.any():
            yield TrueObject(class_id, region.view(np.uint8), is_crowd=True)
