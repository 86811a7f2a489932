"""PyCUDA's memory: on the device, pinned, and copies between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from fakegpu.codes import CudaError
from fakegpu.memory import Block
from fakegpu.streams import Stream, Work, reads, writes
from fakegpu.world import World, current

from pycuda._base import Instance, clean_up, give_back, make, owner, whole, words
from pycuda._streams import raw_stream


class PointerHolderBase:
    """For subclasses with a device address."""

    def get_pointer(self) -> int:
        raise NotImplementedError

    def __int__(self) -> int:
        return self.get_pointer()

    __index__ = __int__


class DeviceAllocation(Instance):
    _block: Block

    def __int__(self) -> int:
        return self._block.address

    __index__ = __int__

    def free(self) -> None:
        with words("device_allocation::free"):
            if not self._is_valid:
                raise CudaError(400)
        self._is_valid = False
        clean_up(self._context, "device_allocation", "DeviceAllocation.free", lambda: self._world.free(self._block))

    def __del__(self) -> None:
        if self.__dict__.get("_is_valid") and self._block.is_live:
            give_back(self._context, "device_allocation", lambda: self._world.free(self._block), is_silent=True)


class PagelockedHostAllocation(Instance):
    """The base of a pinned array."""

    _block: Block

    def free(self) -> None:
        with words("pagelocked_host_allocation::free"):
            if not self._is_valid:
                raise CudaError(400)
        self._is_valid = False
        name = "PagelockedHostAllocation.free"
        clean_up(self._context, "pagelocked_host_allocation", name, lambda: self._world.free(self._block))

    def get_device_pointer(self) -> int:
        with words("cuMemHostGetDevicePointer"):
            self._world.enter("get_device_pointer")
            if not self._is_valid:
                raise CudaError(1)
        return self._block.address

    def __del__(self) -> None:
        if self.__dict__.get("_is_valid") and self._block.is_live:
            give_back(self._context, "pagelocked_host_allocation", lambda: self._world.free(self._block), is_silent=True)


def mem_alloc(bytes: int) -> DeviceAllocation:
    size = whole("pycuda._driver.mem_alloc", bytes)
    context = owner()
    with words("cuMemAlloc"):
        current().enter("mem_alloc", is_unsafe=True)
        block = current().allocate(size, "mem_alloc")
    result: DeviceAllocation = make(DeviceAllocation, _block=block, _context=context, _is_valid=True, _world=current())
    return result


def mem_get_info() -> tuple[int, int]:
    """(free, total)."""
    with words("cuMemGetInfo"):
        world = current()
        world.enter("mem_get_info")
        world.memory.total_bytes = world.total_bytes
        return world.memory.free_bytes, world.total_bytes


def pagelocked_empty(shape: Any, dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0) -> npt.NDArray[Any]:
    context = owner()
    with words("cuMemHostAlloc"):
        world = current()
        world.enter("pagelocked_empty", is_unsafe=True)
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        with world.lock:
            block = world.memory.pin(max(size, 1), world.require_context())
            world.born(id(block), "pinned memory", f"{size} bytes", world.require_context())
    base: Any = make(PagelockedHostAllocation, _block=block, _context=context, _is_valid=True, _world=world)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    strides = np.empty(shape, kind, order=order).strides  # type: ignore[call-overload]
    descr = {"typestr": kind.str, "shape": shape, "strides": strides, "data": (block.address, False), "version": 3}
    base.__array_interface__ = descr
    array: npt.NDArray[Any] = np.asarray(base)
    assert array.base is base
    return array


def pagelocked_zeros(shape: Any, dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0) -> npt.NDArray[Any]:
    result = pagelocked_empty(shape, dtype, order, mem_flags)
    result.fill(0)
    return result


def pagelocked_empty_like(array: npt.NDArray[Any], mem_flags: int = 0) -> npt.NDArray[Any]:
    return pagelocked_empty(array.shape, array.dtype, "C" if array.flags.c_contiguous else "F", mem_flags)


def pagelocked_zeros_like(array: npt.NDArray[Any], mem_flags: int = 0) -> npt.NDArray[Any]:
    return pagelocked_zeros(array.shape, array.dtype, "C" if array.flags.c_contiguous else "F", mem_flags)


def address_of(routine: str, value: object) -> int:
    if isinstance(value, (DeviceAllocation, PointerHolderBase)):
        return int(value)
    return whole(routine, value)


def host_bytes(value: Any, is_written: bool = False) -> npt.NDArray[np.uint8]:
    """A view of the bytes of an object with a buffer. Raises like Python without a contiguous buffer."""
    view = memoryview(value)
    if not view.contiguous:
        raise ValueError("ndarray is not contiguous")
    if is_written and view.readonly:
        if isinstance(value, np.ndarray):
            raise ValueError("buffer source array is read-only")
        raise BufferError("Object is not writable.")
    if not view.nbytes:
        return np.empty(0, np.uint8)
    if isinstance(value, np.ndarray):
        flat = value.T if not value.flags.c_contiguous else value
        return flat.reshape(-1).view(np.uint8)
    return np.frombuffer(view.cast("B"), np.uint8)


def _check_range(world: World, address: int, size: int) -> None:
    if size and world.memory.device.find(address, size) is None:
        raise CudaError(1, f"{size} bytes at {address:#x}: {world.memory.why_not(address)}")


def memcpy_htod(dest: object, src: object) -> None:
    address, data = address_of("pycuda._driver.memcpy_htod", dest), host_bytes(src)
    with words("cuMemcpyHtoD"):
        world = _enter_synchronous("memcpy_htod")
        with world.lock:
            _check_range(world, address, data.nbytes)
            world.memory.bytes_at(address, data.nbytes, "memcpy_htod")[:] = data


def memcpy_dtoh(dest: object, src: object) -> None:
    data, address = host_bytes(dest, is_written=True), address_of("pycuda._driver.memcpy_dtoh", src)
    with words("cuMemcpyDtoH"):
        world = _enter_synchronous("memcpy_dtoh")
        with world.lock:
            _check_range(world, address, data.nbytes)
            data[:] = world.memory.bytes_at(address, data.nbytes, "memcpy_dtoh")


def memcpy_dtod(dest: object, src: object, size: int) -> None:
    memcpy_dtod_async(dest, src, size)


def memcpy_htod_async(dest: object, src: object, stream: object = None) -> None:
    address, data = address_of("pycuda._driver.memcpy_htod_async", dest), host_bytes(src)
    with words("cuMemcpyHtoDAsync"):
        world, queue = _enter_async("memcpy_htod_async", stream)
        with world.lock:
            size, host = data.nbytes, data.ctypes.data
            _check_range(world, address, size)
            memory, spans = world.memory, [writes("device", address, size)]
            if memory.is_pinned(host, size):
                spans.append(reads("host", host, size))
                fetch: Callable[[], npt.NDArray[np.uint8]] = lambda: memory.host_at(host, size, "htod")  # noqa: E731
            else:
                _unpinned(world, queue)
                staged = data.copy()
                fetch = lambda: staged  # noqa: E731

            def run() -> None:
                memory.bytes_at(address, size, "htod")[:] = fetch()

            world.enqueue(queue, Work("htod", run, tuple(spans)))


def memcpy_dtoh_async(dest: object, src: object, stream: object = None) -> None:
    data, address = host_bytes(dest, is_written=True), address_of("pycuda._driver.memcpy_dtoh_async", src)
    with words("cuMemcpyDtoHAsync"):
        world, queue = _enter_async("memcpy_dtoh_async", stream)
        with world.lock:
            size, host, memory = data.nbytes, data.ctypes.data, world.memory
            _check_range(world, address, size)
            if not memory.is_pinned(host, size):
                _unpinned(world, queue)
                data[:] = memory.bytes_at(address, size, "dtoh")
                return
            target = writes("host", host, size)

            def run() -> None:
                memory.host_at(host, size, "dtoh")[:] = memory.bytes_at(address, size, "dtoh")

            world.enqueue(queue, Work("dtoh", run, (reads("device", address, size), target)))


def memcpy_dtod_async(dest: object, src: object, size: int, stream: object = None) -> None:
    target = address_of("pycuda._driver.memcpy_dtod_async", dest)
    source = address_of("pycuda._driver.memcpy_dtod_async", src)
    length = whole("pycuda._driver.memcpy_dtod_async", size)
    with words("cuMemcpyDtoDAsync"):
        world, queue = _enter_async("memcpy_dtod_async", stream)
        with world.lock:
            _check_range(world, target, length)
            _check_range(world, source, length)

            def run() -> None:
                data = world.memory.bytes_at(source, length, "dtod").copy()
                world.memory.bytes_at(target, length, "dtod")[:] = data

            world.enqueue(queue, Work("dtod", run, (reads("device", source, length), writes("device", target, length))))


def _memset(kind: type[np.unsignedinteger[Any]], name: str) -> Callable[..., None]:
    def memset(dest: object, data: int, size: int, stream: object = None) -> None:
        address, count = address_of(name, dest), whole(name, size)
        if whole(name, data) > np.iinfo(kind).max:
            raise OverflowError("bad numeric conversion: positive overflow")
        length = count * np.dtype(kind).itemsize
        with words("cuMemset"):
            world, queue = _enter_async(name, stream)
            with world.lock:
                _check_range(world, address, length)

                def run() -> None:
                    world.memory.bytes_at(address, length, "memset").view(kind)[:] = data

                world.enqueue(queue, Work("memset", run, (writes("device", address, length),)))

    return memset


memset_d8_async = _memset(np.uint8, "memset_d8_async")
memset_d16_async = _memset(np.uint16, "memset_d16_async")
memset_d32_async = _memset(np.uint32, "memset_d32_async")


def memset_d8(dest: object, data: int, size: int) -> None:
    memset_d8_async(dest, data, size)


def memset_d32(dest: object, data: int, size: int) -> None:
    memset_d32_async(dest, data, size)


def to_device(bf_obj: Any) -> DeviceAllocation:
    data = memoryview(bf_obj).tobytes()
    result = mem_alloc(len(data))
    memcpy_htod(result, data)
    return result


def from_device(devptr: object, shape: Any, dtype: npt.DTypeLike, order: Any = "C") -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = np.empty(shape, dtype, order)
    memcpy_dtoh(result, devptr)
    return result


def _enter_synchronous(name: str) -> World:
    """A call on the legacy default stream, which waits for all blocking streams but not for non-blocking ones."""
    world = current()
    world.enter(name, is_unsafe=True)
    with world.lock:
        world.scheduler.run_default()
        world.check_alive()
    return world


def _enter_async(name: str, stream: object) -> tuple[World, Stream]:
    world = current()
    queue = raw_stream(stream)
    world.enter(name)
    return world, queue


def _unpinned(world: World, queue: Stream) -> None:
    """CUDA then waits for the stream and cannot record the copy."""
    world.unpinned_copies += 1
    if queue.capture is not None:
        queue.capture.is_invalid = True
        raise CudaError(900, "copy of host memory that is not pinned")
    world.scheduler.run(queue)
    world.check_alive()
