"""Checks a whole set of outlines, YOLO's or COCO's: what `checking` does for sets with labels as images."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from engines.datasets.truth import TruthSet
from engines.errors import DataError
from engines.types import Size


@dataclass(frozen=True)
class ObjectReport:
    """objects, images: number of objects of each class id, and of images with some. empty: images without any object.

    sizes: number of images of each size. faults: a line for each file or annotation that cannot be used.
    """

    truths: TruthSet
    objects: Counter[int]
    images: Counter[int]
    empty: int
    sizes: Counter[Size]
    faults: tuple[str, ...]


def check_objects(truths: TruthSet, on_progress: Callable[[int, int], None] | None = None) -> ObjectReport:
    """Read every image and its objects. on_progress: called with done, total."""
    objects: Counter[int] = Counter()
    images: Counter[int] = Counter()
    sizes: Counter[Size] = Counter()
    faults: list[str] = []
    empty = 0
    for done, name in enumerate(truths.names, 1):
        try:
            truth = truths.read(name)
        except DataError as error:
            faults.append(str(error))
        else:
            found = [item.class_id for item in truth.objects or ()]
            objects.update(found)
            images.update(set(found))
            sizes[Size.of(truth.image)] += 1
            empty += not found
        if on_progress:
            on_progress(done, len(truths.names))
    return ObjectReport(truths, objects, images, empty, sizes, (*faults, *truths.left_out))
