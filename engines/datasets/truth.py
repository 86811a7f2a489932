"""Ground truth: the images of one set with all their labels, in any of the supported formats."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from engines.datasets.coco_json import CocoFile, find_coco_file, read_coco_file
from engines.datasets.folder import TrueObject, labelled_pairs, objects_of, read_sample
from engines.datasets.holding import HoldOut, hold_out, unknown_lines
from engines.datasets.image_files import read_label
from engines.datasets.outlines import OutlineSet, find_outlines, read_outlines, strays
from engines.datasets.settings import FILE_NAME, SetSettings, check_settings, open_settings
from engines.errors import DataError
from engines.pictures.reading import read_picture
from engines.types import U8, Image, Size

log = logging.getLogger(__name__)

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
    """The images that a model is evaluated on. described: the choice of images, in words. read: reads one by name.

    left_out: a line for each annotation that cannot be used; `read` adds those that it finds.
    """

    settings: SetSettings
    names: tuple[str, ...]
    described: str
    read: Callable[[str], Truth]
    left_out: list[str] = field(default_factory=list)

    def limited(self, count: int) -> TruthSet:
        """At most `count` of the images, evenly spread."""
        if count >= len(self.names):
            return self
        chosen = np.linspace(0, len(self.names) - 1, count).round().astype(int).tolist()
        names = tuple(self.names[index] for index in chosen)
        return replace(self, names=names, described=f"{count} of {self.described}")


def open_truth(path: Path, split: SplitName | None = None) -> TruthSet:
    """A set to evaluate on: a folder with dataset.toml, such a file, a folder or a yaml of YOLO's outlines, or COCO's JSON.

    split: None for the held-out images, or all where none are held out. Raises DataError that names what is missing.
    """
    objects = open_objects(path, split)
    if objects is not None:
        return objects
    folder, settings = open_settings(path)
    return _of_labels(folder, settings, split)


def open_objects(path: Path, split: SplitName | None = None, classes: tuple[str, ...] = ()) -> TruthSet | None:
    """A set of outlines, YOLO's or COCO's; None for a set of another kind.

    classes: the names, where the set has none or others. Raises DataError for a set that cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _of_coco(read_coco_file(path))
    if (path.is_file() and suffix == ".toml") or (path / FILE_NAME).is_file():
        folder, settings = open_settings(path)
        settings = msgspec.structs.replace(settings, classes=classes or settings.classes)
        outlines = find_outlines(folder, settings.classes)
        return _of_outlines(outlines, settings, split) if outlines else None
    if not path.is_dir() and suffix not in (".yaml", ".yml"):
        return None
    outlines = find_outlines(path, classes)
    if outlines is None:
        coco_file = find_coco_file(path)
        return None if coco_file is None else _of_coco(read_coco_file(coco_file))
    settings = SetSettings(outlines.folder.resolve().name, outlines.classes, hold_out=_patterns(outlines))
    check_settings(settings, str(path))
    return _of_outlines(outlines, settings, split, f"; class names: {outlines.source}")


def _of_labels(folder: Path, settings: SetSettings, split: SplitName | None) -> TruthSet:
    pairs = {image.stem: (image, label) for image, label in labelled_pairs(folder)}
    names, described = _chosen(folder, list(pairs), hold_out(folder, settings, list(pairs)), split)
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


def _of_outlines(outlines: OutlineSet, settings: SetSettings, split: SplitName | None, note: str = "") -> TruthSet:
    folder, files = outlines.folder, outlines.files
    held = hold_out(folder, settings, list(files))
    if not held or settings.hold_out == _patterns(outlines):
        held = HoldOut(outlines.held_out, described=", ".join(_patterns(outlines)))
    names, described = _chosen(folder, list(files), held, split)
    if not any(files[name][1].is_file() for name in names):
        log.warning("%s: none of %s has a label, such as %s", folder, described, files[names[0]][1])

    def read(name: str) -> Truth:
        image = read_picture(files[name][0])
        objects = read_outlines(files[name][1], Size.of(image), len(settings.classes))
        twice = [at for at, item in enumerate(objects) if item in objects[:at]]
        if twice and name not in seen:
            left_out.append(f"{files[name][1]}: {len(twice)} of its objects are there twice")
        seen.add(name)
        return Truth(name, image, objects=tuple(item for at, item in enumerate(objects) if at not in twice))

    seen: set[str] = set()
    left_out = [f"{path}: has no image" for path in strays(outlines)]
    unlabelled = [name for name in names if not files[name][1].is_file()]
    if unlabelled:
        note += f"; {len(unlabelled)} without a label file count as without objects, such as {unlabelled[0]}"
    return TruthSet(settings, names, described + note, read, left_out)


def _patterns(outlines: OutlineSet) -> tuple[str, ...]:
    """The split of a set's folders as patterns, such as "val/*"."""
    return tuple(f"{glob.escape(part)}/*" for part in sorted({name.rpartition("/")[0] for name in outlines.held_out}))


def _of_coco(file: CocoFile) -> TruthSet:
    def read(name: str) -> Truth:
        image = read_picture(file.images[name])
        return Truth(name, image, objects=file.objects_of(name, Size.of(image)))

    settings = SetSettings(file.path.stem.removeprefix("instances_"), file.classes)
    check_settings(settings, str(file.path))
    described = f"all {len(file.images)} images of {file.path.name}"
    return TruthSet(settings, tuple(file.images), described, read, file.left_out)


def _chosen(folder: Path, names: Sequence[str], held_out: HoldOut, split: SplitName | None) -> tuple[tuple[str, ...], str]:
    """The names in the split, and their description."""
    held = tuple(name for name in names if name in held_out)
    if held_out.unknown:
        log.warning("%s: %s", folder, unknown_lines("its list of held-out images", held_out.unknown))
    if split == "all" or (split is None and not held_out):
        remark = f", {len(held)} of them held out" if held else ", none of them held out"
        return tuple(names), f"all {len(names)} images{remark}"
    if not held_out:
        what = f"{folder}: nothing is held out"
        raise DataError(what, f"Write hold_out into its {FILE_NAME}, or score all images: --split all")
    if not held:
        raise DataError(f"{folder}: no image matches hold_out ({held_out.described})", f"Correct it in its {FILE_NAME}")
    return held, f"{len(held)} held-out images ({held_out.described})"
