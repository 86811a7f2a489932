"""Maths that families share: NMS, argmax over channels, connected components. NumPy and OpenCV on the CPU."""

from collections.abc import Iterator
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import F32, I32, U8, Instances, Size

Rectangle: TypeAlias = tuple[int, int, int, int]
"""x, y, width, height in pixels of a map."""


@np.errstate(invalid="ignore", over="ignore")  # infinity minus itself is NaN, which the caller looks for
def centre_to_corners(boxes: F32) -> F32:
    """(N, 4) centre x, centre y, width, height → x_min, y_min, x_max, y_max; a new array."""
    half = boxes[:, 2:4] * 0.5
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1).astype(np.float32, copy=False)


def visible_rows(boxes_px: F32) -> npt.NDArray[np.intp]:
    """The rows of (N, 4) boxes, clipped to the frame, that are a pixel wide and high."""
    return np.flatnonzero((boxes_px[:, 2] - boxes_px[:, 0] >= 1) & (boxes_px[:, 3] - boxes_px[:, 1] >= 1))


@np.errstate(invalid="ignore", over="ignore")  # a box of 1e30 pixels has an area of infinity, which overlaps nothing enough
def nms(boxes: F32, scores: F32, class_ids: I32, iou_threshold: float, max_count: int) -> tuple[npt.NDArray[np.intp], int]:
    """Greedy non-maximum suppression within each class.

    boxes: (N, 4) corners. scores: (N,). class_ids: (N,). Returns the kept rows, at most `max_count`, scores falling, and how many
    more there are.
    """
    if len(boxes) == 0:
        return np.zeros(0, np.intp), 0
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    x_min, y_min, x_max, y_max = boxes[order].T
    areas = (x_max - x_min) * (y_max - y_min)
    classes = class_ids[order]
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        width = np.minimum(x_max[i], x_max[i + 1 :]) - np.maximum(x_min[i], x_min[i + 1 :])
        height = np.minimum(y_max[i], y_max[i + 1 :]) - np.maximum(y_min[i], y_min[i + 1 :])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        # overlap / union > t, written without a division so that empty boxes need no special case.
        too_close = overlap > iou_threshold * (areas[i] + areas[i + 1 :] - overlap)
        alive[i + 1 :] &= ~(too_close & (classes[i + 1 :] == classes[i]))
    return order[kept[:max_count]], max(0, len(kept) - max_count)


def box_ious(box: F32, others: F32) -> F32:
    """(N,) IoU of one box, (4,) corners, with each of (N, 4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    unions = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2]) - shared
    return np.asarray(shared / np.maximum(unions, 1e-6))


def sigmoid(logits: F32) -> F32:
    """1 / (1 + exp(-logit)), without overflow; a new array."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)


def argmax_channels(logits: F32) -> U8:
    """(C, H, W) float32, C <= 255 → (H, W) uint8 of the largest channel; the lowest index wins a tie. A new array.

    A running maximum plane by plane: several times faster than NumPy's argmax over the first axis.
    """
    best = logits[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for channel in range(1, len(logits)):
        larger = cv2.compare(logits[channel], best, cv2.CMP_GT)
        cv2.max(best, logits[channel], dst=best)
        # Channels rise, so "set where larger" is a maximum with the channel's number.
        cv2.max(labels, np.bitwise_and(larger, np.uint8(channel), out=larger), dst=labels)
    return labels


WIDE = 1.5
"""A region so many times wider than high may be several things side by side: one car is seen at most about twice as wide."""

WAIST = 0.4
"""Where a wide region is lower than this share of its height, one thing ends and the next begins."""


def split_at_waists(mask: U8) -> list[U8]:
    """Cut a region of things that touch, such as the cars of a queue, where it is thin.

    mask: (h, w) uint8, 0 and 255, over the region's rectangle. Returns masks of the same shape that add up to it; one if nothing
    is thin. What survives an erosion by the waist's height is a thing's core, and every pixel goes to the core next to it.
    """
    height, width = mask.shape
    waist = max(3, round(WAIST * height) | 1)
    if width < WIDE * height:
        return [mask]
    cores = cv2.erode(mask, np.ones((waist, waist), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if cv2.connectedComponents(cores)[0] < 3:  # the background and at most one core
        return [mask]
    _, nearest = cv2.distanceTransformWithLabels(255 - cores, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_CCOMP)
    parts = [np.equal(nearest, label).view(np.uint8) * mask for label in range(1, int(nearest.max()) + 1)]
    return [part for part in parts if part.any()]


def components(class_map: U8, class_ids: tuple[int, ...], min_area: int) -> Iterator[tuple[int, U8, Rectangle]]:
    """The 8-connected regions of each class, cut at their waists, specks below `min_area` pixels left out.

    Yields (class id, (h, w) bool-like uint8 mask of 0 and 255 over the region's rectangle, (x, y, w, h) of that rectangle).
    """
    for class_id in class_ids:
        of_class = np.equal(class_map, class_id).view(np.uint8)
        if not of_class.any():
            continue
        try:
            _, regions, stats, _ = cv2.connectedComponentsWithStats(of_class, connectivity=8, ltype=cv2.CV_16U)
        except cv2.error:  # more regions than 16 bits count, which takes noise; 32 bits take nearly three times as long
            _, regions, stats, _ = cv2.connectedComponentsWithStats(of_class, connectivity=8, ltype=cv2.CV_32S)
        # Noise makes a hundred thousand specks; only the rest is worth a turn of this loop. Row 0 is the background.
        for region in (np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area) + 1).tolist():
            x, y, width, height = stats[region, :4].tolist()
            rectangle = regions[y : y + height, x : x + width]
            parts = split_at_waists(np.equal(rectangle, region).view(np.uint8) * np.uint8(255))
            if len(parts) == 1:
                yield class_id, parts[0], (x, y, width, height)
                continue
            for part in parts:
                left, top, w, h = cv2.boundingRect(part)
                if cv2.countNonZero(part) >= min_area:
                    yield class_id, part[top : top + h, left : left + w], (x + left, y + top, w, h)


def as_instances(found: list[tuple[float, int, U8, Rectangle]], map_size: Size, frame: Size, max_objects: int) -> Instances:
    """The best `max_objects` regions of a map over the whole frame as objects.

    found: (score, class id, (h, w) mask over the rectangle, the rectangle), in any order. Boxes come out in frame pixels.
    """
    # Best first; of equals the larger, so that a flood of fragments never pushes out a big object.
    kept = sorted(found, key=lambda entry: (-entry[0], -entry[3][2] * entry[3][3]))[:max_objects]
    label_map = np.zeros((map_size.height, map_size.width), np.uint8)
    boxes = np.zeros((len(kept), 4), np.float32)
    for row, (_, _, mask, (x, y, w, h)) in enumerate(kept):
        np.copyto(label_map[y : y + h, x : x + w], np.uint8(row + 1), where=mask.view(bool))
        boxes[row] = (x, y, x + w, y + h)
    to_frame = np.array((frame.width / map_size.width, frame.height / map_size.height) * 2, np.float32)
    return Instances(
        boxes * to_frame,
        np.array([entry[0] for entry in kept], np.float32),
        np.array([entry[1] for entry in kept], np.int32),
        label_map,
        len(found) - len(kept),
    )
