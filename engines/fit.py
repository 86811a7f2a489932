"""Fit: how a frame meets a network's input, and the way back. `InputFiller` is the CPU's way of doing it.

Pixel coordinates are continuous: pixel i covers [i, i + 1). A frame of W pixels spans 0..W and lands on `content`, a rectangle of
whole network pixels, so every map is one scale and one offset per axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.card import InputSpec
from engines.types import F32, U8, Image, Size


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a frame lies in a network's input.

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
    content = Size(
        min(net.width, max(1, round(frame.width * ratio))),
        min(net.height, max(1, round(frame.height * ratio))),
    )
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
        planar = spec.layout == "nchw"
        shape = (1, 3, height, width) if planar else (1, height, width, 3)
        self._tensor: npt.NDArray[Any] = np.zeros(shape, np.dtype(spec.dtype))
        self._filled_for: Fit | None = None
        self._resized: U8 = np.zeros((0, 0, 3), np.uint8)
        self._planes: U8 = np.zeros((3, 0, 0), np.uint8)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        # x * gain + bias is one pass where (x - mean) / std would be two.
        self._gain, self._bias = 1 / std, -mean / std

    def __call__(self, image: Image) -> tuple[npt.NDArray[np.generic], Fit]:
        """The batch-of-one input tensor (valid until the next call) and the geometry. Raises ValueError for what is no image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        geometry = fit(Size.of(image), self._spec.size, self._spec.fit)
        if geometry != self._filled_for:
            self._pad(geometry)
        if self._spec.layout == "nchw":
            self._fill_planar(image, geometry)
        else:
            self._fill_interleaved(image, geometry)
        return self._tensor, geometry

    def _pad(self, geometry: Fit) -> None:
        """Write the padding value everywhere: it stays until the geometry changes, since frames only touch the content."""
        per_channel = self._spec.pad * self._gain + self._bias
        if self._spec.layout == "nchw":
            self._tensor[:] = per_channel.reshape(1, 3, 1, 1).astype(self._tensor.dtype)
        else:
            self._tensor[:] = per_channel.astype(self._tensor.dtype)
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

    def _fill_planar(self, image: Image, geometry: Fit) -> None:
        resized = self._resize(image, geometry)
        order = (2, 1, 0) if self._spec.channels == "rgb" else (0, 1, 2)
        cv2.split(resized, [self._planes[channel] for channel in order])
        rows = slice(geometry.top, geometry.top + geometry.content.height)
        columns = slice(geometry.left, geometry.left + geometry.content.width)
        for channel in range(3):
            target = self._tensor[0, channel, rows, columns]
            if self._tensor.dtype == np.uint8:
                target[:] = self._planes[channel]
            else:
                np.multiply(self._planes[channel], self._gain[channel], out=target, casting="same_kind")
                if self._bias[channel] != 0:
                    target += self._bias[channel]

    def _fill_interleaved(self, image: Image, geometry: Fit) -> None:
        rows = slice(geometry.top, geometry.top + geometry.content.height)
        columns = slice(geometry.left, geometry.left + geometry.content.width)
        target = self._tensor[0, rows, columns]
        resized = self._resize(image, geometry)
        if self._spec.channels == "rgb":
            resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB, dst=self._resized if resized is self._resized else None)
        if self._tensor.dtype == np.uint8:
            target[:] = resized
        else:
            np.multiply(resized, self._gain, out=target, casting="same_kind")
            if self._bias.any():
                target += self._bias
