"""One image with its labels: every fault of the pair, and its statistics. `checking` combines the pairs of a set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.datasets.duplicates import look_of
from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, ids_in_words
from engines.datasets.image_files import label_fault, read_image, read_label
from engines.errors import DataError
from engines.types import I64, U8, VOID_CLASS, Size


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file, and the cure. kind: the same for all faults of one sort, so that a report can be shortened."""

    path: Path
    kind: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.cure}" if self.cure else f"{self.path}: {self.what}"


@dataclass(frozen=True, slots=True)
class PairFacts:
    """Statistics of one image and its label. Parts that could not be read are None.

    digest: of the image file's bytes. look: of the image, see `duplicates`. brightness: its mean grey, 0..255. counts: (256,)
    int64 pixels by class id in the label.
    """

    stem: str
    faults: tuple[Fault, ...]
    digest: bytes | None = None
    look: U8 | None = None
    size: Size | None = None
    brightness: float | None = None
    counts: I64 | None = None


def inspect_pair(
    image_path: Path, label_path: Path | None, surface_path: Path | None, instances_path: Path | None, class_count: int | None
) -> PairFacts:
    """label_path: None where there is no label, which `checking` reports. class_count: None where unknown."""
    faults: list[Fault] = []
    digest = look = size = brightness = counts = None
    try:
        image = read_image(image_path)
        digest = hashlib.sha256(image_path.read_bytes()).digest()
        size, look = Size.of(image), look_of(image)
        brightness = float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean())
    except DataError as error:
        faults.append(_unreadable(image_path, error))
    if label_path is not None:
        label, found = _index_map(label_path, size)
        faults += found
        if label is not None:
            counts = np.bincount(label.ravel(), minlength=256)
            faults += _ids(label_path, counts, class_count)
    for path, is_surface in ((surface_path, True), (instances_path, False)):
        if path is not None and path.is_file():
            layer, found = _index_map(path, size)
            faults += found
            if is_surface and layer is not None:
                faults += _surface_bits(path, layer)
    return PairFacts(image_path.stem, tuple(faults), digest, look, size, brightness, counts)


def _index_map(path: Path, size: Size | None) -> tuple[U8 | None, list[Fault]]:
    """The (H, W) uint8 map in a file, or None; and its faults. size: of its image, where that is known."""
    try:
        pixels = read_label(path)
    except DataError as error:
        return None, [_unreadable(path, error)]
    faults = []
    if size is not None and Size.of(pixels) != size:
        faults.append(Fault(path, "size", f"is {Size.of(pixels)}, but its image is {size}", "Make them one size"))
    if fault := label_fault(pixels):
        return None, [*faults, Fault(path, "format", *fault)]
    return np.asarray(pixels, np.uint8), faults


def _unreadable(path: Path, error: DataError) -> Fault:
    return Fault(path, "unreadable", error.what.removeprefix(f"{path}: "), error.cure)


def _ids(path: Path, counts: I64, class_count: int | None) -> Iterator[Fault]:
    known = counts[:VOID_CLASS]
    if not known.any():
        yield Fault(path, "void", f"is all void ({VOID_CLASS}): nothing can be learnt from it", "Label it, or remove the pair")
    if class_count is not None:
        strange = np.flatnonzero(known[class_count:]) + class_count
        if len(strange):
            ids = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
            share = known[class_count:].sum() / counts.sum()
            yield Fault(path, "id", f"class ids {ids} in {share:.1%} of its pixels, but the set has {ids_in_words(class_count)}")


def _surface_bits(path: Path, layer: U8) -> Iterator[Fault]:
    highest = int(layer.max(initial=0))
    if highest > DRIVABLE_BIT | LANE_BIT:
        yield Fault(path, "surface", f"has the value {highest}", "Surface labels have bit 0 for drivable, bit 1 for lane lines")
