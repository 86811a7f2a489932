"""Device: a GPU's context, held by one thread, and everything that thread takes from it, given back in the right order.

All CUDA belongs to one thread: who opens a Device uses and closes it there.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.errors import BackendUnavailableError, InferenceError, WrongThreadError
from engines.gpu import primary
from engines.gpu.driver import Driver, GpuFacts

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, for which PyCUDA has no name: other streams, the default one above all, neither wait nor make wait."""

PYCUDA_MISSING = (
    "PyCUDA is not installed: export PATH=/usr/local/cuda/bin:$PATH and then pip install pycuda "
    "(it is compiled on the spot, so it needs the CUDA toolkit's nvcc on PATH, and python3-dev)"
)


@dataclass(frozen=True, slots=True)
class Memory:
    """GPU memory at `address`. free: now instead of when its Device closes."""

    address: int
    free: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A host array in memory that does not move. free: now instead of when its Device closes; keep no view of it longer."""

    array: npt.NDArray[Any]
    free: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Graph:
    """Work that was recorded, to be run again in one call: its shapes and addresses are fixed.

    launch: run it on its stream; raises InferenceError. free: now instead of when its Device closes.
    """

    launch: Callable[[], None]
    free: Callable[[], None]


def import_pycuda() -> Any:
    """`pycuda.driver`. Raises BackendUnavailableError: not installed, or broken, with the cure."""
    try:
        import pycuda.driver
    except ImportError as error:
        if "libcuda" in str(error) or "libcurand" in str(error) or ".so" in str(error):
            raise BackendUnavailableError(
                f"PyCUDA is installed but does not load ({error}): it was compiled for another CUDA; "
                "pip install --force-reinstall --no-cache-dir pycuda, with this CUDA's nvcc on PATH"
            ) from error
        raise BackendUnavailableError(PYCUDA_MISSING) from error
    return pycuda.driver


class Device:
    """One GPU on one thread. Close it there, after everything that was made with it; `close` frees what is left."""

    def __init__(self, number: int = 0) -> None:
        """Raises BackendUnavailableError in words: no driver, no GPU, no PyCUDA, or another thread holds the GPU."""
        self.driver = Driver()
        self.facts: GpuFacts = self.driver.facts(number)
        self._cuda = import_pycuda()
        self._thread = threading.get_ident()
        self._is_open = False
        self._owned: dict[int, Callable[[], None]] = {}
        self._keys = itertools.count()
        try:
            self._cuda.init()
            self.driver.keep_context(number)
            self._context = primary.retain(self._cuda, number)
            try:
                self._context.push()
            except BaseException:
                primary.release(self._cuda)
                raise
        except self._cuda.Error as error:
            raise BackendUnavailableError(f"{self.facts.name}: its CUDA context cannot be opened ({_line(error)})") from error
        self._is_open = True

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _clear_tracebacks(error)
        self.close()

    def check_thread(self) -> None:
        """Raises WrongThreadError anywhere but on the thread that opened this."""
        if threading.get_ident() != self._thread:
            raise WrongThreadError(
                f"{self.facts.name} was opened on another thread: a CUDA context belongs to the thread that opens it; "
                "open, use and close the engine there"
            )

    def stream(self) -> Stream:
        """A new stream, never the default one, which would make all others wait."""
        with self.taking("make a stream"):
            stream = Stream(self, self._cuda.Stream(NON_BLOCKING))
        self.on_close(stream.forget)
        return stream

    def event(self, *, timed: bool = False) -> Event:
        """A new mark in a stream's work. timed: for `Event.ms_since`, which costs a little at each record.

        Who waits for it sleeps: by default CUDA spins, a whole core for as long as the GPU works.
        """
        kinds = self._cuda.event_flags
        flags = kinds.BLOCKING_SYNC | (kinds.DEFAULT if timed else kinds.DISABLE_TIMING)
        with self.taking("make an event"):
            event = Event(self, self._cuda.Event(flags))
        self.on_close(event.forget)
        return event

    def memory(self, size_bytes: int) -> Memory:
        """GPU memory. Raises BackendUnavailableError when there is not enough."""
        with self.taking(f"take {size_bytes / 2**20:.1f} MiB of its memory"):
            allocation = self._cuda.mem_alloc(max(1, size_bytes))
        return Memory(int(allocation), self.on_close(allocation.free))

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Pinned:
        """A host array that the GPU reads and writes by itself. Raises BackendUnavailableError when it cannot be had."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        with self.taking(f"pin {size_bytes / 2**20:.1f} MiB of the machine's memory"):
            array: npt.NDArray[Any] = self._cuda.pagelocked_empty(shape, np.dtype(dtype))
        # Left alone, PyCUDA would free it with the last view of it: perhaps on another thread, or when the context is gone.
        return Pinned(array, self.on_close(array.base.free))  # type: ignore[union-attr]

    def module(self, ptx: bytes) -> Any:
        """A PyCUDA module of kernels. Whoever keeps it forgets it `on_close`: PyCUDA unloads what nobody refers to."""
        with self.taking("load its kernels"):
            return self._cuda.module_from_buffer(ptx)

    def on_close(self, give_back: Callable[[], None]) -> Callable[[], None]:
        """Call `give_back` when this closes, the newest first; or before that, once, by what is returned."""
        key = next(self._keys)
        self._owned[key] = give_back

        def give_back_once() -> None:
            if self._owned.pop(key, None) is not None:
                give_back()

        return give_back_once

    def upload(self, address: int, array: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a pinned array to the GPU, in the order of `stream`."""
        self._cuda.memcpy_htod_async(address, array, stream.raw)

    def download(self, array: npt.NDArray[Any], address: int, stream: Stream) -> None:
        """Copy from the GPU into a pinned array, in the order of `stream`; it is there once that is synchronised."""
        self._cuda.memcpy_dtoh_async(array, address, stream.raw)

    def free_bytes(self) -> int:
        """Memory that nobody has taken yet."""
        with self.taking("ask for its free memory"):
            free, _ = self._cuda.mem_get_info()
        return int(free)

    @contextlib.contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Turns CUDA's errors inside into InferenceError with words."""
        self.check_thread()
        try:
            yield
        except self._cuda.Error as error:
            _clear_tracebacks(error)
            raise InferenceError(f"{self.facts.name} failed to {what}: {_line(error)}") from error

    def close(self) -> None:
        """Free everything in reverse order and let the context go. Once more is harmless; raises WrongThreadError elsewhere."""
        if not self._is_open:
            return
        self.check_thread()
        self._is_open = False
        try:
            for free in reversed(self._owned.values()):
                with contextlib.suppress(self._cuda.Error, InferenceError):  # after a crash of the GPU all is gone already
                    free()
        finally:  # a thread that ends with a context on its stack takes the process with it
            self._owned.clear()
            self._context.pop()
            primary.release(self._cuda)

    @contextlib.contextmanager
    def taking(self, what: str) -> Iterator[None]:
        """Turns CUDA's errors inside into BackendUnavailableError with words."""
        self.check_thread()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise BackendUnavailableError(self.out_of_memory(what)) from error
        except self._cuda.Error as error:
            raise BackendUnavailableError(f"{self.facts.name} could not {what} ({_line(error)})") from error

    def out_of_memory(self, what: str) -> str:
        """The sentence for a GPU that is full."""
        free = self.free_bytes() / 2**20
        total = self.facts.total_bytes / 2**20
        return (
            f"{self.facts.name} could not {what}: {free:.0f} of its {total:.0f} MiB are free; "
            "close what else uses the GPU, or build a smaller one: run.py build MODEL --size HxW"
        )


class Stream:
    """An order in which the GPU does its work."""

    def __init__(self, device: Device, raw: Any) -> None:
        """raw: PyCUDA's."""
        self._device = device
        self.raw = raw
        self.handle = int(raw.handle)

    def synchronise(self) -> None:
        """Wait until all is done. Raises InferenceError when some of it failed."""
        with self._device.running("finish its work"):
            self.raw.synchronize()

    def wait_for(self, event: Event) -> None:
        """Let what comes next on this stream wait until `event` has come to pass on its own."""
        self.raw.wait_for_event(event.raw)

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` puts on this stream. Raises InferenceError when that cannot be recorded."""
        driver = self._device.driver
        with self._device.running("record its work"):
            executable = driver.capture(self.handle, enqueue)
        return Graph(
            launch=lambda: driver.launch(executable, self.handle),
            free=self._device.on_close(lambda: driver.destroy(executable)),
        )

    def forget(self) -> None:
        """PyCUDA destroys a stream when nobody refers to it, which must be while its context is there."""
        self.raw = None


class Event:
    """A mark in a stream's work."""

    def __init__(self, device: Device, raw: Any) -> None:
        self._device = device
        self.raw = raw

    def record(self, stream: Stream) -> None:
        self.raw.record(stream.raw)

    def synchronise(self) -> None:
        """Wait until the stream has come to where this was recorded. Raises InferenceError when something before it failed."""
        with self._device.running("finish its work"):
            self.raw.synchronize()

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds on the GPU from `earlier` to this; both timed, recorded, and come to pass."""
        with self._device.running("tell a time"):
            return float(self.raw.time_since(earlier.raw))

    def forget(self) -> None:
        """As a stream's."""
        self.raw = None


def _clear_tracebacks(error: BaseException | None) -> None:
    """Of what failed half-way: it lives on in the locals of the traceback's frames, and must not outlive the context."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
