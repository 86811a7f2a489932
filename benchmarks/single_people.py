"""Which object each pixel of a set of portraits belongs to, where one face tells: `single_people.py SET YUNET.onnx OUT`.

Writes the set OUT: the images and labels of SET, and inst/. Where a picture shows one face, and nearly all pixels of people are
in one piece, they are one person, 1; otherwise they are unsure, 255. The net learns from these that a face that fills the picture
is one person, not two halves. The detector is YuNet, as OpenCV runs it.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np

from engines.datasets.folder import UNSURE_OBJECT, labelled_pairs
from engines.datasets.image_files import read_label
from engines.pictures.reading import read_picture
from engines.types import U8

PERSON = 1
LEAST_SCORE = 0.5
"""Of a face. Low, since a missed one would make two people one."""
LEAST_SHARE_OF_ONE_PIECE = 0.9


def face_count(image: U8, detector: cv2.FaceDetectorYN) -> int:
    """The number of faces in (H, W, 3) uint8 BGR."""
    detector.setInputSize(image.shape[1::-1])
    found = detector.detect(image)[1]
    return 0 if found is None else len(found)


def objects(label: U8, faces: int) -> U8:
    """(H, W) uint8 class ids → (H, W) uint8: 1 the only person, 255 unsure, 0 nobody."""
    is_person = label == PERSON
    pieces = cv2.connectedComponentsWithStats(is_person.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    is_one = faces == 1 and len(pieces) > 0 and pieces.max() >= LEAST_SHARE_OF_ONE_PIECE * pieces.sum()
    return np.where(is_person, np.uint8(1 if is_one else UNSURE_OBJECT), np.uint8(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("set", "detector", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    detector = cv2.FaceDetectorYN.create(str(options.detector), "", (320, 320), LEAST_SCORE)
    shutil.copytree(options.set, options.out, dirs_exist_ok=True)
    (options.out / "inst").mkdir(exist_ok=True)
    singles = 0
    for image, label in labelled_pairs(options.out):
        found = objects(np.asarray(read_label(label), np.uint8), face_count(read_picture(image), detector))
        singles += bool((found == 1).any())
        (options.out / "inst" / label.name).write_bytes(cv2.imencode(".png", found)[1].tobytes())
    print(f"{options.out}: one person each in {singles} pictures")


if __name__ == "__main__":
    main()
