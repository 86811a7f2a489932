"""How well models find people in pictures that nobody trained them on: `python -m benchmarks.people MODEL ... --data SETS`.

For pictures with people, the overlap (IoU) of the labelled person pixels and the found ones. For pictures without people, the
share in which nothing is found at the card's threshold. For portraits of one person, how many people are found. Where single
people are labelled: how many are found each (overlap above a half), split in two, or merged with another; the same for pairs of
portraits side by side. SETS is the folder of the sets below; which of their pictures were held out says each recipe. The result
goes to benchmarks/results/people.json.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from engines.datasets.folder import UNSURE_OBJECT, labelled_pairs, read_sample
from engines.datasets.holding import hold_out
from engines.datasets.settings import SetSettings, open_settings
from engines.families import DecodeSettings
from engines.models import zoo
from engines.segmenter import Segmenter
from engines.types import U8, VOID_CLASS, Bools, Image, Segmentation

RESULTS = Path(__file__).parent / "results" / "people.json"
PERSON = "person"
LARGE_SHARE = 0.08
"""Of the picture. People of at least that much are close; a whole figure in the street has about a tenth."""
LEAST_SHARE = 0.01
OPAQUE = 127
LEAST_PERSON, LEAST_FOUND = 0.01, 0.004
"""Of the picture: smaller people and smaller finds are not counted one by one."""
PIECE = 0.2
"""A person is split when two finds have at least this share of it each."""


class Part(NamedTuple):
    """Some pictures of a set. kind: "people", "portraits" of one person each, "pairs" of two such side by side, or "nobody"."""

    title: str
    folder: str
    kind: str
    share: tuple[float, float] = (0.0, 1.0)
    """Of people in the picture: from, below."""
    is_whole: bool = False
    """All pictures of the set count, for a set that no model here was trained on."""


PARTS = (
    Part("portraits: aisegment-60, a set of its own", "aisegment-60", "portraits", is_whole=True),
    Part("two people: pairs of aisegment-60, side by side", "aisegment-60", "pairs", is_whole=True),
    Part("close people: people-web, held out; its labels are teachers'", "people-web", "people"),
    Part("ordinary photographs, close: coco-220, held out", "coco-220", "people", (LARGE_SHARE, 1.01)),
    Part("ordinary photographs, far: coco-220, held out", "coco-220", "people", (LEAST_SHARE, LARGE_SHARE)),
    Part("whole figures: ccp-people, held out", "ccp-people", "people"),
    Part("pedestrians: pennfudan, held out", "pennfudan", "people"),
    Part("nobody: coco-220, held out", "coco-220", "nobody"),
    Part("nobody: backgrounds, held out", "backgrounds", "nobody"),
)
WITHOUT_SETTINGS = {"ccp-people": SetSettings("ccp-people", ("background", PERSON), hold_out_list="val.txt")}


class Picture(NamedTuple):
    """image: (H, W, 3). people: (H, W) bool, where people are. known: (H, W) bool, where that is known.

    objects: (H, W) uint8, 1..254 one person each, 255 unsure; None where not labelled.
    """

    image: Image
    people: Bools
    known: Bools
    objects: U8 | None


def pictures(part: Part, sets: Path) -> Iterator[Picture]:
    folder, settings = sets / part.folder, WITHOUT_SETTINGS.get(part.folder)
    if settings is None:
        folder, settings = open_settings(folder)
    pairs = labelled_pairs(folder)
    held = hold_out(folder, settings, [image.stem for image, _ in pairs])
    for image_path, label_path in pairs:
        if part.is_whole or image_path.stem in held:
            sample = read_sample(image_path, label_path, settings, folder)
            is_person, is_known = sample.label == settings.classes.index(PERSON), sample.label != VOID_CLASS
            share = float(is_person.mean())
            is_wanted = share == 0 and is_known.mean() > 0.95 if part.kind == "nobody" else part.share[0] <= share < part.share[1]
            if is_wanted:
                yield Picture(sample.image, is_person, is_known, sample.instances)


def side_by_side(portraits: Iterator[Picture]) -> Iterator[Picture]:
    """Two portraits of one person each as one picture of two people who touch."""
    for left, right in zip(portraits, portraits, strict=False):
        height, width, _ = left.image.shape
        moved = [cv2.resize(np.asarray(part, np.uint8), (width, height)) for part in (right.image, right.people, right.known)]
        objects = np.hstack((left.people * np.uint8(1), (moved[1] > 0) * np.uint8(2)))
        both = np.hstack((left.image, moved[0]))
        yield Picture(both, objects > 0, np.hstack((left.known, moved[2] > 0)), objects)


class Count(NamedTuple):
    """Labelled people, and how many of them are found each, split, and merged with another."""

    people: int
    found: int
    split: int
    merged: int


def counted(picture: Picture, label_map: U8) -> Count:
    """label_map: (h, w) uint8, 0 nobody, i + 1 the i-th find. `picture.objects` is labelled."""
    truth = np.where(picture.people, np.asarray(picture.objects), 0)
    finds = cv2.resize(label_map, truth.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    overlaps = np.zeros((256, 256), np.int64)
    np.add.at(overlaps, (truth, finds), 1)
    sizes, find_sizes = overlaps.sum(axis=1), overlaps.sum(axis=0)
    one_by_one = [i for i in range(1, UNSURE_OBJECT) if sizes[i] >= LEAST_PERSON * truth.size]
    large = [i for i in range(1, 256) if find_sizes[i] >= LEAST_FOUND * truth.size]
    if not one_by_one or not large:
        return Count(len(one_by_one), 0, 0, 0)
    shared = overlaps[np.ix_(one_by_one, large)]
    shares, areas = shared / sizes[one_by_one, None], sizes[one_by_one, None] + find_sizes[large]
    found = (shared / (areas - shared)).max(axis=1) > 0.5
    best = shares.argmax(axis=1)
    halves = shares > 0.5
    merged = halves[np.arange(len(best)), best] & (halves[:, best].sum(axis=0) > 1)
    return Count(len(one_by_one), int(found.sum()), int(((shares > PIECE).sum(axis=1) > 1).sum()), int(merged.sum()))


def found_people(found: Segmentation, class_id: int, shape: tuple[int, ...]) -> Bools:
    """(H, W) bool: the matte's opaque pixels, or those of the class, or of its objects."""
    if found.alpha is not None:
        opacity: U8 = cv2.resize(found.alpha, shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(opacity > OPAQUE)
    if found.class_map is not None:
        mine = found.class_map == class_id
    else:
        ids = np.flatnonzero(found.instances.class_ids == class_id) + 1
        mine = np.isin(found.instances.label_map, ids)
    return np.asarray(cv2.resize(mine.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0)


def score(segmenter: Segmenter, part: Part, sets: Path) -> dict[str, float]:
    """The figures of one model on one part, in percent, and the number of pictures."""
    class_id = segmenter.card.classes.index(PERSON)
    settings = DecodeSettings(score_threshold=segmenter.card.threshold)
    overlaps, counts, singles, hits, either = [], [], [], 0, 0
    chosen = pictures(part, sets)
    for picture in side_by_side(chosen) if part.kind == "pairs" else chosen:
        found = segmenter(picture.image, settings)
        is_mine = found.instances.class_ids == class_id
        counts.append(int(is_mine.sum()))
        if picture.objects is not None:
            numbers = np.zeros(256, np.uint8)
            numbers[1 + np.flatnonzero(is_mine)] = 1 + np.flatnonzero(is_mine)
            singles.append(counted(picture, cv2.LUT(np.asarray(found.instances.label_map, np.uint8), numbers)))
        mine = found_people(found, class_id, picture.image.shape) & picture.known
        hit, one_of_both = int((mine & picture.people).sum()), int((mine | picture.people).sum())
        hits, either = hits + hit, either + one_of_both
        overlaps.append(hit / max(1, one_of_both))
    number, total = np.array(counts), len(counts)
    figures: dict[str, float] = {"pictures": total}
    if part.kind == "nobody":
        return figures | {"nothing found": _percent(number == 0)}
    figures |= {"person IoU": round(100 * hits / max(1, either), 1), "IoU below 60": _percent(np.array(overlaps) < 0.6)}
    if part.kind == "portraits":
        figures |= {"one person": _percent(number == 1), "split": _percent(number > 1)}
    if part.kind == "pairs":
        figures["two people"] = _percent(number == 2)
    if singles:
        people = sum(each.people for each in singles)
        figures |= {"people": people, "found each": round(100 * sum(each.found for each in singles) / max(1, people), 1)}
        figures |= {"split in two": sum(each.split for each in singles), "merged": sum(each.merged for each in singles)}
    return figures


def _percent(which: Any) -> float:
    return round(100 * float(np.mean(which)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or .onnx files")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for model in options.models:
        with Segmenter(zoo.find(model), "ort") as segmenter:
            results[model] = {part.title: score(segmenter, part, options.data) for part in PARTS}
        for title, figures in results[model].items():
            print(f"{model:12} {title:62} " + "  ".join(f"{name} {value:g}" for name, value in figures.items()), flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
