"""Objects of a semantic model: the connected components of painted boxes."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import Image, Instances, Segmentation

WIDTH_PX, HEIGHT_PX = 640, 360
IMAGE: Image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
_CELL_PX = 2

Box = tuple[float, float, float, float]


def components(painted: Iterable[Box], wiped: Iterable[Box] = (), least_px: int = 16) -> Segmentation:
    """The components of the boxes `painted`, less those `wiped`, all of one class, largest first, with score 1."""
    canvas = np.zeros((HEIGHT_PX // _CELL_PX, WIDTH_PX // _CELL_PX), np.uint8)
    for value, boxes in ((1, painted), (0, wiped)):
        for box in boxes:
            x, y, x_max, y_max = (max(0, round(v / _CELL_PX)) for v in box)
            canvas[y:y_max, x:x_max] = value
    return segmentation_of(canvas, least_px)


def segmentation_of(mask: npt.NDArray[np.uint8], least_px: int = 16) -> Segmentation:
    """The components of one class's mask, (Hm, Wm), that spans the picture of WIDTH_PX x HEIGHT_PX."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    order = [i for i in np.argsort(-facts[:, cv2.CC_STAT_AREA]) if i > 0 and facts[i, cv2.CC_STAT_AREA] >= least_px]
    table = np.zeros(count, np.uint8)
    table[order] = 1 + np.arange(len(order))
    x, y, width, height = facts[order, :4].T
    scale = WIDTH_PX / mask.shape[1]
    boxes = scale * np.stack((x, y, x + width, y + height), axis=1).astype(np.float32)
    ones = np.ones(len(order), np.float32)
    return Segmentation(Instances(boxes.astype(np.float32), ones, np.zeros(len(order), np.int32), table[labels]))
