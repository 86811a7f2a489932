"""Masks of many objects, made on the GPU and by the CPU from the same made-up outputs, in turns. Part of benchmarks/gpu.py."""

from __future__ import annotations

import statistics
import time
from typing import Any

import cv2
import numpy as np

from engines.decoding.cuts import Cuts
from engines.decoding.masks import magnification, mixed_masks
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.masks import MaskPainter
from engines.gpu.staying import MaskOutput
from engines.models.fit import fit
from engines.types import Size

OBJECTS, PLANES, NET, CELLS = 30, 32, Size(640, 640), Size(160, 160)
"""As a YOLO segmentation network has them."""

WARM_UP = 20


def measure_masks(frame: Size, count: int, map_width_px: int = 1280) -> dict[str, Any]:
    """Milliseconds of the label map of OBJECTS objects, each about a tenth of the frame's width and a third of its height."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((PLANES, CELLS.height, CELLS.width)).astype(np.float32)
    prototypes = np.stack([cv2.GaussianBlur(plane, (0, 0), 6) for plane in noise]).astype(np.float16)
    corners = rng.uniform((0, 0), (0.85 * frame.width, 0.6 * frame.height), (OBJECTS, 2))
    sizes = rng.uniform((0.05 * frame.width, 0.15 * frame.height), (0.14 * frame.width, 0.4 * frame.height), (OBJECTS, 2))
    boxes = np.concatenate((corners, corners + sizes), axis=1).astype(np.float32)
    coefficients = rng.standard_normal((OBJECTS, PLANES)).astype(np.float32)
    geometry = fit(frame, NET, "letterbox")
    given = (boxes, geometry, magnification(geometry, map_width_px))
    walls: dict[str, list[float]] = {"gpu": [], "cpu": []}
    differing = 0
    with Device() as device:
        output = _put(device, prototypes)
        for index in range(WARM_UP + count):
            maps = []
            for name, source in (("gpu", output), ("cpu", prototypes)):
                start = time.perf_counter()
                maps.append(mixed_masks(coefficients, source, *given).painted())
                if index >= WARM_UP:
                    walls[name].append((time.perf_counter() - start) * 1e3)
            differing = int((maps[0] != maps[1]).sum())
        cuts = Cuts.of(boxes, geometry, CELLS, given[2])
        parts = output.painter.part_times(output, cuts.table, coefficients, cuts.map_size, count)
    return {
        "objects": OBJECTS,
        "map": str(cuts.map_size),
        "parts on the GPU": {name: round(statistics.median(times), 4) for name, times in parts.items()},
        "all on the GPU, wall": round(statistics.median(walls["gpu"]), 3),
        "the CPU instead, wall": round(statistics.median(walls["cpu"]), 3),
        "pixels that differ": differing,
    }


def _put(device: Device, prototypes: np.ndarray) -> MaskOutput:
    buffer, stream = Buffer(device, (1, *prototypes.shape), prototypes.dtype), device.stream()
    buffer.array[0] = prototypes
    buffer.upload(stream)
    stream.synchronise()
    return MaskOutput(MaskPainter(device, buffer.array.shape), buffer)
