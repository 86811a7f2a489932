"""The letterbox kernel: a frame in GPU memory becomes a network's input there. Equals `InputFiller` on the CPU."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import BackendUnavailableError
from engines.gpu.device import Device, Stream
from engines.models.card import InputSpec
from engines.models.fit import Fit

PTX = Path(__file__).with_name("letterbox.ptx")

LAYOUT = struct.Struct("<8i8f3i")
"""`struct Letterbox` of letterbox.cu."""

BLOCK = (32, 8, 1)
"""Threads of a block: 32 pixels of a row are read and written together."""


class LetterboxKernel:
    """The kernel for one kind of input. Belongs to a Device, and ends with it."""

    def __init__(self, device: Device, spec: InputSpec) -> None:
        """Raises BackendUnavailableError when the driver does not take the kernel."""
        ptx = PTX.read_bytes()
        if LAYOUT.size != (size := parameter_bytes(ptx)):
            raise BackendUnavailableError(
                f"{PTX.name} is of another version ({size} bytes of parameters, not {LAYOUT.size}): install this program anew"
            )
        module = device.module(ptx)
        with device.taking("find its kernels"):
            self._function: Any = module.get_function(f"letterbox_{spec.dtype}")
        self._function.prepare(["P", "P", np.dtype(f"V{LAYOUT.size}")])
        self._spec = spec
        self._grid = (-(-spec.size.width // BLOCK[0]), -(-spec.size.height // BLOCK[1]))
        device.on_close(self._forget)

    def enqueue(self, frame: int, target: int, geometry: Fit, stream: Stream) -> None:
        """Read the frame at address `frame`, write the input at `target`, in the order of `stream`."""
        self._function.prepared_async_call(self._grid, BLOCK, stream.raw, frame, target, parameters(geometry, self._spec))

    def _forget(self) -> None:
        self._function = None


def parameter_bytes(ptx: bytes) -> int:
    """The size of `struct Letterbox` as the compiler laid it out, which letterbox.cu leaves in a variable; 0 without one."""
    found = re.search(rb"\bletterbox_bytes = (\d+);", ptx)
    return int(found[1]) if found else 0


def parameters(geometry: Fit, spec: InputSpec) -> bytes:
    """`struct Letterbox` for frames of this geometry. A pixel enters as (pixel - mean) / std, as one factor and one offset."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    frame, content = geometry.frame, geometry.content
    return LAYOUT.pack(
        *(frame.width, frame.height, geometry.net.width, geometry.net.height),
        *(geometry.left, geometry.top, content.width, content.height),
        *(frame.width / content.width, frame.height / content.height),
        *(1 / std),
        *(-mean / std),
        spec.pad,
        spec.channels == "rgb",
        spec.layout == "nchw",
    )
