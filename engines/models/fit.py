"""Fit: how a frame meets a network's input, and the way back. `InputFiller` is the CPU's way of doing it.

Pixel coordinates are continuous: pixel i covers [i, i + 1). A frame of W pixels spans 0..W and lands on `content`, a rectangle of
whole network pixels, so every map is one scale and one offset per axis.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.models.card import InputSpec
from engines.types import F32, U8, Image, Size

MAX_FINER = 32
"""The coarsest stride of the usual networks: a map that many times finer is as fine as the input."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The place of a frame in a network's input.

    frame, net: their sizes. left, top, content: the rectangle of `net` that the frame fills; the rest is padding.
    """

    frame: Size
    net: Size
    left: int
    top: int
    content: Size

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per frame pixel, along x and y."""
        return self.content.width / self.frame.width, self.content.height / self.frame.height

    def to_frame(self, boxes_net: F32) -> F32:
        """(N, 4) boxes in network pixels → frame pixels, clipped to the frame; a new array."""
        scale_x, scale_y = self.scale
        offset = np.array((self.left, self.top, self.left, self.top), np.float32)
        boxes = (boxes_net - offset) / np.array((scale_x, scale_y, scale_x, scale_y), np.float32)
        np.clip(boxes[:, 0::2], 0, self.frame.width, out=boxes[:, 0::2])
        np.clip(boxes[:, 1::2], 0, self.frame.height, out=boxes[:, 1::2])
        return boxes.astype(np.float32, copy=False)

    def to_net(self, boxes_px: F32) -> F32:
        """(N, 4) boxes in frame pixels → network pixels; a new array."""
        scale_x, scale_y = self.scale
        scale = np.array((scale_x, scale_y, scale_x, scale_y), np.float32)
        offset = np.array((self.left, self.top, self.left, self.top), np.float32)
        return (boxes_px * scale + offset).astype(np.float32, copy=False)

    def cells_per_edge(self, cells: Size) -> int:
        """How many times finer a map of `cells` over the whole input must be for `cut` to be exact; 1 where no few times are.

        720p in 640x640 begins at row 140: row 17.5 of a map at 1/8, row 35 of one twice as fine.
        """
        edges_x, edges_y = (self.left, self.left + self.content.width), (self.top, self.top + self.content.height)
        for finer in range(1, MAX_FINER + 1):
            columns_fit = all(edge * cells.width * finer % self.net.width == 0 for edge in edges_x)
            if columns_fit and all(edge * cells.height * finer % self.net.height == 0 for edge in edges_y):
                return finer
        return 1

    def cut(self, net_map: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The part of a (..., h, w) map over the whole input, at any resolution, that the frame fills; a view."""
        height, width = net_map.shape[-2:]
        x0, x1 = (round(edge * width / self.net.width) for edge in (self.left, self.left + self.content.width))
        y0, y1 = (round(edge * height / self.net.height) for edge in (self.top, self.top + self.content.height))
        return net_map[..., y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


@lru_cache(maxsize=32)
def fit(frame: Size, net: Size, how: str) -> Fit:
    """The geometry of "letterbox" (whole frame, aspect kept, centred), "letterbox_top_left" or "stretch"."""
    if frame.width < 1 or frame.height < 1:
        raise ValueError(f"a frame of {frame} has no pixels")
    if how == "stretch":
        return Fit(frame, net, 0, 0, net)
    ratio = min(net.width / frame.width, net.height / frame.height)
    content = Size(min(net.width, max(1, round(frame.width * ratio))), min(net.height, max(1, round(frame.height * ratio))))
    if how == "letterbox_top_left":
        return Fit(frame, net, 0, 0, content)
    if how == "letterbox":
        return Fit(frame, net, (net.width - content.width) // 2, (net.height - content.height) // 2, content)
    raise ValueError(f'unknown fit "{how}"; known: letterbox, letterbox_top_left, stretch')


class InputFiller:
    """Fills a network's input from frames, in buffers it owns and reuses: resize, pad, swap channels, normalise, reorder."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        height, width = spec.size.height, spec.size.width
        self._planar = spec.layout == "nchw"
        shape = (1, 3, height, width) if self._planar else (1, height, width, 3)
        self._tensor: npt.NDArray[Any] = np.zeros(shape, np.dtype(spec.dtype))
        self._filled_for: Fit | None = None
        self._resized: U8 = np.zeros((0, 0, 3), np.uint8)
        self._planes: U8 = np.zeros((3, 0, 0), np.uint8)
        # A pixel has 256 values: normalising is a look-up, rounded once, and as fast for float16 as for float32.
        values = (np.arange(256)[:, None] - np.array(spec.mean)) / np.array(spec.std)
        self._table = values.astype(spec.dtype)
        # One factor is faster still, and enough for most networks: 0..255 to 0..1.
        is_scaled = spec.dtype == "float32" and not any(spec.mean)
        self._gain: F32 | None = (1 / np.array(spec.std)).astype(np.float32) if is_scaled else None
        # OpenCV looks up 16-bit integers, not halves; the bits are the same.
        is_half = self._tensor.dtype == np.float16
        self._target: npt.NDArray[Any] = self._tensor.view(np.int16) if is_half else self._tensor
        table = self._table.view(np.int16) if is_half else self._table
        self._interleaved_table = np.ascontiguousarray(table).reshape(1, 256, 3)
        self._plane_tables = [np.ascontiguousarray(table[:, channel]).reshape(1, 256) for channel in range(3)]

    def __call__(self, image: Image) -> tuple[npt.NDArray[np.generic], Fit]:
        """The batch-of-one input tensor (valid until the next call) and the geometry. Raises ValueError for other arrays."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        geometry = fit(Size.of(image), self._spec.size, self._spec.fit)
        if geometry != self._filled_for:
            self._pad(geometry)
        resized = self._resize(image, geometry)
        rows = slice(geometry.top, geometry.top + geometry.content.height)
        columns = slice(geometry.left, geometry.left + geometry.content.width)
        if self._planar:
            self._fill_planar(resized, self._target[0, :, rows, columns])
        else:
            self._fill_interleaved(resized, self._target[0, rows, columns])
        return self._tensor, geometry

    def _pad(self, geometry: Fit) -> None:
        """Write the padding value everywhere: it stays until the geometry changes, since frames only touch the content."""
        per_channel = self._table[self._spec.pad]
        self._tensor[:] = per_channel.reshape(1, 3, 1, 1) if self._planar else per_channel
        height, width = geometry.content.height, geometry.content.width
        self._resized = np.empty((height, width, 3), np.uint8)
        self._planes = np.empty((3, height, width), np.uint8)
        self._filled_for = geometry

    def _resize(self, image: Image, geometry: Fit) -> Image:
        size = (geometry.content.width, geometry.content.height)
        if Size.of(image) == geometry.content:
            return image
        cv2.resize(image, size, dst=self._resized, interpolation=cv2.INTER_LINEAR)
        return self._resized

    def _fill_planar(self, resized: Image, target: npt.NDArray[Any]) -> None:
        order = (2, 1, 0) if self._spec.channels == "rgb" else (0, 1, 2)
        cv2.split(resized, [self._planes[channel] for channel in order])
        for number, (plane, table, channel) in enumerate(zip(self._planes, self._plane_tables, target, strict=True)):
            if channel.dtype == np.uint8:
                channel[:] = plane
            elif self._gain is not None:
                np.multiply(plane, self._gain[number], out=channel)
            else:
                cv2.LUT(plane, table, dst=channel)

    def _fill_interleaved(self, resized: Image, target: npt.NDArray[Any]) -> None:
        if self._spec.channels == "rgb":
            resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB, dst=self._resized)
        if target.dtype == np.uint8:
            target[:] = resized
        else:
            cv2.LUT(resized, self._interleaved_table, dst=target)
