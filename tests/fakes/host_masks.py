"""The kernels of engines/gpu/masks.cu, run by the CPU: the same source through g++ (host_masks.cpp), thread after thread.

It has the GPU's arithmetic and memory accesses, but not its order or speed. Pointers are host addresses.
"""

from __future__ import annotations

import ctypes
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .host_kernels import compiled, is_available

__all__ = ["CUT_BYTES", "MASK_MAP", "cells", "is_available", "labels", "singles", "sizes"]

SHIM = Path(__file__).with_name("host_masks.cpp")

MASK_MAP = struct.Struct("<9i")
"""`struct MaskMap`: objects, mixed, grid width and height, map width and height, first, adds, ticket."""

CUT_BYTES = 56


def cells(kernel: str, addresses: tuple[int, int, int, int, int], params: bytes, grid: tuple[int, int], block_x: int) -> None:
    """Run `mask_cells_...`. addresses: output, cuts, coefficients, cells, fault. params: the bytes of struct MaskMap."""
    output, cuts, coefficients, mixed, fault = addresses
    _library().cells(kernel.endswith("16"), output, cuts, coefficients, mixed, fault, params, *grid, block_x)


def labels(addresses: tuple[int, int, int], params: bytes, grid: tuple[int, int], block: tuple[int, int]) -> None:
    """Run `mask_labels`. addresses: cuts, cells, labels."""
    _library().labels(*addresses, params, *grid, *block)


def sizes() -> tuple[int, int]:
    """The sizes of struct Cut and struct MaskMap in the .cu."""
    library = _library()
    return ctypes.c_uint.in_dll(library, "mask_cut_bytes").value, ctypes.c_uint.in_dll(library, "mask_map_bytes").value


def singles(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """float16 to float32 as the kernel converts them; a new array."""
    halves = np.ascontiguousarray(halves, np.float16)
    values = np.empty(halves.shape, np.float32)
    _library().singles(halves.ctypes.data, values.ctypes.data, halves.size)
    return values


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = compiled(SHIM)
    pointer, number = ctypes.c_void_p, ctypes.c_uint
    library.cells.argtypes = [ctypes.c_int, *[pointer] * 5, ctypes.c_char_p, *[number] * 3]
    library.labels.argtypes = [*[pointer] * 3, ctypes.c_char_p, *[number] * 4]
    library.singles.argtypes = [pointer, pointer, ctypes.c_longlong]
    for function in (library.cells, library.labels, library.singles):
        function.restype = None
    return library
