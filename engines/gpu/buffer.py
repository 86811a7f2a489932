"""Buffer: an array that host and GPU hand to each other."""

from typing import Any

import numpy.typing as npt

from engines.gpu.device import Device, Memory, Stream


class Buffer:
    """A pinned array on the host, and the same bytes at `address` on the GPU. Valid until its Device closes.

    A GPU with memory of its own has a copy, which `upload` and `download` bring up to date. One that shares the host's (a
    Jetson's) works in the array itself, and both do nothing.

    Sharing needs no flushing on the GPUs that this program supports: from compute capability 7.2 on, the CPU caches pinned memory
    and the GPU's accesses see its caches. Only order is needed: the host writes before the work is enqueued, and reads and writes
    again once an event after it has been waited for. The GPU does not cache pinned memory. So what it reads again and again is in
    memory of the GPU: a network's input, and what `stays` there. Source: NVIDIA, CUDA for Tegra, on memory management.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: npt.DTypeLike, *, stays: bool = False) -> None:
        """Raises BackendUnavailableError if there is not enough memory.

        stays: the GPU reads it again and again, and the host seldom or never: it has memory of the GPU's in any case.
        """
        self._device = device
        self._pinned = device.pinned(shape, dtype)
        is_shared = device.shares_memory and not stays
        self._memory: Memory | None = None if is_shared else device.memory(self._pinned.array.nbytes)
        self.array: npt.NDArray[Any] = self._pinned.array
        self.address = self._pinned.address if self._memory is None else self._memory.address

    def upload(self, stream: Stream, size_bytes: int | None = None) -> None:
        """Bring the array to the GPU, on `stream`; of a (N,) uint8 array the first `size_bytes`, if given."""
        if self._memory is not None:
            self._device.upload(self.address, self.array[:size_bytes], stream)

    def download(self, stream: Stream, length: int | None = None, first: int = 0) -> None:
        """Bring the GPU's bytes into the array, on `stream`; they are there once that is synchronised.

        length: only so many, from `first` on.
        """
        if self._memory is not None:
            part = self.array[first : None if length is None else first + length]
            self._device.download(part, self.address + first * self.array.strides[0], stream)

    def free(self) -> None:
        """Free it before its Device closes. Nothing may use it any more, and no view of the array may be left."""
        self._pinned.free()
        if self._memory is not None:
            self._memory.free()
