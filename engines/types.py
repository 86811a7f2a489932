"""The values that flow through `engines`: small, frozen, and the same whichever model made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

U8: TypeAlias = npt.NDArray[np.uint8]
F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]
I32: TypeAlias = npt.NDArray[np.int32]
I64: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.floating]
Rows: TypeAlias = npt.NDArray[np.intp]
"""Indices of rows."""

Image: TypeAlias = U8
"""(H, W, 3) uint8 BGR, C-contiguous, read-only by convention: copy it before drawing on it."""

Outputs: TypeAlias = Mapping[str, npt.NDArray[np.generic]]
"""A network's output arrays by tensor name, valid until the engine's next `infer`."""

VOID_CLASS = 255
"""The class map's value for "no class"."""

MAX_OBJECTS = 254
"""A uint8 label map holds 254 objects: 0 is "none", 255 stays free."""


@dataclass(frozen=True, slots=True)
class Size:
    """A width and a height in pixels."""

    width: int
    height: int

    @classmethod
    def of(cls, image: npt.NDArray[np.generic]) -> Size:
        """The size of an array whose first two axes are rows and columns."""
        return cls(int(image.shape[1]), int(image.shape[0]))

    def fitted_to_width(self, width_px: int) -> Size:
        """This size scaled down to at most `width_px`, its aspect kept, the height even; never scaled up."""
        if self.width <= width_px:
            return self
        height = round(self.height * width_px / self.width / 2) * 2
        return Size(width_px, max(2, height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class MaskGrids(Protocol):
    """An output that is still on a GPU, and is made into a label map there: prototypes, or mask logits.

    shape: (1, K, h, w). cuts: (N, 12) int32 of N objects, as `engines.decoding.cuts` has them. Both methods that paint give a new
    (H, W) uint8 array, and raise FloatingPointError where a number under a box is not finite, InferenceError where the GPU fails.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def array(self) -> npt.NDArray[Any]:
        """The whole output, brought to the host. Raises InferenceError."""
        ...

    def mixed(self, cuts: I32, coefficients: F32, size: Size) -> U8:
        """Masks mixed of all K planes. coefficients: (N, K)."""
        ...

    def chosen(self, cuts: I32, planes: Rows, size: Size) -> U8:
        """Masks that each have a plane of their own. planes: (N,)."""
        ...


class GpuOutputs(Mapping[str, npt.NDArray[Any]]):
    """`Outputs` of which some are still on a GPU: these come to the host when they are asked for.

    here: those on the host. on_gpu: the others.
    """

    def __init__(self, here: Outputs, on_gpu: Mapping[str, MaskGrids]) -> None:
        self.here, self.on_gpu = here, on_gpu

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.on_gpu[name].array() if name in self.on_gpu else self.here[name]

    def __contains__(self, name: object) -> bool:
        return name in self.here or name in self.on_gpu

    def __iter__(self) -> Iterator[str]:
        yield from self.here
        yield from self.on_gpu

    def __len__(self) -> int:
        return len(self.here) + len(self.on_gpu)


@dataclass(frozen=True, slots=True)
class Instances:
    """N objects; row i of every array is the same object, scores fall from row to row.

    boxes_px:  (N, 4) float32, x_min, y_min, x_max, y_max in frame pixels.
    scores:    (N,) float32 in [0, 1]; exactly 1 where the network gives none.
    class_ids: (N,) int32, indices into the card's classes.
    label_map: (Hm, Wm) uint8, 0 = no object, i + 1 = row i; where two overlap the higher score wins.
               It spans the whole frame at its own resolution. N <= 254.
    cut_off:   how many more there were, of lower scores, that were left out because a frame holds no more.
    """

    boxes_px: F32
    scores: F32
    class_ids: I32
    label_map: U8
    cut_off: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, row: int, size: Size | None = None) -> Bools:
        """(H, W) bool: the pixels of object `row` in the label map, scaled to `size`; a new array. Raises IndexError."""
        if not 0 <= row < len(self):
            raise IndexError(f"there is no object {row}; there are {len(self)}")
        return np.equal(scaled_labels(self.label_map, size) if size else self.label_map, row + 1)

    @classmethod
    def none(cls, map_size: Size) -> Instances:
        """No object, on a label map of `map_size`."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            np.zeros((map_size.height, map_size.width), np.uint8),
        )


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What one network saw in one image: optional parts, each spanning the whole frame, letterbox padding cut away.

    instances: the objects.
    class_map: (Hc, Wc) uint8 semantic class of each pixel, 255 = void, or None.
    alpha:     (Ha, Wa) uint8 foreground opacity, or None.
    surface:   (Hs, Ws) uint8 of a road ahead, 0 = nothing, 1 = drivable, 2 = lane line, or None.
    stage_ms:  how long "preprocess", "inference" and "decode" took for this image, in milliseconds.
    frame:     the image's size; None where no Segmenter made this.
    """

    instances: Instances
    class_map: U8 | None = None
    alpha: U8 | None = None
    surface: U8 | None = None
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    frame: Size | None = None

    def mask(self, row: int) -> Bools:
        """(H, W) bool: the image's pixels of object `row` of `instances`. Where objects overlap, the higher score has the pixel.

        `Segmenter.objects` gives whole masks.
        """
        return self.instances.mask(row, self.frame)


def scaled_labels(labels: U8, size: Size) -> U8:
    """A (H, W) map of labels at another size, each pixel the nearest one's label; the map itself where it has that size."""
    import cv2

    if size == Size.of(labels):
        return labels
    return np.asarray(cv2.resize(labels, (size.width, size.height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
