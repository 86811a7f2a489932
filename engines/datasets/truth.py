"""Ground truth: the images of one set with all their labels, in any of the supported formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engines.datasets.coco_json import find_coco_file, read_coco_file
from engines.datasets.folder import TrueObject, hold_out_patterns, is_held_out, labelled_pairs, objects_of, read_sample
from engines.datasets.image_files import read_label
from engines.datasets.outlines import SPLIT_FOLDERS, class_names, image_files, is_outline_set, read_outlines
from engines.datasets.settings import FILE_NAME, SetSettings, open_settings
from engines.errors import DataError
from engines.pictures.reading import read_picture
from engines.types import U8, Image, Size

SplitName = Literal["held_out", "all"]


@dataclass(frozen=True, slots=True)
class Truth:
    """One image and its ground truth; None for labels that the set does not have.

    image: (H, W, 3) uint8 BGR. label: (H, W) uint8 class ids, 255 void. surface: (H, W) uint8 bits, 1 drivable, 2 lane line.
    """

    name: str
    image: Image
    label: U8 | None = None
    surface: U8 | None = None
    objects: tuple[TrueObject, ...] | None = None


@dataclass(frozen=True)
class TruthSet:
    """The images that a model is evaluated on. described: the choice of images, in words. read: reads one by name."""

    settings: SetSettings
    names: tuple[str, ...]
    described: str
    read: Callable[[str], Truth]

    def limited(self, count: int) -> TruthSet:
        """At most `count` of the images, evenly spread."""
        if count >= len(self.names):
            return self
        chosen = np.linspace(0, len(self.names) - 1, count).round().astype(int).tolist()
        names = tuple(self.names[index] for index in chosen)
        return TruthSet(self.settings, names, f"{count} of {self.described}", self.read)


def open_truth(path: Path, split: SplitName | None = None) -> TruthSet:
    """A set to evaluate on: a folder with dataset.toml, such a file, a folder of YOLO's outlines, or COCO's JSON or its folder.

    split: None for the held-out images, or all where none are held out. Raises DataError that names what is missing.
    """
    if path.suffix.lower() == ".json":
        return _of_coco(path)
    if path.is_dir() and not (path / FILE_NAME).is_file():
        if is_outline_set(path):
            names, source = class_names(path)
            return _of_outlines(path, SetSettings(path.resolve().name, names), split, f"; class names: {source}")
        coco_file = find_coco_file(path)
        if coco_file is not None:
            return _of_coco(coco_file)
    folder, settings = open_settings(path)
    if is_outline_set(folder):
        return _of_outlines(folder, settings, split)
    return _of_labels(folder, settings, split)


def _of_labels(folder: Path, settings: SetSettings, split: SplitName | None) -> TruthSet:
    pairs = {image.stem: (image, label) for image, label in labelled_pairs(folder)}
    patterns = hold_out_patterns(folder, settings)
    names, described = _chosen(folder, list(pairs), patterns, split)
    things = _thing_ids(folder, settings, [pairs[name][1] for name in names]) if settings.instances else ()

    def read(name: str) -> Truth:
        sample = read_sample(*pairs[name], settings, folder)
        objects = None if sample.instances is None else tuple(objects_of(sample.instances, sample.label, things))
        return Truth(name, sample.image, sample.label, sample.surface, objects)

    return TruthSet(settings, names, described, read)


def _thing_ids(folder: Path, settings: SetSettings, labels: Sequence[Path]) -> tuple[int, ...]:
    """The classes with objects."""
    found: set[int] = set()
    for label_path in labels:
        path = folder / settings.instances / label_path.name
        if path.is_file():
            label, instances = (np.asarray(read_label(file), np.uint8) for file in (label_path, path))
            if label.shape == instances.shape:  # other shapes are reported when the pair is read
                found |= {item.class_id for item in objects_of(instances, label, ())}
    return tuple(sorted(found))


def _of_outlines(folder: Path, settings: SetSettings, split: SplitName | None, note: str = "") -> TruthSet:
    files = image_files(folder)
    patterns = hold_out_patterns(folder, settings) or tuple(
        f"{name}/*" for name in SPLIT_FOLDERS if (folder / "images" / name).is_dir()
    )
    names, described = _chosen(folder, list(files), patterns, split)

    def read(name: str) -> Truth:
        image = read_picture(files[name])
        label_path = folder / "labels" / f"{name}.txt"
        return Truth(name, image, objects=read_outlines(label_path, Size.of(image), len(settings.classes)))

    return TruthSet(settings, names, described + note, read)


def _of_coco(path: Path) -> TruthSet:
    file = read_coco_file(path)

    def read(name: str) -> Truth:
        return Truth(name, read_picture(file.images[name]), objects=file.objects[name])

    settings = SetSettings(path.stem.removeprefix("instances_"), file.classes)
    return TruthSet(settings, tuple(file.images), f"all {len(file.images)} images of {path.name}", read)


def _chosen(folder: Path, names: Sequence[str], patterns: Sequence[str], split: SplitName | None) -> tuple[tuple[str, ...], str]:
    """The names in the split, and their description."""
    held = tuple(name for name in names if is_held_out(name, patterns))
    if split == "all" or (split is None and not patterns):
        remark = f", {len(held)} of them held out" if held else ", none of them held out"
        return tuple(names), f"all {len(names)} images{remark}"
    if not patterns:
        what = f"{folder}: nothing is held out"
        raise DataError(what, f"Write hold_out into its {FILE_NAME}, or score all images: --split all")
    if not held:
        raise DataError(f"{folder}: no image matches hold_out {list(patterns[:5])}", f"Correct the patterns in its {FILE_NAME}")
    shown = ", ".join(patterns[:4]) + (", ..." if len(patterns) > 4 else "")
    return held, f"{len(held)} held-out images ({shown})"
