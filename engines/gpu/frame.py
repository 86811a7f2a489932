"""FrameBuffer: where a frame waits for the GPU, in memory that does not move, and where it lies there then."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.gpu.device import Device, Memory, Pinned, Stream
from engines.types import Image


class FrameBuffer:
    """Room for one frame on both sides. It grows with the largest frame: a source that alternates sizes costs nothing."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pinned: Pinned | None = None
        self._memory: Memory | None = None
        self._staged: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    @property
    def address(self) -> int:
        """Where the frame lies in GPU memory. It changes only when a frame is larger than all before."""
        assert self._memory is not None, "staged before it is used"
        return self._memory.address

    def stage(self, image: Image) -> None:
        """Copy `image`, whose rows need not lie close together. Raises ValueError for what is no image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        if self._pinned is None or self._pinned.array.nbytes < image.nbytes:
            self._grow(image.nbytes)
        assert self._pinned is not None, "made above"
        self._staged = self._pinned.array[: image.nbytes]
        np.copyto(self._staged.reshape(image.shape), image)

    def upload(self, stream: Stream) -> None:
        """Send the staged frame, in the order of `stream`; it must not be staged anew before that has happened."""
        self._device.upload(self.address, self._staged, stream)

    def _grow(self, size_bytes: int) -> None:
        self._staged = np.zeros(0, np.uint8)
        for old in (self._pinned, self._memory):
            if old is not None:
                old.free()
        self._pinned = self._memory = None  # if the next lines fail, nothing is left that was freed
        self._pinned = self._device.pinned((size_bytes,), np.uint8)
        self._memory = self._device.memory(size_bytes)
