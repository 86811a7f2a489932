"""Maths that families share: NMS, mask assembly, argmax over channels, connected components. NumPy and OpenCV on the CPU."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.maps import not_finite
from engines.models.fit import Fit
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


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of N objects, each cut to its box.

    logits_of: gives row i's mask logits under some rows and columns of `cells`, a grid over the whole network input.
    boxes_px: (N, 4) in frame pixels, rows by falling score. magnify: pixels of the map that is made to a network pixel.
    """

    logits_of: Callable[[int, slice, slice], F32]
    cells: Size
    boxes_px: F32
    geometry: Fit
    magnify: int

    @property
    def map_size(self) -> Size:
        return Size(self.geometry.content.width * self.magnify, self.geometry.content.height * self.magnify)

    def painted(self) -> U8:
        """A label map over the frame: 0 none, i + 1 = row i, the higher score on top. Raises InferenceError as `parts` does."""
        labels = np.zeros((self.map_size.height, self.map_size.width), np.uint8)
        for row, mask, (x, y, w, h) in self.parts(range(len(self.boxes_px) - 1, -1, -1)):
            cv2.copyTo(np.full(mask.shape, row + 1, np.uint8), mask, labels[y : y + h, x : x + w])
        return labels

    def whole(self) -> Iterator[U8]:
        """Each row's whole mask: (H, W) uint8, 0 and 1, of the frame's size; made on demand."""
        frame = (self.geometry.frame.width, self.geometry.frame.height)
        for row in range(len(self.boxes_px)):
            mask = np.zeros((self.map_size.height, self.map_size.width), np.uint8)
            for _, part, (x, y, w, h) in self.parts((row,)):  # one, or none where the box covers no pixel
                mask[y : y + h, x : x + w] = part
            yield np.asarray(cv2.resize(mask, frame, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)

    def parts(self, rows: Iterable[int]) -> Iterator[tuple[int, U8, Rectangle]]:
        """Of each of `rows` (row, (h, w) uint8 mask of 0 and 1, its rectangle on the map); none where a box covers no pixel.

        The *logits* are upsampled: the edge is where they cross zero. Raises InferenceError where they are not finite.
        """
        net, frame = self.geometry.net, self.geometry.frame
        # A whole number of map pixels to a cell makes every upsampling a plain resize: a fifth of an affine warp's time.
        cell_x, cell_y = net.width * self.magnify / self.cells.width, net.height * self.magnify / self.cells.height
        left, top = self.geometry.left * self.magnify, self.geometry.top * self.magnify
        to_map = np.array((self.map_size.width / frame.width, self.map_size.height / frame.height) * 2, np.float32)
        corners = np.rint(self.boxes_px * to_map).astype(int).tolist()
        for row in rows:
            x0, y0, x1, y1 = corners[row]
            if x1 <= x0 or y1 <= y0:
                continue
            # The cells under the box and one around them, which bilinear sampling touches.
            cells_x = slice(max(int((left + x0) / cell_x) - 1, 0), int((left + x1 - 1) / cell_x) + 2)
            cells_y = slice(max(int((top + y0) / cell_y) - 1, 0), int((top + y1 - 1) / cell_y) + 2)
            with np.errstate(invalid="ignore", over="ignore"):  # an error reports it
                logits = self.logits_of(row, cells_y, cells_x)
                is_finite = np.isfinite(logits.sum())
            if not is_finite:
                raise not_finite("the array of masks")
            origin_x, origin_y = round(cells_x.start * cell_x), round(cells_y.start * cell_y)
            # Edge minus edge, each rounded once: where a cell is not a whole number of pixels, the last column is not lost.
            size = (
                round((cells_x.start + logits.shape[1]) * cell_x) - origin_x,
                round((cells_y.start + logits.shape[0]) * cell_y) - origin_y,
            )
            upsampled = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)
            x, y = left + x0 - origin_x, top + y0 - origin_y
            # NumPy compares, not OpenCV: to that a 1x1 array is a scalar, and it refuses or answers with four values.
            inside = np.greater(upsampled[y : y + y1 - y0, x : x + x1 - x0], 0).view(np.uint8)
            yield row, inside, (x0, y0, x1 - x0, y1 - y0)


def mixed_masks(coefficients: F32, prototypes: F32, boxes_px: F32, geometry: Fit, magnify: int) -> Masks:
    """Masks that are mixed of prototypes, only as far as they lie under a box.

    coefficients: (N, K), rows by falling score. prototypes: (K, Hp, Wp) over the whole network input.
    Source: YOLACT (Bolya et al., 2019), section 3.
    """

    def logits_of(row: int, cells_y: slice, cells_x: slice) -> F32:
        crop = prototypes[:, cells_y, cells_x]
        return np.asarray((coefficients[row] @ crop.reshape(len(crop), -1)).reshape(crop.shape[1:]))

    return Masks(logits_of, Size.of(prototypes[0]), boxes_px, geometry, magnify)


def paint_masks(coefficients: F32, prototypes: F32, boxes_px: F32, geometry: Fit, magnify: int) -> U8:
    """The label map of `mixed_masks`."""
    return mixed_masks(coefficients, prototypes, boxes_px, geometry, magnify).painted()


def magnification(geometry: Fit, map_width_px: int) -> int:
    """How many map pixels to a network pixel make masks at least as fine as they will be seen, or as the frame is."""
    wanted = geometry.frame.fitted_to_width(map_width_px)
    # In whole steps; the little less forgives a letterbox that is rounded to pixels.
    return max(1, math.ceil(wanted.width / geometry.content.width - 0.02))


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
