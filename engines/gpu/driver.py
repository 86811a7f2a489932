"""The CUDA driver (libcuda) through ctypes: what GPU this is, and CUDA graphs, which PyCUDA lacks. Needs no other package.

`cuInit` comes before everything else that knows CUDA: TensorRT 11 ends the process where there is no driver.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import InferenceError, NoGpuError

PTX_CUDA = 12020
"""CUDA 12.2, whose PTX (ISA 8.2) the kernels are shipped in: older drivers cannot read it."""

OLDEST_CAPABILITY = (7, 5)
"""What the kernels are compiled for."""

INSTALL = "install NVIDIA's driver (Ubuntu: sudo ubuntu-drivers install; a Jetson has it in JetPack)"

INIT_ERRORS = {
    34: "the CUDA driver found here is only a stub for linking: take its folder out of LD_LIBRARY_PATH",
    100: "the driver sees no GPU: is one plugged in, and given to this container or user (docker: --gpus all)?",
    101: "there is no GPU of that number",
    800: "this user may not use the GPU: add it to the groups video and render",
    802: "the GPU is still starting (Fabric Manager not running?): try again in a minute",
    803: "kernel driver and CUDA library are of different versions, as after an update: restart the machine",
    804: "this driver cannot be used with this GPU's compatibility package: remove cuda-compat",
    999: "the driver failed (unknown error), as after the machine slept: sudo modprobe -r nvidia_uvm; sudo modprobe nvidia_uvm",
}

MAJOR, MINOR, INTEGRATED = 75, 76, 18
"""CUdevice_attribute: compute capability, and whether the GPU shares the machine's memory."""

CAPTURE_THREAD_LOCAL = 1
"""What other threads do with CUDA does not spoil a capture on this one."""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A GPU, and the driver it has."""

    number: int
    name: str
    compute_capability: str
    """"8.7"."""
    cuda_version: str
    """The newest CUDA that the driver speaks: "13.0"."""
    driver_version: str
    """The kernel driver's: "580.65.06"; empty where it does not say."""
    total_bytes: int
    is_integrated: bool
    """A Jetson's: its memory is the machine's."""

    @property
    def short_name(self) -> str:
        """ "RTX 4060 Laptop GPU": without the maker, who is no news, so that it fits where there is little room."""
        return self.name.removeprefix("NVIDIA ").removeprefix("GeForce ")


_kept: set[int] = set()


def load_library() -> Any:
    """libcuda. Raises OSError where there is none."""
    return ctypes.CDLL("libcuda.so.1")


class Driver:
    """libcuda, initialised. Asking it needs no context; what goes wrong comes in words."""

    def __init__(self) -> None:
        """Raises NoGpuError when there is no driver, no GPU, or a driver too old."""
        try:
            self._library = load_library()
        except OSError as error:
            raise NoGpuError(f"no NVIDIA driver here: libcuda.so.1 is missing; {INSTALL}") from error
        code = self._library.cuInit(0)
        if code:
            words = INIT_ERRORS.get(code, f"the driver failed to start ({self._name_of(code)})")
            raise NoGpuError(f"no usable GPU: {words}")
        version = ctypes.c_int()
        self._check(self._library.cuDriverGetVersion(ctypes.byref(version)), "ask for the driver's version")
        self.cuda = version.value
        """The newest CUDA that the driver speaks, as it says it: 12020 is 12.2."""
        if self.cuda < PTX_CUDA:
            raise NoGpuError(
                f"the NVIDIA driver is too old: it speaks CUDA {_dotted(self.cuda)}, this program needs {_dotted(PTX_CUDA)}; "
                f"update it (desktop: 535 or newer; Jetson: JetPack 6 or newer)"
            )

    def facts(self, number: int = 0) -> GpuFacts:
        """What GPU `number` is. Raises NoGpuError when there is none."""
        count = ctypes.c_int()
        self._check(self._library.cuDeviceGetCount(ctypes.byref(count)), "count the GPUs")
        if not 0 <= number < count.value:
            raise NoGpuError(f"no usable GPU: the driver sees {count.value}, and number {number} was asked for")
        device = ctypes.c_int()
        self._check(self._library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(number)), "open the GPU")
        capability = (self._attribute(MAJOR, device), self._attribute(MINOR, device))
        name = ctypes.create_string_buffer(256)
        self._check(self._library.cuDeviceGetName(name, ctypes.c_int(len(name)), device), "ask for the GPU's name")
        if capability < OLDEST_CAPABILITY:
            raise NoGpuError(
                f"no usable GPU: {name.value.decode(errors='replace')} has compute capability {capability[0]}.{capability[1]}, "
                "this program needs 7.5 (Turing) or newer"
            )
        total = ctypes.c_size_t()
        self._check(self._library.cuDeviceTotalMem_v2(ctypes.byref(total), device), "ask for the GPU's memory")
        return GpuFacts(
            number=number,
            name=name.value.decode(errors="replace"),
            compute_capability=f"{capability[0]}.{capability[1]}",
            cuda_version=_dotted(self.cuda),
            driver_version=_kernel_driver_version(),
            total_bytes=total.value,
            is_integrated=bool(self._attribute(INTEGRATED, device)),
        )

    def keep_context(self, number: int) -> None:
        """Hold the primary context of GPU `number` until the process ends; again is harmless.

        Else it would be destroyed with the last engine, and what TensorRT and CUDA's runtime keep of it would speak of a dead one
        when the next engine is opened.
        """
        if number in _kept:
            return
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._check(self._library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(number)), "open the GPU")
        self._check(self._library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "open its context")
        _kept.add(number)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> ctypes.c_void_p:
        """Record what `enqueue` puts on `stream` (a handle) instead of running it; returns what `launch` and `destroy` take.

        Raises InferenceError when something in it cannot be recorded; the stream is then as it was. Whatever `enqueue` raises
        is raised.
        """
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        handle = ctypes.c_void_p(stream)
        self._done(self._library.cuStreamBeginCapture_v2(handle, ctypes.c_int(CAPTURE_THREAD_LOCAL)), "begin a CUDA graph")
        try:
            enqueue()
        except BaseException:
            self._library.cuStreamEndCapture(handle, ctypes.byref(graph))  # or the stream could not be used again
            if graph:
                self._library.cuGraphDestroy(graph)
            raise
        self._done(self._library.cuStreamEndCapture(handle, ctypes.byref(graph)), "record a CUDA graph")
        try:
            flags = ctypes.c_ulonglong(0)
            self._done(
                self._library.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, flags), "make a CUDA graph ready"
            )
        finally:
            self._library.cuGraphDestroy(graph)
        return executable

    def launch(self, executable: ctypes.c_void_p, stream: int) -> None:
        """Run what was recorded, on `stream` (a handle). Raises InferenceError."""
        self._done(self._library.cuGraphLaunch(executable, ctypes.c_void_p(stream)), "launch a CUDA graph")

    def destroy(self, executable: ctypes.c_void_p) -> None:
        """Free what was recorded. Raises InferenceError."""
        self._done(self._library.cuGraphExecDestroy(executable), "free a CUDA graph")

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        code = self._library.cuDeviceGetAttribute(ctypes.byref(value), ctypes.c_int(attribute), device)
        self._check(code, "ask for the GPU's abilities")
        return value.value

    def _check(self, code: int, what: str) -> None:
        """Of questions: a GPU that does not answer cannot be used."""
        if code:
            raise NoGpuError(f"no usable GPU: it could not {what} ({self._name_of(code)})")

    def _done(self, code: int, what: str) -> None:
        """Of work."""
        if code:
            raise InferenceError(f"the GPU could not {what} ({self._name_of(code)})")

    def _name_of(self, code: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text)) or not text.value:
            return f"CUDA error {code}"
        return f"{text.value.decode()}, {code}"


def _dotted(version: int) -> str:
    """12020 as "12.2"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _kernel_driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    """ "580.65.06" of "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Fri ..."; empty where it does not say."""
    try:
        words = path.read_text(encoding="ascii", errors="replace").splitlines()[0].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word and word.replace(".", "").isdigit()), "")
