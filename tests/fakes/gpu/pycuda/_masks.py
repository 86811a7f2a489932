"""The kernels of engines/gpu/masks.cu as work of the fake GPU: what they touch, and what of it would be an illegal access."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fakegpu.codes import CudaError
from fakegpu.memory import Block, Memory
from fakegpu.streams import Span, Work, reads, writes

KERNELS = ("mask_cells_float32", "mask_cells_float16", "mask_labels")


def work(memory: Memory, name: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> Work:
    """grid, block: of the launch. args: the kernel's, unpacked."""
    plane = ((*grid, 1))[:2]
    if name == "mask_labels":
        cuts, cells, labels, params = args

        def paint() -> None:
            from fakegpu import host_masks

            if block[0] * block[1] < 256:
                raise CudaError(719, f"{name}: {block} are fewer threads than objects")
            numbers = dict(zip(FIELDS, host_masks.MASK_MAP.unpack(params), strict=True))
            objects = _objects(memory, cuts, numbers, name)
            _check_cells(memory, cells, objects, name)
            target = memory.bytes_at(labels, numbers["width"] * numbers["height"], name)
            host_masks.labels((_host(memory, cuts), _host(memory, cells), target.ctypes.data), params, plane, block[:2])

        return Work(name, paint, (*_spans(memory, reads, cuts, cells), *_spans(memory, writes, labels)))

    output, cuts, coefficients, cells, fault, params = args

    def mix() -> None:
        from fakegpu import host_masks

        numbers = dict(zip(FIELDS, host_masks.MASK_MAP.unpack(params), strict=True))
        objects = _objects(memory, cuts, numbers, name)
        if not grid[1] <= len(objects):
            raise CudaError(700, f"{name}: {grid} blocks for {len(objects)} objects")
        _check_cells(memory, cells, objects, name)
        width, height, mixed = numbers["grid_width"], numbers["grid_height"], numbers["mixed"]
        used = objects[objects[:, 6] * objects[:, 7] > 0]
        if (used[:, 4:6] < 0).any() or (used[:, 4] + used[:, 6] > width).any() or (used[:, 5] + used[:, 7] > height).any():
            raise CudaError(700, f"{name}: cells outside of a grid of {width}x{height}")
        item = 2 if name.endswith("16") else 4
        planes = mixed or int(used[:, 12].max(initial=0)) + 1
        source = memory.bytes_at(output, planes * width * height * item, name).ctypes.data
        shares = memory.bytes_at(coefficients, len(objects) * mixed * 4, name).ctypes.data
        addresses = (source, _host(memory, cuts), shares, _host(memory, cells), memory.bytes_at(fault, 4, name).ctypes.data)
        host_masks.cells(name, addresses, params, plane, block[0])

    spans = (*_spans(memory, reads, output, cuts), *_spans(memory, writes, cells), writes(memory.space_of(fault), fault, 4))
    return Work(name, mix, spans)  # the coefficients follow the cuts


FIELDS = ("objects", "mixed", "grid_width", "grid_height", "width", "height", "first", "adds", "ticket")


def _objects(memory: Memory, cuts: int, numbers: dict[str, int], name: str) -> npt.NDArray[np.int32]:
    """(N, 14): the objects as they are in memory now."""
    if cuts % 4:
        raise CudaError(716, name)
    if not 1 <= numbers["objects"] <= 256:
        raise CudaError(719, f"{name}: {numbers['objects']} objects")
    return memory.bytes_at(cuts, numbers["objects"] * 56, name).view(np.int32).reshape(-1, 14)


def _check_cells(memory: Memory, cells: int, objects: npt.NDArray[np.int32], name: str) -> None:
    memory.bytes_at(cells, 4 * int((objects[:, 13] + objects[:, 6] * objects[:, 7]).max()), name)


def _host(memory: Memory, address: int) -> int:
    return int(memory.bytes_at(address, 1, "").ctypes.data)


def _spans(memory: Memory, kind: Any, *addresses: int) -> list[Span]:
    """Of each address, what is behind it in its piece of memory."""
    found = []
    for address in addresses:
        block: Block | None = memory.device.find(address, 1) or memory.pinned.find(address, 1)
        end = block.address + block.size if block is not None else address + 1
        found.append(kind(memory.space_of(address), address, end - address))
    return found
