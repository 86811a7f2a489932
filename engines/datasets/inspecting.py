"""One image with its labels: every fault of the pair, and its statistics; and duplicate images, exact or nearly so.

Duplicates across the split leak evaluation images into training. `checking` combines the pairs of a set.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, ids_in_words
from engines.datasets.image_files import label_fault, read_label
from engines.errors import DataError
from engines.files import sha256_of
from engines.pictures.reading import read_picture
from engines.types import I64, U8, VOID_CLASS, Image, Size

LOOK_SIDE = 16
"""A look has this many bits squared."""

ALIKE_BITS = 16
"""Of 256. Measured: photos saved again (JPEG of quality 40 to 95, half to full size) differ from themselves in 3, in 14 at
the 99th percentile; true doubles among a thousand street photos in 14 and 16, all other pairs of them in 34 or more."""


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

    digest: of the image file's bytes. look: of the image, see `look_of`. brightness: its mean grey, 0..255. counts: (256,)
    int64 pixels by class id in the label.
    """

    stem: str
    faults: tuple[Fault, ...]
    digest: str | None = None
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
        image = read_picture(image_path)
        digest = sha256_of(image_path)
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


def look_of(image: Image) -> U8:
    """(32,) uint8: 256 bits of a tiny grey copy, each set where the next pixel to the right is darker.

    Source: the "difference hash" of Krawetz, "Kind of Like That" (2013).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    tiny = np.asarray(cv2.resize(grey, (LOOK_SIDE + 1, LOOK_SIDE), interpolation=cv2.INTER_AREA), np.int16)
    return np.packbits(tiny[:, 1:] < tiny[:, :-1])


def same_bytes(digests: Mapping[str, str], held_out: frozenset[str]) -> list[str]:
    """A warning for each group of stems whose files are the same."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for stem, digest in digests.items():
        by_digest[digest].append(stem)
    warnings = []
    for stems in (stems for stems in by_digest.values() if len(stems) > 1):
        leak = ", and some of them are held out: a leak" if len({stem in held_out for stem in stems}) == 2 else ""
        warnings.append(f"{', '.join(stems[:5])} are the same image, byte for byte{leak}. Keep one")
    return warnings


def alike_across(looks: Mapping[str, U8], digests: Mapping[str, str], held_out: frozenset[str]) -> list[str]:
    """A warning where held-out images look like training images: copies saved again, and neighbouring frames of a clip."""
    held = [stem for stem in looks if stem in held_out]
    others = [stem for stem in looks if stem not in held_out]
    if not held or not others:
        return []
    table = np.stack([looks[stem] for stem in others])
    pairs = []
    for stem in held:
        if not looks[stem].any():
            continue  # one shade all over looks like nothing
        differing_bits = np.unpackbits(table ^ looks[stem], axis=1).sum(axis=1)
        nearest = int(differing_bits.argmin())
        if differing_bits[nearest] <= ALIKE_BITS and digests[others[nearest]] != digests[stem]:
            pairs.append(f"{stem} like {others[nearest]}")
    if not pairs:
        return []
    looking = "1 held-out image looks" if len(pairs) == 1 else f"{len(pairs)} held-out images look"
    few = ", ".join(pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    return [f"{looking} nearly like a training image ({few}): their scores will be too good"]
