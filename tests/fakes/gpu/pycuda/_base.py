"""PyCUDA's exceptions, contexts and devices."""

from __future__ import annotations

import builtins
import contextlib
import enum
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from fakegpu.codes import ERRORS, CudaError
from fakegpu.world import Primary, World, current


class Error(Exception):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):
    pass


class MemoryError(Error):
    pass


for _class in (Error, LogicError, LaunchError, RuntimeError, MemoryError):
    _class.__module__ = "pycuda._driver"

KINDS: dict[int, type[Error]] = {2: MemoryError, 999: Error}
KINDS |= dict.fromkeys((701, 702, 703, 719), LaunchError) | dict.fromkeys((100, 209, 214, 301, 600), RuntimeError)


class ArgumentError(TypeError):
    """Boost.Python.ArgumentError."""


def mismatch(routine: str, *args: object) -> ArgumentError:
    """Boost's error for arguments of wrong types."""
    given = ", ".join(type(arg).__name__ for arg in args)
    return ArgumentError(f"Python argument types in\n    {routine}({given})\ndid not match C++ signature")


@contextlib.contextmanager
def words(routine: str) -> Iterator[None]:
    """CudaError in PyCUDA's form."""
    try:
        yield
    except CudaError as error:
        text = ERRORS.get(error.code, ("", "unrecognized error code"))[1]
        detail = f" - {error.detail}" if error.detail else ""
        raise KINDS.get(error.code, LogicError)(f"{routine} failed: {text}{detail}") from None


def whole(routine: str, value: object) -> int:
    """An unsigned number that Boost accepts: not NumPy's integers."""
    if not isinstance(value, int):
        raise mismatch(routine, value)
    if value < 0:
        raise OverflowError("can't convert negative value to unsigned int")
    return int(value)


class Instance:
    """Most classes cannot be instantiated from Python."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise builtins.RuntimeError("This class cannot be instantiated from Python")


def make(kind: type, **fields: Any) -> Any:
    result = object.__new__(kind)
    result.__dict__.update(fields)
    return result


def _stack(world: World) -> list[Context]:
    """PyCUDA's context stack of this thread."""
    stack: list[Context] = world.local.__dict__.setdefault("pycuda_stack", [])
    return stack


def current_context(world: World) -> Context | None:
    stack = [context for context in _stack(world) if context._is_valid]
    return stack[-1] if stack else None


class Context(Instance):
    """One retain of a primary context."""

    _world: World
    _primary: Primary
    _thread: int
    _is_valid: bool

    @property
    def handle(self) -> int:
        return self._primary.handle

    def push(self) -> None:
        if not isinstance(self, Context):
            raise mismatch("Context.push", self)
        with words("cuCtxPushCurrent"):
            self._world.enter("Context.push", needs_context=False)
            if not self._is_valid:
                raise CudaError(201)
            self._world.push(self._primary)
        _stack(self._world).append(self)

    @staticmethod
    def pop() -> None:
        with words("context::pop"):
            world = current()
            world.count("Context.pop")
            if not _stack(world):
                raise CudaError(201, "cannot pop non-current context")
            context = _stack(world)[-1]
            if world.context() is not context._primary:
                world.violations.append("Context.pop: the driver's current context is another one")
            _stack(world).pop()
            world.pop()

    def detach(self) -> None:
        with words("context::detach"):
            self._world.count("Context.detach")
            if not self._is_valid:
                raise CudaError(201, "cannot detach from invalid context")
            is_current = current_context(self._world) is self
            self._is_valid = False
            if self in _stack(self._world):
                self._world.violations.append("Context.detach: it is still on this thread's stack")
            if threading.get_ident() == self._thread or self in _stack(self._world):
                with self._world.lock:
                    if not is_current:
                        # cuda.hpp makes it current to release it; what cuCtxDetach undid, cuDevicePrimaryCtxRelease leaves.
                        self._world.push(self._primary)
                    self._world.release(self._primary)
            else:
                self._world.violations.append("Context.detach: on another thread than its own, where PyCUDA does nothing")

    @staticmethod
    def synchronize() -> None:
        with words("cuCtxSynchronize"):
            world = current()
            world.enter("Context.synchronize", is_unsafe=True)
            with world.lock:
                world.scheduler.run_all()
                world.check_alive()

    @staticmethod
    def get_current() -> Context | None:
        return current_context(current())

    @staticmethod
    def get_device() -> Device:
        with words("cuCtxGetDevice"):
            return Device(current().require_context().device)

    def get_api_version(self) -> int:
        return 3020


def owner(routine: str = "explicit_context_dependent") -> Context:
    """The context that a new object will belong to."""
    context = current_context(current())
    if context is None:
        with words(routine):
            raise CudaError(201, "no currently active context?")
    assert context is not None
    return context


def give_back(context: Context, kind: str, give: Callable[[], None], *, is_silent: bool = False) -> None:
    """Free an object of `context` like PyCUDA: with the context current, or pushed on its own thread; otherwise it leaks."""
    if not context._is_valid:
        context._world.violations.append(f"{kind} freed after its context was detached")
    elif current_context(context._world) is context:
        give()
    elif context._thread == threading.get_ident():
        context._world.push(context._primary)
        try:
            give()
        finally:
            context._world.pop()
    else:
        text = f"{kind} in out-of-thread context could not be cleaned up"
        context._world.violations.append(text)
        if not is_silent:
            warnings.warn(text, UserWarning, stacklevel=3)


def clean_up(context: Context, kind: str, name: str, give: Callable[[], None]) -> None:
    """If CUDA refuses, PyCUDA only prints a warning, and the memory is lost."""
    world = context._world
    try:
        world.count(name)
        world.scheduler.forbid_in_capture()
    except CudaError as error:
        world.violations.append(f"{name}: PyCUDA WARNING: a clean-up operation failed ({error})")
        return
    give_back(context, kind, give)


class device_attribute(enum.IntEnum):
    MAX_THREADS_PER_BLOCK = 1
    TOTAL_CONSTANT_MEMORY = 9
    WARP_SIZE = 10
    CLOCK_RATE = 13
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19
    COMPUTE_MODE = 20
    CONCURRENT_KERNELS = 31
    PCI_BUS_ID = 33
    PCI_DEVICE_ID = 34
    L2_CACHE_SIZE = 38
    ASYNC_ENGINE_COUNT = 40
    UNIFIED_ADDRESSING = 41
    PCI_DOMAIN_ID = 50
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76
    MANAGED_MEMORY = 83


class Device:
    def __init__(self, number: int) -> None:
        self._world = current()
        if isinstance(number, str):
            raise NotImplementedError("the fake opens GPUs by number, not by bus id")
        if not isinstance(number, int):
            raise mismatch("Device.__init__", self, number)
        with words("cuDeviceGet"):
            self._world.enter("Device", needs_context=False)
            if not 0 <= number < self._world.devices:
                raise CudaError(101)
        self._number = number

    @staticmethod
    def count() -> int:
        with words("cuDeviceGetCount"):
            current().enter("Device.count", needs_context=False)
        return current().devices

    def name(self) -> str:
        return self._world.gpu_name

    def total_memory(self) -> int:
        return self._world.total_bytes

    def compute_capability(self) -> tuple[int, int]:
        return self._world.compute_capability

    def pci_bus_id(self) -> str:
        return f"0000:{self._number + 1:02X}:00.0"

    def get_attribute(self, attribute: device_attribute) -> int:
        if not isinstance(attribute, device_attribute):
            raise mismatch("Device.get_attribute", self, attribute)
        with words("cuDeviceGetAttribute"):
            return self._world.attribute(attribute)

    def retain_primary_context(self) -> Context:
        with words("cuDevicePrimaryCtxRetain"):
            self._world.enter("Device.retain_primary_context", needs_context=False)
            self._world.check_alive()
        primary = self._world.primaries[self._number]
        primary.retained += 1
        result: Context = make(Context, _world=self._world, _primary=primary, _thread=threading.get_ident(), _is_valid=True)
        return result

    def make_context(self, flags: int = 0) -> Context:
        raise NotImplementedError("the fake has primary contexts only")

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get_attribute(getattr(device_attribute, name.upper()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)


def init(flags: int = 0) -> None:
    with words("cuInit"):
        current().count("init")
        current().initialise()


def get_driver_version() -> int:
    return current().driver_version


def get_version() -> tuple[int, int, int]:
    return (13, 0, 0)
