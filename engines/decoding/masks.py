"""Masks of objects: from mask logits, or prototypes to mix them of, to one label map. NumPy and OpenCV on the CPU.

In one thread: sharing the objects among several was measured, and did not pay (docs/decisions.md).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.cuts import Cuts
from engines.decoding.halves import as_float32
from engines.decoding.maps import not_finite
from engines.decoding.postprocess import Rectangle
from engines.models.fit import Fit
from engines.types import F32, U8, GpuOutputs, MaskGrids, Outputs, Rows, Size

Grids: TypeAlias = npt.NDArray[Any] | MaskGrids
"""(K, h, w) on the host; or (1, K, h, w) on a GPU, where the label map is made then."""

MASKS = "the array of masks"


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of N objects, each cut to its box.

    logits_of: gives row i's mask logits under some rows and columns of `cells`, a grid over the whole network input.
    boxes_px: (N, 4) in frame pixels, rows by falling score. cuts: of these boxes on the map that is made. on_gpu: makes the map
    where the logits are, if that is not here.
    """

    logits_of: Callable[[int, slice, slice], F32]
    boxes_px: F32
    geometry: Fit
    cuts: Cuts
    on_gpu: Callable[[], U8] | None = None

    def painted(self) -> U8:
        """A label map over the frame: 0 none, i + 1 = row i, the higher score on top. Raises InferenceError as `parts` does."""
        if self.on_gpu is not None:
            try:
                return self.on_gpu()
            except FloatingPointError:
                raise not_finite(MASKS) from None
        size = self.cuts.map_size
        labels = np.zeros((size.height, size.width), np.uint8)
        for row, mask, (x, y, w, h) in self.parts(range(len(self.boxes_px) - 1, -1, -1)):
            cv2.copyTo(np.full(mask.shape, row + 1, np.uint8), mask, labels[y : y + h, x : x + w])
        return labels

    def whole(self) -> Iterator[U8]:
        """Each row's whole mask: (H, W) uint8, 0 and 1, of the frame's size; made on demand."""
        frame, size = (self.geometry.frame.width, self.geometry.frame.height), self.cuts.map_size
        for row in range(len(self.boxes_px)):
            mask = np.zeros((size.height, size.width), np.uint8)
            for _, part, (x, y, w, h) in self.parts((row,)):  # one, or none where the box covers no pixel
                mask[y : y + h, x : x + w] = part
            yield np.asarray(cv2.resize(mask, frame, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)

    def parts(self, rows: Iterable[int]) -> Iterator[tuple[int, U8, Rectangle]]:
        """Of each of `rows` (row, (h, w) uint8 mask of 0 and 1, its rectangle on the map); none where a box covers no pixel.

        The *logits* are upsampled: the edge is where they cross zero. Raises InferenceError where they are not finite.
        """
        for row in rows:
            x0, y0, x1, y1, cell_x, cell_y, cells_w, cells_h, width, height, shift_x, shift_y = self.cuts.table[row].tolist()
            if x1 <= x0 or y1 <= y0:
                continue
            with np.errstate(invalid="ignore", over="ignore"):  # an error reports it
                logits = self.logits_of(row, slice(cell_y, cell_y + cells_h), slice(cell_x, cell_x + cells_w))
                is_finite = np.isfinite(logits.sum())
            if not is_finite:
                raise not_finite(MASKS)
            upsampled = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
            # NumPy compares, not OpenCV: to that a 1x1 array is a scalar, and it refuses or answers with four values.
            inside = np.greater(upsampled[shift_y : shift_y + y1 - y0, shift_x : shift_x + x1 - x0], 0).view(np.uint8)
            yield row, inside, (x0, y0, x1 - x0, y1 - y0)


def mixed_masks(coefficients: F32, prototypes: Grids, boxes_px: F32, geometry: Fit, magnify: int) -> Masks:
    """Masks that are mixed of prototypes, only as far as they lie under a box.

    coefficients: (N, K), rows by falling score. prototypes: (K, Hp, Wp) over the whole network input; of halves only those
    under boxes are converted. Source: YOLACT (Bolya et al., 2019), section 3.
    """
    cuts = Cuts.of(boxes_px, geometry, Size(prototypes.shape[-1], prototypes.shape[-2]), magnify)
    if not isinstance(prototypes, np.ndarray):
        grids = prototypes
        return Masks(_nothing_here, boxes_px, geometry, cuts, lambda: grids.mixed(cuts.table, coefficients, cuts.map_size))
    known, left, top = prototypes, 0, 0
    if prototypes.dtype != np.float32:
        rows, columns = cuts.hull()
        known, left, top = as_float32(prototypes[:, rows, columns]), columns.start, rows.start

    def logits_of(row: int, cells_y: slice, cells_x: slice) -> F32:
        crop = known[:, cells_y.start - top : cells_y.stop - top, cells_x.start - left : cells_x.stop - left]
        return np.asarray((coefficients[row] @ crop.reshape(len(crop), -1)).reshape(crop.shape[1:]))

    return Masks(logits_of, boxes_px, geometry, cuts)


def chosen_masks(mask_logits: Grids, rows: Rows, boxes_px: F32, geometry: Fit, magnify: int) -> Masks:
    """Masks that the network gives each by itself. mask_logits: (Q, Hm, Wm) over the whole input. rows: (N,), of each object."""
    cuts = Cuts.of(boxes_px, geometry, Size(mask_logits.shape[-1], mask_logits.shape[-2]), magnify)
    if not isinstance(mask_logits, np.ndarray):
        grids = mask_logits
        return Masks(_nothing_here, boxes_px, geometry, cuts, lambda: grids.chosen(cuts.table, rows, cuts.map_size))

    def logits_of(row: int, cells_y: slice, cells_x: slice) -> F32:
        return np.asarray(mask_logits[rows[row], cells_y, cells_x], np.float32)

    return Masks(logits_of, boxes_px, geometry, cuts)


def _nothing_here(row: int, cells_y: slice, cells_x: slice) -> F32:
    raise ValueError("these masks are on a GPU: take the output's array for each object's own")


def paint_masks(coefficients: F32, prototypes: Grids, boxes_px: F32, geometry: Fit, magnify: int) -> U8:
    """The label map of `mixed_masks`."""
    return mixed_masks(coefficients, prototypes, boxes_px, geometry, magnify).painted()


def magnification(geometry: Fit, map_width_px: int) -> int:
    """How many map pixels to a network pixel make masks at least as fine as they will be seen, or as the frame is."""
    wanted = geometry.frame.fitted_to_width(map_width_px)
    # In whole steps; the little less forgives a letterbox that is rounded to pixels.
    return max(1, math.ceil(wanted.width / geometry.content.width - 0.02))


def grids_of(outputs: Outputs, name: str) -> npt.NDArray[Any] | MaskGrids:
    """An output as it is, where it is."""
    return outputs.on_gpu[name] if isinstance(outputs, GpuOutputs) and name in outputs.on_gpu else outputs[name]
