"""World: one simulated machine with a GPU: its properties, calls, live objects, violations and planned faults."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fakegpu.codes import STICKY, CudaError
from fakegpu.memory import Block, Memory
from fakegpu.streams import Scheduler, Span, Stream, Work, writes

_current: World | None = None


def current() -> World:
    """The World that `fake_gpu.install` put in place."""
    if _current is None:
        raise RuntimeError("no fake GPU is installed: with fake_gpu.install(World()): ...")
    return _current


def set_current(world: World | None) -> None:
    global _current
    _current = world


@dataclass(eq=False)
class Primary:
    """A device's primary context."""

    device: int
    handle: int
    retained: int = 0
    generation: int = 0

    @property
    def is_live(self) -> bool:
        return self.retained > 0


@dataclass(eq=False)
class Thing:
    """An object that must be freed."""

    kind: str
    label: str
    context: Primary | None = None
    generation: int = 0


@dataclass
class World:
    """Attributes can be set before or during use and take effect at once."""

    driver_version: int = 13000
    has_driver: bool = True
    has_pycuda: bool = True
    has_tensorrt: bool = True
    init_result: int = 0
    devices: int = 1
    gpu_name: str = "NVIDIA Fake RTX 4000"
    compute_capability: tuple[int, int] = (8, 9)
    is_integrated: bool = False
    can_map_host_memory: bool = True
    total_bytes: int = 4 << 30
    tensorrt_version: str = "10.13.3"
    dla_cores: int = 0
    dla_refuses: frozenset[str] = frozenset()
    """ONNX operators that cannot run on the DLA."""
    unsupported_operators: frozenset[str] = frozenset()
    """ONNX operators that the parser refuses."""
    build_seconds: float = 0.0
    build_error: str = ""
    """Makes builds fail with these lines in the logger."""
    no_kernel: dict[str, str] = field(default_factory=dict)
    """ONNX nodes that the builder has no kernel for except in FP32 -> its name for them; empty for the node's own name."""
    build_ignores_precision: bool = False
    build_breaks_parity: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Outputs -> other outputs, for an engine with wrong results."""
    fuses_activations: bool = True
    workspace_bytes: int = 1 << 20
    """Device memory of an execution context."""
    cuda_provider_fails: bool = False
    has_cuda_provider: bool = True

    calls: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    """Errors that the real system accepts, or answers with a crash or wrong results."""
    leaks: list[str] = field(default_factory=list)
    """Objects that were alive when their context was released."""
    unpinned_copies: int = 0
    default_stream_uses: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.is_initialised = False
        self.sticky: CudaError | None = None
        self.memory = Memory(self.total_bytes)
        self.scheduler = Scheduler(self._work_failed, self.violations.append, self._pinned_bytes)
        self.primaries = {number: Primary(number, 0x5600_0000_1000 + 0x1000 * number) for number in range(16)}
        self.things: dict[int, Thing] = {}
        self.handles: dict[int, Any] = {}
        self._next_handle = itertools.count(0x5555_0000_0010, 0x10)
        self.local = threading.local()
        self._stacks: list[tuple[str, list[Primary]]] = []
        self._faults: dict[str, list[tuple[int, Any]]] = {}

    # Calls and faults

    def fail(self, name: str, nth: int, what: Any) -> None:
        """Make the nth call of `name` from now on (1 is the next) fail. what: an exception, a CUDA error number, or a function.

        Names: a PyCUDA function or method ("mem_alloc", "Stream.synchronize"), a C function ("cuGraphLaunch"), TensorRT's
        ("IExecutionContext.execute_async_v3"), or "work:NAME" for what happens on the GPU later ("work:letterbox_float16",
        "work:tensorrt", "work:htod", "work:dtoh"). `calls` counts by the same names.
        """
        with self.lock:
            self._faults.setdefault(name, []).append((self.calls[name] + nth, what))

    def count(self, name: str) -> None:
        """Count a call, and fail if `fail` planned it. Raises CudaError or the planned exception."""
        with self.lock:
            self.calls[name] += 1
            faults = self._faults.get(name, [])
            due = [what for nth, what in faults if nth == self.calls[name]]
        for what in due:
            if isinstance(what, int):
                raise CudaError(what, "as the test wants")
            if isinstance(what, (BaseException, type)):
                raise what
            what()

    def enter(self, name: str, *, needs_context: bool = True, is_unsafe: bool = False) -> None:
        """The checks of each CUDA call: counted, initialised, with a context, GPU alive, allowed during a capture."""
        self.count(name)
        with self.lock:
            if not self.is_initialised:
                raise CudaError(3)
            if needs_context:
                self.require_context()
                self.check_alive()
            if is_unsafe:
                self.scheduler.forbid_in_capture()

    def initialise(self) -> None:
        """cuInit."""
        if self.init_result:
            raise CudaError(self.init_result)
        if not self.devices:
            raise CudaError(100)
        self.is_initialised = True

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT-RTX, whose versions are 1.x."""
        return self.tensorrt_version.startswith("1.")

    @property
    def is_usable(self) -> bool:
        """Whether a library that calls cuInit itself would work."""
        return self.has_driver and not self.init_result and self.devices > 0

    def attribute(self, number: int) -> int:
        """A device's attribute by its number in cuda.h. Raises CudaError 1 for an unknown one."""
        known = {1: 1024, 9: 65536, 10: 32, 13: 2_100_000, 16: 24, 20: 0, 31: 1, 33: 1, 34: 0, 38: 32 << 20, 40: 2, 41: 1}
        known |= {50: 0, 83: 1, 75: self.compute_capability[0], 76: self.compute_capability[1]}
        known |= {18: int(self.is_integrated), 19: int(self.can_map_host_memory)}
        if number not in known:
            raise CudaError(1)
        return known[number]

    # Contexts

    def stack(self) -> list[Primary]:
        """The driver's contexts of the calling thread."""
        if not hasattr(self.local, "stack"):
            self.local.stack = []
            self._stacks.append((threading.current_thread().name, self.local.stack))
        stack: list[Primary] = self.local.stack
        return stack

    def context(self) -> Primary | None:
        """The calling thread's."""
        stack = self.stack()
        return stack[-1] if stack else None

    def require_context(self) -> Primary:
        context = self.context()
        if context is None:
            raise CudaError(201)
        if not context.is_live:
            raise CudaError(709)
        return context

    def push(self, context: Primary) -> None:
        if not context.is_live:
            raise CudaError(201)
        mine = self.stack()
        if any(context in stack for _, stack in self._stacks if stack is not mine):
            self.calls["a context on two threads"] += 1  # allowed, but counted
        mine.append(context)

    def pop(self) -> None:
        if not self.stack():
            raise CudaError(201)
        self.stack().pop()

    def release(self, context: Primary) -> None:
        """cuDevicePrimaryCtxRelease: the last release destroys everything in it."""
        if not context.is_live:
            raise CudaError(201)
        context.retained -= 1
        if context.retained:
            return
        self.scheduler.run_all()
        for key, thing in list(self.things.items()):
            if thing.context is context:
                self.leaks.append(f"{thing.kind}: {thing.label}")
                self.things.pop(key)
        for block in [*self.memory.device, *self.memory.pinned]:
            if block.context is context:
                self.memory.free(block)
        for handle, stream in list(self.scheduler.streams.items()):
            if handle and stream.context is context:
                self.scheduler.streams.pop(handle)
        context.generation += 1

    # Live objects

    def born(self, thing_id: int, kind: str, label: str, context: Primary | None = None) -> None:
        with self.lock:
            self.things[thing_id] = Thing(kind, label, context, context.generation if context else 0)

    def died(self, thing_id: int) -> None:
        with self.lock:
            self.things.pop(thing_id, None)

    def live(self) -> list[str]:
        """All objects that were not freed, one line each, for leak tests."""
        with self.lock:
            lines = [f"{thing.kind}: {thing.label}" for thing in self.things.values()]
            lines += [f"context: retained {c.retained} times, device {c.device}" for c in self.primaries.values() if c.retained]
            for name, stack in self._stacks:
                lines += [f"context: still pushed on thread {name}" for _ in stack]
            return lines

    def new_handle(self, value: Any) -> int:
        with self.lock:
            handle = next(self._next_handle)
            self.handles[handle] = value
            return handle

    def handle(self, handle: int, kind: type) -> Any:
        """Raises CudaError 400 if the handle is not of that kind."""
        value = self.handles.get(handle)
        if not isinstance(value, kind):
            raise CudaError(400)
        return value

    # Memory and work

    def allocate(self, size: int, what: str, is_backed: bool = True) -> Block:
        with self.lock:
            context = self.require_context()
            self.memory.total_bytes = self.total_bytes
            block = self.memory.allocate(size, what, context, is_backed)
            self.born(id(block), "device memory", f"{size} bytes at {block.address:#x} ({what})", context)
            return block

    def free(self, block: Block) -> None:
        """Waits for all work, like cuMemFree; work that still uses the block is a violation."""
        with self.lock:
            space = "device" if block.kind == "device" else "host"
            for user in self.scheduler.users_of(writes(space, block.address, block.size)):
                self.violations.append(f"{block} freed while {user} still uses it")
            self.scheduler.run_all()
            if block.is_live:
                self.memory.free(block)
            self.died(id(block))

    def stream(self, handle: int) -> Stream:
        """Raises CudaError 400 for an unknown handle."""
        stream = self.scheduler.streams.get(handle)
        if stream is None:
            raise CudaError(400)
        return stream

    def make_stream(self, is_blocking: bool) -> Stream:
        with self.lock:
            stream = Stream(0, is_blocking, self.require_context())
            stream.handle = self.new_handle(stream)
            self.scheduler.streams[stream.handle] = stream
            self.born(id(stream), "stream", f"{stream.handle:#x}", stream.context)
            return stream

    def destroy_stream(self, stream: Stream) -> None:
        with self.lock:
            self.scheduler.run(stream)
            self.scheduler.streams.pop(stream.handle, None)
            self.handles.pop(stream.handle, None)
            self.died(id(stream))

    def enqueue(self, stream: Stream, work: Work) -> None:
        with self.lock:
            if stream.is_default:
                self.default_stream_uses += 1
            inner = work.run

            def run() -> None:
                if self.sticky is None:  # otherwise the context is dead: later work never runs
                    self.count(f"work:{work.name}")
                    inner()

            work.run = run
            self.scheduler.enqueue(stream, work)

    def synchronize(self, stream: Stream) -> None:
        with self.lock:
            self.scheduler.forbid_in_capture(stream)
            self.scheduler.run(stream)
            self.check_alive()

    def check_alive(self) -> None:
        """After a crash everything fails with the same error until the process ends, as in CUDA's documentation."""
        if self.sticky is not None:
            raise CudaError(self.sticky.code, self.sticky.detail)

    def _pinned_bytes(self, span: Span) -> Any:
        size = span.end - span.start
        return self.memory.host_at(span.start, size, "") if self.memory.is_pinned(span.start, size) else None

    def _work_failed(self, error: CudaError, work: Work) -> None:
        if self.sticky is None:
            self.sticky = CudaError(error.code if error.code in STICKY else 719, error.detail or work.name)
