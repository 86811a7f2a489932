"""A frame on its way into a network: uploaded to the GPU as it is, converted and letterboxed there by one kernel.

The kernel equals the CPU's conversion to BGR (`engines.pictures.raw`) followed by `InputFiller`.
"""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import BackendUnavailableError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device, Stream
from engines.models.card import InputSpec
from engines.models.fit import Fit
from engines.pictures.pixels import Pixels
from engines.pictures.raw import BGR, FORMATS, PictureLike, pixels_of, planes_of

PTX = Path(__file__).with_name("letterbox.ptx")

LAYOUT = struct.Struct("<8i8f18i")
"""`struct Letterbox` of letterbox.cu."""

BLOCK = (32, 8, 1)
"""Threads of a block: 32 pixels of a row are read and written together."""


class FrameBuffer:
    """Host and GPU memory for one frame. It grows to the largest frame and never shrinks.

    pixels: how to read the staged frame's bytes.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer: Buffer | None = None
        self._size_bytes = 0
        self.pixels = BGR

    @property
    def address(self) -> int:
        """The frame's address on the GPU. It changes only for a frame that is larger than all before."""
        assert self._buffer is not None, "staged before it is used"
        return self._buffer.address

    def stage(self, picture: PictureLike) -> None:
        """Copy a picture, whose rows need not be contiguous. Raises ValueError for a wrong shape or type."""
        planes = planes_of(picture)
        if isinstance(picture, np.ndarray) and (picture.shape[2:] != (3,) or picture.dtype != np.uint8):
            raise ValueError(f"an image is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
        size_bytes = sum(plane.nbytes for plane in planes)
        if self._buffer is None or self._buffer.array.nbytes < size_bytes:
            self._buffer = self._grown(size_bytes)
        start = 0
        for plane in planes:
            np.copyto(self._buffer.array[start : start + plane.nbytes].reshape(plane.shape), plane)
            start += plane.nbytes
        self._size_bytes, self.pixels = size_bytes, pixels_of(picture)

    def upload(self, stream: Stream) -> None:
        """Upload the staged frame, on `stream`; it is there already where GPU and host share their memory.

        Stage the next one only after everything that reads this one on the GPU.
        """
        assert self._buffer is not None, "staged before it is used"
        self._buffer.upload(stream, self._size_bytes)

    def _grown(self, size_bytes: int) -> Buffer:
        before, self._buffer = self._buffer, None  # if the next lines fail, no freed memory is referenced
        if before is not None:
            before.free()
        return Buffer(self._device, (size_bytes,), np.uint8)


class LetterboxKernel:
    """The kernel for one kind of input. Valid until its Device closes."""

    def __init__(self, device: Device, spec: InputSpec) -> None:
        """Raises BackendUnavailableError if the driver refuses the kernel."""
        ptx = PTX.read_bytes()
        if LAYOUT.size != (size := parameter_bytes(ptx)):
            what = f"{PTX.name} is of another version ({size} bytes of parameters, not {LAYOUT.size})"
            raise BackendUnavailableError(what, "Install this program again")
        module = device.module(ptx)
        with device.taking("find its kernels"):
            self._function: Any = module.get_function(f"letterbox_{spec.dtype}")
        self._function.prepare(["P", "P", np.dtype(f"V{LAYOUT.size}")])
        self._spec = spec
        self._grid = (-(-spec.size.width // BLOCK[0]), -(-spec.size.height // BLOCK[1]))
        device.on_close(self._forget)

    def enqueue(self, frame: int, target: int, geometry: Fit, stream: Stream, pixels: Pixels = BGR) -> None:
        """Read the frame at address `frame` and write the network's input to `target`, on `stream`. pixels: the frame's."""
        box = parameters(geometry, self._spec, pixels)
        self._function.prepared_async_call(self._grid, BLOCK, stream.raw, frame, target, box)

    def _forget(self) -> None:
        self._function = None


def parameter_bytes(ptx: bytes) -> int:
    """The compiled size of `struct Letterbox`, which letterbox.cu stores in a variable; 0 without one."""
    found = re.search(rb"\bletterbox_bytes = (\d+);", ptx)
    return int(found[1]) if found else 0


def parameters(geometry: Fit, spec: InputSpec, pixels: Pixels = BGR) -> bytes:
    """`struct Letterbox` for frames of this geometry and format. (pixel - mean) / std is passed as a factor and an offset."""
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
        FORMATS.index(pixels.format),
        *(*pixels.weights, *pixels.offsets, pixels.shift, pixels.least_luma),
    )
