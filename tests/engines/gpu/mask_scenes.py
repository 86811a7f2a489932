"""Made-up prototypes and boxes, and outputs that are on a GPU: for the stand-in and for a real one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.masks import MaskPainter
from engines.gpu.staying import MaskOutput
from engines.types import Size

Array = npt.NDArray[Any]


def put(device: Device, numbers: Array) -> MaskOutput:
    """`numbers`, (K, h, w), as an output that is on the GPU alone."""
    buffer = Buffer(device, (1, *numbers.shape), numbers.dtype)
    stream = device.stream()
    buffer.array[0] = numbers
    buffer.upload(stream)
    stream.synchronise()
    if not device.shares_memory:
        buffer.array[:] = np.nan
    return MaskOutput(MaskPainter(device, buffer.array.shape), buffer)


def smooth(rng: np.random.Generator, count: int, cells: Size) -> Array:
    noise = rng.standard_normal((count, cells.height, cells.width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in noise])


def boxes_on(rng: np.random.Generator, frame: Size, count: int) -> Array:
    """Some whole, some at edges, some a pixel wide, the rest anywhere; as a family gives them."""
    width, height = frame.width, frame.height
    boxes = [(0, 0, width, height), (width - 37, height - 29, width, height), (0, 50, width, 60), (5, 5, 6, 60)]
    while len(boxes) < count:
        x, y = rng.uniform(0, width - 2), rng.uniform(0, height - 2)
        boxes.append((x, y, min(width, x + rng.uniform(1, width / 3)), min(height, y + rng.uniform(1, height / 2))))
    return np.array(boxes[:count], np.float32)
