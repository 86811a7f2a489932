"""PyCUDA's modules and functions: names and sizes are read from PTX, and kernels run on the CPU."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from fakegpu.codes import CudaError
from fakegpu.streams import Work, reads, writes
from fakegpu.world import current

from pycuda import _masks
from pycuda._base import Instance, give_back, make, mismatch, owner, words
from pycuda._streams import raw_stream

ISA = {
    12000: (8, 0), 12010: (8, 1), 12020: (8, 2), 12030: (8, 3), 12040: (8, 4), 12050: (8, 5), 12060: (8, 5), 12070: (8, 6),
    12080: (8, 7), 12090: (8, 8), 13000: (9, 0), 13010: (9, 1), 13020: (9, 2),
}  # fmt: skip
"""The newest PTX that each driver reads. Source: the release notes of the PTX ISA."""

SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
PARAMETER = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.[a-z]+(8|16|32|64)\s+(?:\.ptr[^,\[]*?\s)?[\w$]+(?:\[(\d+)\])?")
GLOBAL = re.compile(r"\.global\s+(?:\.align\s+\d+\s+)?\.[a-z](8|16|32|64)\s+(\w+)(?:\[(\d+)\])?(?:\s*=\s*(\d+))?\s*;")
ENTRY = re.compile(r"\.visible\s+\.entry\s+(\w+)\s*\((.*?)\)", re.DOTALL)

LETTERBOX = {"letterbox_uint8": 1, "letterbox_float16": 2, "letterbox_float32": 4}
"""The kernels that the host can run, and the item size of their input."""

FORMAT_AT = struct.calcsize("8i8f3i")
"""The place of the frame's format in struct Letterbox."""


class Module(Instance):
    _entries: dict[str, int]

    def get_function(self, name: str) -> Function:
        if not isinstance(name, str):
            raise mismatch("Module.get_function", self, name)
        with words("cuModuleGetFunction"):
            self._world.enter("Module.get_function")
            if name not in self._entries:
                raise CudaError(500)
        function: Function = make(Function, _module=self, _name=name, _world=self._world, _format=None)
        return function

    def get_global(self, name: str) -> tuple[int, int]:
        """(address, size in bytes)."""
        if not isinstance(name, str):
            raise mismatch("Module.get_global", self, name)
        with words("cuModuleGetGlobal"):
            self._world.enter("Module.get_global")
            if name not in self._globals:
                raise CudaError(500)
        block = self._globals[name]
        return block.address, block.size

    def _unload(self) -> None:
        for block in self._globals.values():
            if block.is_live:
                self._world.free(block)
        self._world.died(id(self))

    def __del__(self) -> None:
        if "_globals" in self.__dict__:
            give_back(self._context, "module", self._unload, is_silent=True)


def module_from_buffer(buffer: Any, options: Any = (), message_handler: Any = None) -> Module:
    memoryview(buffer)  # TypeError: a bytes-like object is required
    context, world = owner(), current()
    with words("cuModuleLoadDataEx"):
        world.enter("module_from_buffer", is_unsafe=True)
        if not isinstance(buffer, (bytes, bytearray)):
            world.violations.append("module_from_buffer: PTX must end with a zero byte, which only bytes and bytearray promise")
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", bytes(buffer).decode("ascii", "replace"), flags=re.DOTALL)
        _check_version(text, world.driver_version, world.compute_capability)
        entries = {name: _parameter_bytes(parameters) for name, parameters in ENTRY.findall(text)}
        found = {}
        for bits, name, count, value in GLOBAL.findall(text):
            size = SIZES[bits] * int(count or 1)
            found[name] = world.allocate(size, f"global {name}")
            found[name].data[:] = np.frombuffer(int(value or 0).to_bytes(size, "little"), np.uint8)
            world.died(id(found[name]))  # part of the module
    module: Module = make(Module, _entries=entries, _globals=found, _context=context, _world=world)
    world.born(id(module), "module", ", ".join(entries), world.context())
    return module


def _check_version(text: str, driver_version: int, capability: tuple[int, int]) -> None:
    version = re.match(r"\s*\.version\s+(\d+)\.(\d+)", text)
    target = re.search(r"\.target\s+sm_(\d+)(\d)", text)
    if version is None or target is None:
        raise CudaError(200)
    newest = max((isa for driver, isa in ISA.items() if driver <= driver_version), default=(7, 8))
    if (int(version[1]), int(version[2])) > newest:
        raise CudaError(222)
    if (int(target[1]), int(target[2])) > capability:
        raise CudaError(218)


def _parameter_bytes(parameters: str) -> int:
    total = 0
    for align, bits, count in PARAMETER.findall(parameters):
        step = int(align or SIZES[bits])
        total = -(-total // step) * step + SIZES[bits] * int(count or 1)
    return total


class Function(Instance):
    _name: str
    _format: str | None

    def prepare(self, arg_types: Any, texrefs: Any = None) -> Function:
        codes = []
        for kind in arg_types:
            if isinstance(kind, type) and issubclass(kind, np.number):
                codes.append(np.dtype(kind).char)
            elif isinstance(kind, np.dtype):
                codes.append(f"{kind.itemsize}s" if kind.char == "V" else kind.char)
            elif isinstance(kind, str):
                codes.append(kind)
            else:
                codes.append("P")
        self._format = "".join(codes)
        return self

    @property
    def arg_format(self) -> str:
        if self._format is None:
            raise AttributeError("'Function' object has no attribute 'arg_format'")
        return self._format

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *args: Any, shared_size: int = 0) -> None:
        if not isinstance(block, tuple):
            raise mismatch("Function._set_block_shape", self, block)
        if len(block) != 3 or not all(isinstance(edge, int) for edge in block):
            raise mismatch("Function._set_block_shape", self, *block)
        packed = struct.pack(self.arg_format, *[_packable(arg) for arg in args])
        if not isinstance(grid, tuple):
            raise mismatch("Function._launch_kernel", self, grid, block, packed)
        with words("function::launch_kernel"):
            if len(grid) > 3:
                raise CudaError(400, "too many grid dimensions in kernel launch")
        if not all(isinstance(edge, int) for edge in grid):
            raise TypeError("No registered converter was able to produce a C++ rvalue of type unsigned int")
        raw = raw_stream(stream)
        with words("cuLaunchKernel"):
            self._world.enter("launch")
            self._check_launch((*grid, 1, 1)[:3], block, len(packed))
            self._world.enqueue(raw, self._work(grid, block, struct.unpack(self.arg_format, packed)))

    def prepared_call(self, grid: Any, block: Any, *args: Any, shared_size: int = 0) -> None:
        self.prepared_async_call(grid, block, None, *args, shared_size=shared_size)

    def _check_launch(self, grid: tuple[int, ...], block: tuple[int, ...], packed_bytes: int) -> None:
        if packed_bytes != self._module._entries[self._name]:
            raise CudaError(1, f"{packed_bytes} bytes of arguments, {self._name} takes {self._module._entries[self._name]}")
        if min(grid) < 1 or grid[0] > 2**31 - 1 or max(grid[1:]) > 65535:
            raise CudaError(1, f"grid {grid}")
        if min(block) < 1 or block[0] * block[1] * block[2] > 1024 or block[2] > 64:
            raise CudaError(1, f"block {block}")

    def _work(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> Work:
        if self._name in _masks.KERNELS:
            return _masks.work(self._world.memory, self._name, grid, block, args)
        if self._name not in LETTERBOX:
            raise NotImplementedError(f"the fake GPU cannot run a kernel {self._name}")
        frame, target, params = args
        frame_width, frame_height, net_width, net_height = struct.unpack_from("4i", params)
        pixels, chroma = frame_width * frame_height, (frame_width + 1) // 2 * ((frame_height + 1) // 2)
        format = struct.unpack_from("i", params, FORMAT_AT)[0]  # BGR, BGRx, NV12, I420
        frame_bytes = (3 * pixels, 4 * pixels, pixels + 2 * chroma, pixels + 2 * chroma)[format]
        target_bytes = net_width * net_height * 3 * LETTERBOX[self._name]
        memory, name = self._world.memory, self._name  # not self: pending work must not keep the module alive

        def run() -> None:
            from fakegpu import host_kernels

            source = memory.bytes_at(frame, frame_bytes, name).ctypes.data
            result = memory.bytes_at(target, target_bytes, name)
            if target % LETTERBOX[name] or (format == 1 and frame % 4):
                raise CudaError(716, name)
            host_kernels.launch(name, source, result.ctypes.data, params, ((*grid, 1))[:2], block[:2])

        spans = (reads(memory.space_of(frame), frame, frame_bytes), writes(memory.space_of(target), target, target_bytes))
        return Work(self._name, run, spans)


def _packable(value: Any) -> Any:
    """PyCUDA's own struct module accepts any object with a buffer for "s"."""
    if isinstance(value, (int, float, np.number)) or hasattr(value, "__index__"):
        return value
    return bytes(memoryview(value))
