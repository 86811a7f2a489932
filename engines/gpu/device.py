"""Device: a GPU's context and all that is allocated in it, freed in the right order. Opened, used and closed on one thread."""

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
from engines.gpu.driver import RESTART, Driver, GpuFacts

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, for which PyCUDA has no name: no implicit waits between this and the default stream."""

INSTALL_PYCUDA = (
    "Run: export PATH=/usr/local/cuda/bin:$PATH and then pip install pycuda (it is compiled during installation, which needs the "
    "CUDA toolkit's nvcc on PATH, and python3-dev)"
)


@dataclass(frozen=True, slots=True)
class Memory:
    """GPU memory at `address`. free: frees it before its Device closes."""

    address: int
    free: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A page-locked host array. free: frees it before its Device closes; keep no views of it after that.

    address: its own on the GPU, where both share their memory; else 0, and it has to be copied.
    """

    array: npt.NDArray[Any]
    free: Callable[[], None]
    address: int = 0


@dataclass(frozen=True, slots=True)
class Graph:
    """Recorded work that runs in one call; its shapes and addresses are fixed.

    launch: runs it on its stream; raises InferenceError. free: frees it before its Device closes.
    """

    launch: Callable[[], None]
    free: Callable[[], None]


def import_pycuda() -> Any:
    """`pycuda.driver`. Raises BackendUnavailableError if it is not installed, or broken."""
    try:
        import pycuda.driver
    except ImportError as error:
        if "libcuda" in str(error) or "libcurand" in str(error) or ".so" in str(error):
            raise BackendUnavailableError(
                f"PyCUDA is installed but cannot be loaded ({error}): it was compiled for another CUDA",
                "Run: pip install --force-reinstall --no-cache-dir pycuda, with this CUDA's nvcc on PATH",
            ) from error
        raise BackendUnavailableError("PyCUDA is not installed", INSTALL_PYCUDA) from error
    return pycuda.driver


class Device:
    """One GPU on one thread. `close` frees everything that was allocated with it and not freed before."""

    def __init__(self, number: int = 0, *, copies: bool = False) -> None:
        """Raises BackendUnavailableError: no driver, no GPU, no PyCUDA, or another thread uses the GPU.

        copies: also where GPU and host share their memory, to measure what is gained without.
        """
        self.driver = Driver()
        self.facts: GpuFacts = self.driver.facts(number)
        self.shares_memory = self.facts.shares_memory and not copies
        """Whether the GPU works in pinned host arrays, at their `Pinned.address`: nothing is uploaded or downloaded."""
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
                primary.release(self._cuda, self.driver)
                raise
        except self._cuda.Error as error:
            what = f"{self.facts.name}: its CUDA context cannot be opened ({_line(error)})"
            raise BackendUnavailableError(what, "Close other programs that use the GPU, or restart the machine") from error
        self._is_open = True

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _clear_tracebacks(error)
        self.close()

    def check_thread(self) -> None:
        """Raises WrongThreadError on all threads but the one that opened this."""
        if threading.get_ident() != self._thread:
            raise WrongThreadError(
                f"{self.facts.name} was opened on another thread, and its CUDA context belongs to that thread",
                "Open, use and close the engine on one thread",
            )

    def stream(self) -> Stream:
        """A new stream that is independent of the default one."""
        with self.taking("create a stream"):
            return Stream(self, self._cuda.Stream(NON_BLOCKING))

    def event(self, *, timed: bool = False) -> Event:
        """A new event. timed: for `Event.ms_since`, at a small cost for each record.

        A wait for it sleeps. CUDA's default is to spin, which takes a whole core while the GPU works.
        """
        kinds = self._cuda.event_flags
        flags = kinds.BLOCKING_SYNC | (kinds.DEFAULT if timed else kinds.DISABLE_TIMING)
        with self.taking("create an event"):
            return Event(self, self._cuda.Event(flags))

    def memory(self, size_bytes: int, what: str = "") -> Memory:
        """Allocate GPU memory. what: completes "the GPU could not ...". Raises BackendUnavailableError if there is not enough."""
        with self.taking(what or f"allocate {size_bytes / 2**20:.1f} MiB of its memory"):
            allocation = self._cuda.mem_alloc(max(1, size_bytes))
        return Memory(int(allocation), self.on_close(allocation.free))

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Pinned:
        """Allocate a host array that the GPU accesses directly. Raises BackendUnavailableError."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        flags = self._cuda.host_alloc_flags.DEVICEMAP if self.shares_memory else 0
        with self.taking(f"pin {size_bytes / 2**20:.1f} MiB of host memory"):
            array: npt.NDArray[Any] = self._cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=flags)
            address = int(array.base.get_device_pointer()) if self.shares_memory else 0  # type: ignore[union-attr]
        # Otherwise PyCUDA frees it with its last view, perhaps on another thread or after the context.
        return Pinned(array, self.on_close(array.base.free), address)  # type: ignore[union-attr]

    def module(self, ptx: bytes) -> Any:
        """A PyCUDA module of kernels. Drop all references to it `on_close`: PyCUDA unloads it with the last one."""
        with self.taking("load its kernels"):
            return self._cuda.module_from_buffer(ptx)

    def on_close(self, release: Callable[[], None]) -> Callable[[], None]:
        """Call `release` when this closes, the last registered first. The returned function calls it earlier, at most once."""
        key = next(self._keys)
        self._owned[key] = release

        def release_once() -> None:
            if self._owned.pop(key, None) is not None:
                release()

        return release_once

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """What the block takes is given back at once if it fails, and not only when this closes."""
        mark = next(self._keys)
        try:
            yield
        except BaseException as error:
            _clear_tracebacks(error)
            self._free(mark)
            raise

    def upload(self, address: int, array: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a pinned array to the GPU, on `stream`."""
        self._cuda.memcpy_htod_async(address, array, stream.raw)

    def download(self, array: npt.NDArray[Any], address: int, stream: Stream) -> None:
        """Copy from the GPU to a pinned array, on `stream`; complete once that is synchronised."""
        self._cuda.memcpy_dtoh_async(array, address, stream.raw)

    def free_bytes(self) -> int:
        """Free GPU memory."""
        with self.taking("report its free memory"):
            free, _ = self._cuda.mem_get_info()
        return int(free)

    @contextlib.contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Turns CUDA's errors into InferenceError. what: completes "the GPU failed to ..."."""
        self.check_thread()
        try:
            yield
        except self._cuda.Error as error:
            _clear_tracebacks(error)
            raise InferenceError(f"{self.facts.name} failed to {what}: {_line(error)}", RESTART) from error

    def close(self) -> None:
        """Free everything in reverse order and release the context. Idempotent. Raises WrongThreadError on other threads."""
        if not self._is_open:
            return
        self.check_thread()
        self._is_open = False
        try:
            self._free()
        finally:  # a thread that ends with a context on its stack ends the process
            self._context.pop()
            primary.release(self._cuda, self.driver)

    def _free(self, newer_than: int = -1) -> None:
        for key in sorted((key for key in self._owned if key > newer_than), reverse=True):
            with contextlib.suppress(self._cuda.Error, InferenceError):  # after a crash of the GPU everything is lost already
                self._owned.pop(key, lambda: None)()

    @contextlib.contextmanager
    def taking(self, what: str) -> Iterator[None]:
        """Turns CUDA's errors into BackendUnavailableError. what: completes "the GPU could not ..."."""
        self.check_thread()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise self.out_of_memory(what) from error
        except self._cuda.Error as error:
            raise BackendUnavailableError(f"{self.facts.name} could not {what} ({_line(error)})", RESTART) from error

    def out_of_memory(self, what: str) -> BackendUnavailableError:
        """The error for a GPU without enough free memory."""
        free, total = self.free_bytes() / 2**20, self.facts.total_bytes / 2**20
        return BackendUnavailableError(
            f"{self.facts.name} could not {what}: {free:.0f} of its {total:.0f} MiB are free",
            "Close other programs that use the GPU, or build a smaller engine: run.py build MODEL --size HxW",
        )


class _Waitable:
    """A stream or event. raw: PyCUDA's object, which PyCUDA destroys with its last reference, so it ends with its Device."""

    def __init__(self, device: Device, raw: Any) -> None:
        self._device = device
        self.raw = raw
        device.on_close(self._forget)

    def synchronise(self) -> None:
        """Wait until the work of the stream, or up to the event, is done. Raises InferenceError if some of it failed."""
        with self._device.running("finish its work"):
            self.raw.synchronize()

    def _forget(self) -> None:
        self.raw = None


class Stream(_Waitable):
    """A queue of work on the GPU, done in order."""

    def __init__(self, device: Device, raw: Any) -> None:
        super().__init__(device, raw)
        self.handle = int(raw.handle)

    def wait_for(self, event: Event) -> None:
        """Make later work on this stream wait for `event`, recorded on another."""
        self.raw.wait_for_event(event.raw)

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Record the work that `enqueue` puts on this stream. Raises InferenceError if it cannot be recorded."""
        driver = self._device.driver
        with self._device.running("record its work"):
            executable = driver.capture(self.handle, enqueue)
        return Graph(
            launch=lambda: driver.launch(executable, self.handle), free=self._device.on_close(lambda: driver.destroy(executable))
        )


class Event(_Waitable):
    """A point in a stream's work."""

    def record(self, stream: Stream) -> None:
        self.raw.record(stream.raw)

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds on the GPU from `earlier` to this; both timed, recorded and completed."""
        with self._device.running("measure a time"):
            return float(self.raw.time_since(earlier.raw))


def _clear_tracebacks(error: BaseException | None) -> None:
    """Clear the frames of an error: their locals keep CUDA objects alive, which must not outlive the context."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
