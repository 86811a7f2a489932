"""The memory of the fake GPU, and the host memory pinned for it. Addresses of freed blocks are never reused."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from fakegpu.codes import CudaError

FRESH, STALE = 0xCD, 0xDD
"""The bytes of new and of freed memory."""

FIRST_ADDRESS = 0x7_0000_0000
"""Beyond 32 bits, so that an address truncated to a C int is detected; never a host address."""

PINNED_ALIGNMENT_BYTES = 512
"""Of pinned memory, as drivers give it."""

GUARD_BYTES = 4096
"""The unused space between two blocks."""


@dataclass(eq=False)
class Block:
    """A piece of memory: on the device, or pinned on the host."""

    address: int
    size: int
    data: npt.NDArray[np.uint8]
    kind: str
    what: str
    context: Any = None
    is_live: bool = True
    others: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} memory: {self.size} bytes at {self.address:#x} ({self.what})"


class Registry:
    """Blocks by address."""

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._blocks: list[Block] = []

    def add(self, block: Block) -> None:
        place = bisect.bisect(self._addresses, block.address)
        self._addresses.insert(place, block.address)
        self._blocks.insert(place, block)

    def remove(self, block: Block) -> None:
        place = self._blocks.index(block)
        del self._addresses[place], self._blocks[place]

    def find(self, address: int, size: int) -> Block | None:
        """The block with these bytes, or None if there is none or they exceed it."""
        place = bisect.bisect(self._addresses, address) - 1
        if place < 0:
            return None
        block = self._blocks[place]
        return block if address + size <= block.address + block.size else None

    def __iter__(self) -> Any:
        return iter(list(self._blocks))


class Memory:
    """All memory. Not thread-safe: callers hold the World's lock."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.device = Registry()
        self.pinned = Registry()
        self.freed = Registry()
        self._next = FIRST_ADDRESS

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - sum(block.size for block in self.device)

    def allocate(self, size: int, what: str, context: Any, is_backed: bool = True) -> Block:
        """Device memory. is_backed: with real bytes; otherwise only counted, like TensorRT's own."""
        if size <= 0:
            raise CudaError(1)
        if size > self.free_bytes:
            raise CudaError(2)
        data = np.full(size if is_backed else 0, FRESH, np.uint8)
        block = Block(self._next, size, data, "device", what, context)
        self._next += -(-(size + GUARD_BYTES) // 512) * 512
        self.device.add(block)
        return block

    def pin(self, size: int, context: Any) -> Block:
        """Host memory, at the same address for host and GPU, as everywhere with unified addressing."""
        room = np.full(size + PINNED_ALIGNMENT_BYTES, FRESH, np.uint8)
        start = -room.ctypes.data % PINNED_ALIGNMENT_BYTES
        data = room[start : start + size]
        block = Block(data.ctypes.data, data.nbytes, data, "pinned", "pagelocked", context)
        self.pinned.add(block)
        return block

    def free(self, block: Block) -> None:
        block.is_live = False
        block.data[...] = STALE
        if block.kind == "pinned":
            self.pinned.remove(block)
        else:
            self.device.remove(block)
            self.freed.add(block)

    def bytes_at(self, address: int, size: int, what: str) -> npt.NDArray[np.uint8]:
        """A view of bytes that a kernel reaches: the device's, or pinned ones. Raises CudaError 700 for an illegal access."""
        if size == 0:
            return np.empty(0, np.uint8)
        block = self.device.find(address, size) or self.pinned.find(address, size)
        if block is None:
            raise CudaError(700, f"{what}: {size} bytes at {address:#x}: {self.why_not(address)}")
        start = address - block.address
        return block.data[start : start + size]

    def host_at(self, address: int, size: int, what: str) -> npt.NDArray[np.uint8]:
        """A view of pinned host bytes. Raises CudaError 700 if they are no longer pinned."""
        if size == 0:
            return np.empty(0, np.uint8)
        block = self.pinned.find(address, size)
        if block is None:
            raise CudaError(700, f"{what}: {size} bytes of host memory at {address:#x} are not pinned (any more)")
        start = address - block.address
        return block.data[start : start + size]

    def space_of(self, address: int) -> str:
        """ "host" or "device"."""
        return "device" if self.pinned.find(address, 1) is None else "host"

    def is_pinned(self, address: int, size: int) -> bool:
        return self.pinned.find(address, size) is not None

    def why_not(self, address: int) -> str:
        if (block := self.device.find(address, 0)) is not None:
            return f"beyond the end of {block}"
        if (block := self.freed.find(address, 0)) is not None:
            return f"used after it was freed, {block}"
        return "no memory was allocated there"
