"""libcuda as ctypes presents it: C functions that return error numbers and write through pointers.

Arguments are checked where ctypes leaves room for mistakes: their number, the size of what a pointer points to, and whole numbers
without argtypes, which ctypes squeezes into a C int.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from fakegpu.codes import ERRORS, CudaError
from fakegpu.streams import Stream, Work
from fakegpu.world import World


class Graph:
    def __init__(self, works: list[Work]) -> None:
        self.works = works


class GraphExec(Graph):
    pass


class FakeFunction:
    """One C function. Like ctypes's, it takes `argtypes` and `restype`."""

    def __init__(self, world: World, name: str, code: Callable[..., int | None], count: int) -> None:
        self.__name__ = name
        self.argtypes: list[Any] | tuple[Any, ...] | None = None
        self.restype: Any = ctypes.c_int
        self.errcheck: Any = None
        self._world = world
        self._code = code
        self._count = count

    def __call__(self, *args: Any) -> Any:
        if len(args) != self._count:
            raise TypeError(f"{self.__name__} takes {self._count} arguments ({len(args)} given)")
        if self.argtypes is not None:
            if len(self.argtypes) != self._count:
                raise TypeError(f"{self.__name__} takes {self._count} arguments, its argtypes are {len(self.argtypes)}")
            for number, (kind, arg) in enumerate(zip(self.argtypes, args, strict=True), 1):
                try:
                    kind.from_param(arg)
                except TypeError as error:
                    raise ctypes.ArgumentError(f"argument {number}: TypeError: {error}") from error
        else:
            for number, arg in enumerate(args, 1):
                _check_untyped(self.__name__, number, arg)
        try:
            self._world.count(self.__name__)
            result = self._code(self._world, *args) or 0
        except CudaError as error:
            result = error.code
        if self.restype is not ctypes.c_int and self.restype is not ctypes.c_uint:
            raise TypeError(f"{self.__name__} returns a C int, restype says {self.restype}")
        return self.errcheck(result, self, args) if self.errcheck is not None else result


class FakeLibcuda:
    """Stands for ctypes.CDLL("libcuda.so.1"). AttributeError for unknown functions."""

    def __init__(self, world: World) -> None:
        self._name = "libcuda.so.1"
        for name, (code, count) in _FUNCTIONS.items():
            setattr(self, name, FakeFunction(world, name, code, count))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"libcuda.so.1: undefined symbol: {name} (or the fake lacks it)")


def _check_untyped(name: str, number: int, arg: Any) -> None:
    if isinstance(arg, bool) or arg is None or isinstance(arg, (bytes, ctypes._SimpleCData, ctypes.Array, ctypes._Pointer)):
        return
    if hasattr(arg, "_obj"):  # byref
        return
    if isinstance(arg, int):
        if not -(2**31) <= arg < 2**32:
            raise ctypes.ArgumentError(
                f"{name}, argument {number}: {arg:#x} does not fit the C int that ctypes makes of it: "
                "wrap it in c_void_p or set argtypes"
            )
        return
    raise ctypes.ArgumentError(f"{name}, argument {number}: TypeError: Don't know how to convert parameter {number}")


def _value(arg: Any) -> int:
    """A handle or number, in any ctypes wrapper."""
    value = getattr(arg, "value", arg)
    return 0 if value is None else int(value)


def _store(pointer: Any, value: Any, size: int) -> None:
    """Write through a pointer to something of `size` bytes. Raises CudaError 1 for a null pointer."""
    if pointer is None:
        raise CudaError(1)
    target = pointer._obj if hasattr(pointer, "_obj") else pointer.contents
    if ctypes.sizeof(target) != size:
        raise AssertionError(
            f"libcuda writes {size} bytes, and {type(target).__name__} has {ctypes.sizeof(target)}: memory is overwritten"
        )
    target.value = value


def _needs_init(world: World) -> None:
    if not world.is_initialised:
        raise CudaError(3)


def _work_call(world: World) -> None:
    _needs_init(world)
    world.require_context()
    world.check_alive()


_FUNCTIONS: dict[str, tuple[Callable[..., int | None], int]] = {}


def _c_function(count: int) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    def add(code: Callable[..., int | None]) -> Callable[..., int | None]:
        _FUNCTIONS[code.__name__] = (code, count)
        return code

    return add


@_c_function(1)
def cuInit(world: World, flags: Any) -> int:
    if _value(flags):
        return 1
    world.initialise()
    return 0


@_c_function(1)
def cuDriverGetVersion(world: World, version: Any) -> None:
    _store(version, world.driver_version, 4)


@_c_function(2)
def cuGetErrorName(world: World, code: Any, text: Any) -> int:
    name = ERRORS.get(_value(code), (None,))[0]
    _store(text, name.encode() if name else None, 8)
    return 0 if name else 1


@_c_function(2)
def cuGetErrorString(world: World, code: Any, text: Any) -> int:
    words = ERRORS.get(_value(code), (None, None))[1]
    _store(text, words.encode() if words else None, 8)
    return 0 if words else 1


@_c_function(1)
def cuDeviceGetCount(world: World, count: Any) -> None:
    _needs_init(world)
    _store(count, world.devices, 4)


@_c_function(2)
def cuDeviceGet(world: World, device: Any, ordinal: Any) -> None:
    _needs_init(world)
    _device(world, ordinal)
    _store(device, _value(ordinal), 4)


@_c_function(3)
def cuDeviceGetName(world: World, name: Any, length: Any, device: Any) -> None:
    _needs_init(world)
    _device(world, device)
    buffer = name._obj if hasattr(name, "_obj") else name
    if not isinstance(buffer, ctypes.Array):
        raise AssertionError("cuDeviceGetName writes into a buffer: ctypes.create_string_buffer")
    if ctypes.sizeof(buffer) < _value(length):
        raise AssertionError("cuDeviceGetName: the buffer is shorter than its length says")
    buffer.value = world.gpu_name.encode()[: _value(length) - 1]


@_c_function(3)
def cuDeviceGetAttribute(world: World, value: Any, attribute: Any, device: Any) -> None:
    _needs_init(world)
    _device(world, device)
    _store(value, world.attribute(_value(attribute)), 4)


@_c_function(2)
def cuDeviceTotalMem_v2(world: World, size: Any, device: Any) -> None:
    _needs_init(world)
    _device(world, device)
    _store(size, world.total_bytes, 8)


@_c_function(2)
def cuDevicePrimaryCtxRetain(world: World, context: Any, device: Any) -> None:
    """Without a release it lasts until the process ends, independently of other retains."""
    _needs_init(world)
    _device(world, device)
    _store(context, world.primaries[_value(device)].handle, 8)


@_c_function(1)
def cuCtxGetCurrent(world: World, context: Any) -> None:
    _needs_init(world)
    now = world.context()
    _store(context, now.handle if now is not None else None, 8)


@_c_function(1)
def cuCtxPopCurrent_v2(world: World, context: Any) -> None:
    _needs_init(world)
    now = world.context()
    world.pop()
    _store(context, now.handle if now is not None else None, 8)


@_c_function(1)
def cuStreamSynchronize(world: World, stream: Any) -> None:
    _work_call(world)
    world.synchronize(_stream(world, stream))


@_c_function(2)
def cuStreamBeginCapture_v2(world: World, stream: Any, mode: Any) -> None:
    _work_call(world)
    with world.lock:
        world.scheduler.begin_capture(_stream(world, stream), _value(mode))


@_c_function(2)
def cuStreamEndCapture(world: World, stream: Any, graph: Any) -> None:
    _work_call(world)
    with world.lock:
        _store(graph, None, 8)
        works = world.scheduler.end_capture(_stream(world, stream))
        _store(graph, _new(world, Graph(works), "graph"), 8)


@_c_function(2)
def cuStreamIsCapturing(world: World, stream: Any, status: Any) -> None:
    _work_call(world)
    capture = _stream(world, stream).capture
    _store(status, 0 if capture is None else 2 if capture.is_invalid else 1, 4)


@_c_function(3)
def cuGraphInstantiateWithFlags(world: World, executable: Any, graph: Any, flags: Any) -> None:
    _work_call(world)
    works = world.handle(_value(graph), Graph).works
    world.scheduler.forbid_in_capture()
    _store(executable, _new(world, GraphExec(list(works)), "executable graph"), 8)


@_c_function(2)
def cuGraphLaunch(world: World, executable: Any, stream: Any) -> None:
    _work_call(world)
    with world.lock:
        works = world.handle(_value(executable), GraphExec).works
        queue = _stream(world, stream)

        def run() -> None:
            for work in works:
                if world.sticky is None:
                    _run(world, work)

        spans = tuple(span for work in works for span in work.spans)
        world.enqueue(queue, Work("graph", run, spans))


def _run(world: World, work: Work) -> None:
    try:
        work.run()
    except CudaError as error:
        raise CudaError(error.code, f"in a graph: {error.detail}") from error


@_c_function(1)
def cuGraphDestroy(world: World, graph: Any) -> None:
    _destroy(world, graph, Graph)


@_c_function(1)
def cuGraphExecDestroy(world: World, executable: Any) -> None:
    _destroy(world, executable, GraphExec)


def _new(world: World, graph: Graph, kind: str) -> int:
    handle = world.new_handle(graph)
    world.born(id(graph), kind, f"{len(graph.works)} works, made on {threading.current_thread().name}", world.context())
    return handle


def _destroy(world: World, wrapped: Any, kind: type[Graph]) -> None:
    _needs_init(world)
    graph = world.handle(_value(wrapped), kind)
    if type(graph) is not kind:
        raise CudaError(400)
    del world.handles[_value(wrapped)]
    world.died(id(graph))


def _stream(world: World, handle: Any) -> Stream:
    return world.stream(_value(handle))


def _device(world: World, device: Any) -> None:
    if not 0 <= _value(device) < world.devices:
        raise CudaError(101)
