"""Which road user each pixel of a labelled street set belongs to: `python -m benchmarks.street_objects SET YOLOX.onnx OUT`.

Writes the set OUT: the images and labels of SET, and inst/. The labels say exactly where cars and pedestrians are, but not
where one ends and the next begins; boxes of the detector, nearest first, cut them. What no box covers is an object of its own
where it is in one compact piece, and unsure, 255, otherwise. Riders and their two-wheelers are one object: a compact piece of
both. The detector is YOLOX-Nano for COCO. It looks at three square tiles of each picture, in which far objects are larger.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from engines.datasets.folder import UNSURE_OBJECT, labelled_pairs
from engines.datasets.image_files import read_label
from engines.datasets.settings import open_settings
from engines.families import DecodeSettings
from engines.models import zoo
from engines.pictures.reading import read_picture
from engines.segmenter import Segmenter
from engines.types import F32, U8, Bools, Image

LEAST_SCORE = 0.3
SAME_BOX = 0.5
"""Boxes of overlapping tiles with at least this overlap (IoU) are one."""
LEAST_FILLED = 0.3
"""Of a box, by pixels of its class: less is a box that is wrong, or of something hidden."""
MARGIN = 0.06
"""Boxes are enlarged by this share of their sides: masks reach a little beyond."""
LEAST_PIXELS = 12


class Kind(NamedTuple):
    """labels: the set's classes that are one kind of object. boxes: the detector's. aspect: width over height of one object.
    compact: the least share of its box that one piece without a detector's box fills."""

    labels: tuple[str, ...]
    boxes: tuple[str, ...]
    aspect: tuple[float, float]
    compact: float


KINDS = (
    Kind(("car",), ("car", "truck", "bus"), (0.5, 3.0), 0.6),
    Kind(("truck", "bus", "train"), ("truck", "bus", "train", "car"), (0.4, 5.0), 0.6),
    Kind(("person",), ("person",), (0.15, 0.5), 0.45),
    Kind(("rider", "bicycle", "motorcycle"), (), (0.25, 2.0), 0.4),
)


class Found(NamedTuple):
    """The detector's boxes in one picture: (N, 4) x0, y0, x1, y1 px; (N,) scores; names."""

    boxes_px: F32
    scores: F32
    names: list[str]


def detected(image: Image, segmenter: Segmenter) -> Found:
    """Boxes of all tiles of a picture; of equal ones the surest."""
    height, width = image.shape[:2]
    boxes, scores, names = [], [], []
    for left in np.linspace(0, max(0, width - height), 3).astype(int):
        tile = np.ascontiguousarray(image[:, left : left + height])
        found = segmenter(tile, DecodeSettings(score_threshold=LEAST_SCORE)).instances
        for box, score, class_id in zip(found.boxes_px, found.scores, found.class_ids, strict=True):
            is_cut = (box[0] < 2 and left > 0) or (box[2] > height - 2 and left + height < width)
            if not is_cut:
                boxes.append(box + np.array((left, 0, left, 0), np.float32))
                scores.append(float(score))
                names.append(segmenter.card.classes[class_id])
    if not boxes:
        return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])
    sides = [(*box[:2], *(box[2:] - box[:2])) for box in boxes]
    kept = np.asarray(cv2.dnn.NMSBoxes(sides, scores, LEAST_SCORE, SAME_BOX)).reshape(-1)
    return Found(np.array(boxes, np.float32)[kept], np.array(scores, np.float32)[kept], [names[row] for row in kept])


def objects(label: U8, classes: tuple[str, ...], found: Found) -> U8:
    """(H, W) uint8 class ids → (H, W) uint8: 0 none, 1..254 one object each, 255 unsure."""
    ids, count = np.zeros(label.shape, np.uint8), 0
    for kind in KINDS:
        mine = np.isin(label, [classes.index(name) for name in kind.labels])
        rows = [row for row, name in enumerate(found.names) if name in kind.boxes]
        pieces = [_inside(box, mine) for box in sorted((found.boxes_px[row] for row in rows), key=lambda box: -box[3])]
        free = mine.copy()
        for piece in pieces:
            own = piece & free
            if count < UNSURE_OBJECT - 1 and own.sum() >= LEAST_PIXELS:
                count += 1
                ids[own] = count
                free &= ~own
        number, parts, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=8)
        for part in range(1, number):
            own = parts == part
            if count < UNSURE_OBJECT - 1 and _is_one(stats[part].tolist(), kind):
                count += 1
                ids[own] = count
            else:
                ids[own] = UNSURE_OBJECT
    return ids


def _inside(box: F32, mine: Bools) -> Bools:
    """(H, W) bool: the pixels of a class in a slightly larger box; none where the box is hardly filled."""
    margin = np.tile((box[2:] - box[:2]) * MARGIN, 2) * (-1, -1, 1, 1)
    x0, y0, x1, y1 = np.clip(np.rint(box + margin), 0, (mine.shape[1], mine.shape[0]) * 2).astype(int)
    inside = np.zeros_like(mine)
    if x1 > x0 and y1 > y0 and mine[y0:y1, x0:x1].mean() >= LEAST_FILLED:
        inside[y0:y1, x0:x1] = mine[y0:y1, x0:x1]
    return inside


def _is_one(stats: Sequence[int], kind: Kind) -> bool:
    """Is a piece, given by OpenCV's numbers, one object by its shape?"""
    _, _, width, height, pixels = stats
    low, high = kind.aspect
    return pixels >= LEAST_PIXELS and low <= width / height <= high and pixels >= kind.compact * width * height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("set", "detector", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    classes = open_settings(options.set)[1].classes
    shutil.copytree(options.set, options.out, dirs_exist_ok=True)
    (options.out / "inst").mkdir(exist_ok=True)
    counts = []
    with Segmenter(zoo.find(str(options.detector)), "ort") as segmenter:
        for image, label in tqdm(labelled_pairs(options.out), unit=" images", disable=None):
            found = objects(np.asarray(read_label(label), np.uint8), classes, detected(read_picture(image), segmenter))
            counts.append(len(np.setdiff1d(found, (0, UNSURE_OBJECT))))
            (options.out / "inst" / label.name).write_bytes(cv2.imencode(".png", found)[1].tobytes())
    print(f"{options.out}: {sum(counts)} objects in {len(counts)} pictures")


if __name__ == "__main__":
    main()
